"""The one place that knows the order of steps."""

from __future__ import annotations

import copy
import dataclasses
import platform
import shutil
import tempfile
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from . import attribution, crops, data, models
from .classes import name_of, resolve, rivals
from .concepts import Factors, factorise, strongest
from .crops import Place
from .data import Preprocessing, Sample
from .errors import ClassError, LayerError, ModelError, RecordError, SettingsError, StoreError
from .fuse import fast_trunk, noisy_precision
from .index import Index, Trunk, class_count, load_or_make, plan
from .pictures import Pictures, Scene
from .progress import Progress
from .records import (
    COMPLETENESS_BOUND,
    FORMAT,
    Completeness,
    Concept,
    Explanation,
    HeatMap,
    ModelInfo,
    PoolInfo,
    PredictionTests,
    Skipped,
)
from .settings import Settings, seed_of
from .split import split
from .store import key_of, open_store

WORST = 1e6
"""Relative completeness errors are told up to here."""

LIBRARIES = ("whyclass", "torch", "torchvision", "numpy", "scikit-learn", "pillow")


class Study:
    """A model, a layer and a pool of images, ready to be asked about classes.

    Parameters
    ----------
    model
        A name that ``whyclass.models.load`` knows (``"torchvision:resnet50"``,
        ``"path/to/file.py:factory"``), a ``Loaded`` model, or a module you already hold; a module is
        given back as it came.
    layer
        Module path, such as ``"layer4.2"``.
    images
        A folder, several folders, a map-style dataset, or a list of images.
    store
        Folder for what is computed, so that the next call is fast; without one it lives as long as
        the study.
    settings
        Every constant of the method; ``whyclass.preset(...)`` gives variants.
    weights, class_names, preprocessing
        A weights file for a named model; a names file or the names; and what differs from the
        preprocessing that the model's metadata, or else ImageNet, gives.
    device
        ``"auto"`` (a GPU where there is one), ``"cpu"``, ``"cuda"`` or ``"mps"``. A module stays where
        it is under ``"auto"``; on another device a copy of it is used.
    progress
        Told of each step; the default is silent.

    Raises
    ------
    WhyclassError
        One of its kinds, by what is wrong: model, weights, layer, data or store.
    """

    def __init__(
        self,
        model: str | nn.Module | models.Loaded,
        layer: str,
        images: Any,
        store: str | Path | None = None,
        settings: Settings | None = None,
        *,
        weights: str | Path | None = None,
        class_names: str | Path | Iterable[str] | None = None,
        preprocessing: Preprocessing | None = None,
        device: str = "auto",
        progress: Progress | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.progress = progress or Progress()
        with self.progress.step("load"):
            self.loaded = _loaded(model, weights, class_names, preprocessing, device)
            self.fingerprint = models.fingerprint(self.loaded.model)
            self.pool = data.pool(images)
            where = next(self.loaded.model.parameters(), torch.empty(0)).device
            example = example_image(self.loaded.preprocessing.crop).to(where)
            self.split = split(self.loaded.model, layer, example)
            self.classes = class_count(self.split)
            folder = store or tempfile.mkdtemp(prefix="whyclass-")
            if not store:
                weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            self.store = open_store(folder, self.loaded.name, self.fingerprint)
        self._trunks: dict[torch.dtype, Trunk] = {}
        self._index: Index | None = None

    def index(self) -> Index:
        """Predictions and pooled cells of the pool: from the store, or made by one pass over it."""
        if self._index is None:
            dtype = torch.bfloat16 if self.settings.precision == "bfloat16" else torch.float32
            wanted = plan(
                self.split,
                lambda images: self.trunk(dtype)(images),  # made only where there is something to compute
                self.pool,
                self.loaded.preprocessing,
                self.settings.pool,
                weights=self.fingerprint,
                precision=str(dtype).removeprefix("torch."),
                versions=_versions(),
            )
            self._index = load_or_make(wanted, self.store, self.progress)
            self._index_key = wanted.key
        return self._index

    def trunk(self, dtype: torch.dtype) -> Trunk:
        """The trunk in a precision, made once."""
        if dtype not in self._trunks:
            self._trunks[dtype] = fast_trunk(self.split, dtype)
        return self._trunks[dtype]

    def explain(self, target: str | int) -> Explanation:
        """Why does the model predict a class?

        Parameters
        ----------
        target
            The class's name or index.

        Returns
        -------
        Explanation
            Six concepts with their crops, and the prediction test of both kinds. Kept in the store: the
            same question gives the same record again.

        Raises
        ------
        ClassError
            If the class is unknown, ambiguous, or predicted for no image of the pool (names its nearest
            rivals and how often each is predicted).
        """
        if models.fingerprint(self.loaded.model) != self.fingerprint:
            raise ModelError("the model changed since this study was made of it; make a new study")
        wanted = resolve(target, self.loaded.class_names, self.classes)
        index = self.index()
        file = self.store.record("explanations", self.key(wanted))
        if (kept := self._kept(file)) is not None:
            return kept
        found = _Explaining(self, index, wanted).explanation()
        found.save(file)
        return found

    def key(self, target: int) -> str:
        """What the explanation of a class is kept under."""
        self.index()
        settings = dataclasses.asdict(self.settings)
        return key_of(
            index=self._index_key,
            target=target,
            settings=settings,
            names=list(self.loaded.class_names),
            model=self.loaded.name,
            pool=self.pool.name,
            versions=self.versions(),
            format=FORMAT,
        )

    def versions(self) -> dict[str, str]:
        """Libraries with their versions, and what the settings' precision comes to on this machine."""
        noisy = str(noisy_precision(self.settings.precision, self.split)).removeprefix("torch.")
        return _versions() | {"noisy copies": f"{noisy} on {self.split.example.device.type}"}

    def _kept(self, file: Path) -> Explanation | None:
        if not file.exists():
            return None
        try:
            return Explanation.load(file)
        except (RecordError, StoreError) as error:
            self.progress.note(f"made anew, since {error}")
            return None


@dataclass(frozen=True)
class _Explaining:
    """One run of the steps of section 4 of the paper for the class ``target``."""

    study: Study
    index: Index
    target: int

    @property
    def scene(self) -> Scene:
        """What its pictures are made from."""
        study, loaded = self.study, self.study.loaded
        names = loaded.class_names
        return Scene(study.split, study.pool, loaded.preprocessing, names, self.index, study.settings)

    def explanation(self) -> Explanation:
        study, settings = self.study, self.study.settings
        predicted = np.flatnonzero(self.index.predicted == self.target)
        if not predicted.size:
            raise ClassError(self._never_predicted())
        chosen = self._draw(predicted)
        with study.progress.step("images", len(chosen)) as advance:
            samples = self.scene.read(chosen.tolist(), advance)
        scores = self._scores(chosen, samples)
        factors = self._factors(samples, scores)
        masks = {"including": self.index.usable, "excluding": self._others()}
        with study.progress.step("crops", len(self.index.items)) as advance:
            places = crops.nearest(self.index, factors.concepts, settings.crops, masks, advance)
        with study.progress.step("prediction test"):
            pictures = Pictures(self.scene, dict(zip(chosen.tolist(), samples, strict=True)))
            tests = {
                name: pictures.prediction_test(self.target, [best[0] for best in places[name]], mask, name)
                for name, mask in masks.items()
                if mask.any()
            }
            rows = strongest(factors.embeddings, settings.examples)
            shown = tuple(pictures.whole(int(chosen[row])) for row in rows)
            concepts = _concepts(factors, places, rows, pictures)
        return Explanation(
            model=self._model(),
            pool=self._pool(),
            target=self.scene.prediction(
                self.target, float(self.index.scores(chosen)[:, self.target].mean())
            ),
            n_images=len(chosen),
            n_predicted=len(predicted),
            images=shown,
            concepts=concepts,
            prediction_test=PredictionTests(tests["including"], tests.get("excluding")),
            completeness=_completeness(scores.errors),
            warnings=tuple(self._warnings(scores, factors, len(chosen))),
            settings=dataclasses.asdict(settings),
            versions=study.versions(),
        )

    def _draw(self, predicted: np.ndarray) -> np.ndarray:
        """At most ``images`` of the images predicted as the class, drawn with the seed, in pool order.

        Each image's lot is cast from its content, so that one more image in the pool changes the draw
        by at most one.
        """
        settings, items = self.study.settings, self.index.items
        lots = [seed_of("draw", settings.seed, items[position].digest) for position in predicted]
        return np.sort(predicted[np.argsort(lots, kind="stable")[: settings.images]])

    def _scores(self, chosen: np.ndarray, samples: list[Sample]) -> attribution.Scores:
        study = self.study
        image = study.loaded.preprocessing.constant(study.settings.baseline)
        with study.progress.step("attribution", len(samples)) as advance:
            return attribution.smoothgrad(
                study.split,
                study.trunk(noisy_precision(study.settings.precision, study.split)),
                [(s.tensor, study.pool.items[int(p)].digest) for s, p in zip(samples, chosen, strict=True)],
                attribution.prepare(study.split, image, self.target),
                self.target,
                study.settings,
                advance,
            )

    def _factors(self, samples: list[Sample], scores: attribution.Scores) -> Factors:
        with self.study.progress.step("concepts"):
            activations = self._activations(samples)
            if activations.min() < 0:
                raise LayerError(
                    f"layer {self.study.split.layer!r} has negative activations on these images, which "
                    "cannot be factorised; choose a layer after a ReLU"
                )
            return factorise(activations, scores.cells, self.study.settings)

    def _activations(self, samples: list[Sample]) -> np.ndarray:
        """Of the clean images, shape (n, c, h, w)."""
        trunk, example = self.study.trunk(torch.float32), self.study.split.example
        with torch.no_grad():
            blocks = torch.stack([s.tensor for s in samples]).split(attribution.BATCH)
            return np.concatenate([trunk(block.to(example)).cpu().numpy() for block in blocks])

    def _mean_score(self, positions: np.ndarray) -> float:
        return float(self.index.scores(positions)[:, self.target].mean())

    def _others(self) -> np.ndarray:
        """Usable images that are not predicted as the class."""
        return self.index.usable & (self.index.predicted != self.target)

    def _never_predicted(self) -> str:
        usable = np.flatnonzero(self.index.usable)
        names = self.study.loaded.class_names
        near = rivals(self.index.scores_of(self.target)[usable], self.index.predicted[usable], names)
        name = name_of(self.target, names)
        return f"class {name!r} is predicted for none of the pool's {usable.size} images; {near}"

    def _warnings(self, scores: attribution.Scores, factors: Factors, count: int) -> Iterable[str]:
        if (mean := float(scores.errors.mean())) > COMPLETENESS_BOUND:
            yield (
                f"The attribution misses {mean:.1%} of the change it should explain (completeness); "
                "the concepts rest on it and may be off."
            )
        if count < 10:
            images = "1 image is" if count == 1 else f"{count} images are"
            yield f"Only {images} predicted as this class; concepts from so few are unsure."
        if len(factors.concepts) < self.study.settings.concepts:
            yield f"The images hold only {len(factors.concepts)} distinct concepts at this layer."

    def _model(self) -> ModelInfo:
        study = self.study
        return ModelInfo(
            study.loaded.name,
            study.fingerprint,
            study.split.layer,
            study.split.shape,
            study.loaded.preprocessing.describe(),
        )

    def _pool(self) -> PoolInfo:
        skipped = tuple(
            Skipped(self.index.items[p].path, why) for p, why in sorted(self.index.skipped.items())
        )
        used = len(self.index.items) - len(skipped)
        return PoolInfo(self.study.pool.name, used, self.study.pool.digest, skipped)


def example_image(size: tuple[int, int]) -> Tensor:
    """An image (1, 3, S, T) of noise: unlike a constant one it shows a layer's negative activations."""
    return torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))


def _loaded(
    model: Any, weights: Any, class_names: Any, preprocessing: Preprocessing | None, device: str
) -> models.Loaded:
    where = _device(device)
    if isinstance(model, str):
        loaded = models.load(model, weights)
        loaded = dataclasses.replace(loaded, model=loaded.model.to(where or "cpu"))
    elif isinstance(model, (nn.Module, models.Loaded)):
        if weights is not None:
            raise ModelError("weights are for a model given by name; load them into the module yourself")
        held = (
            model
            if isinstance(model, models.Loaded)
            else models.Loaded(type(model).__name__, model, Preprocessing())
        )
        loaded = held if device == "auto" else dataclasses.replace(held, model=_moved(held.model, where))
    else:
        raise ModelError(f"model came as {type(model).__name__}; needed is a name or a torch.nn.Module")
    if preprocessing is not None:
        loaded = dataclasses.replace(loaded, preprocessing=preprocessing)
    if class_names is not None:
        path = isinstance(class_names, (str, Path))
        names = models.read_class_names(Path(class_names)) if path else tuple(class_names)
        loaded = dataclasses.replace(loaded, class_names=names)
    return loaded


def _device(name: str) -> torch.device | None:
    """The device asked for; under ``auto`` a GPU where there is one, else None."""
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device("cuda") if present["cuda"] else None
    if name not in present:
        raise SettingsError(f"device is {name!r}; choose one of auto, {', '.join(present)}")
    if not present[name]:
        raise SettingsError(f"this machine has no {name}; choose --device cpu or auto")
    return torch.device(name)


def _moved(model: nn.Module, device: torch.device | None) -> nn.Module:
    parameter = next(model.parameters(), None)
    if device is None or parameter is None or parameter.device.type == device.type:
        return model
    return copy.deepcopy(model).to(device)


def _concepts(
    factors: Factors, places: dict[str, list[list[Place]]], rows: list[int], pictures: Pictures
) -> tuple[Concept, ...]:
    """Each factor with its crops, and its heat maps on the images ``rows``."""

    def concept(k: int) -> Concept:
        maps, largest = factors.embeddings[rows, :, :, k], float(factors.embeddings[..., k].max())
        return Concept(
            vector=factors.concepts[k],
            share=float(factors.shares[k]),
            including=tuple(pictures.crop(place) for place in places["including"][k]),
            excluding=tuple(pictures.crop(place) for place in places["excluding"][k]),
            heat_maps=tuple(HeatMap(values / largest) for values in maps),
        )

    return tuple(concept(k) for k in range(len(factors.concepts)))


def _completeness(errors: np.ndarray) -> Completeness:
    # an image whose logit equals the baseline's has nothing to add up to: bounded, as JSON has no infinity
    errors = np.minimum(np.nan_to_num(errors, nan=WORST), WORST)
    return Completeness(int(errors.size), float(errors.mean()), float(errors.max()))


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}
