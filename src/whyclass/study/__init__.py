"""The one place that knows the order of steps."""

from __future__ import annotations

import copy
import dataclasses
import platform
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from whyclass import data, disk, frames, models, tables
from whyclass.classes import resolve
from whyclass.data import Preprocessing
from whyclass.errors import ClassError, ModelError, SettingsError
from whyclass.fuse import fast_trunk, noisy_precision
from whyclass.index import Index, Trunk, load_or_make, plan
from whyclass.progress import Logged, Progress
from whyclass.records import Audit, Contrast, Explanation, InsertionTest, Pairs, Record
from whyclass.scene import Scene
from whyclass.settings import Settings, plain
from whyclass.split import Split, split
from whyclass.store import open_store
from whyclass.study import auditing, contrasting, explaining, probes
from whyclass.study.subject import Subject, subject
from whyclass.tasks import Task, task_of

LIBRARIES = ("whyclass", "torch", "torchvision", "numpy", "scikit-learn", "pillow")

Made = TypeVar("Made", bound=Record)


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
            self.task = _task(self.split, self.loaded.class_names)
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
                self.task,
                lambda: self.trunk(dtype),
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
        self._check_unchanged()
        wanted = self._resolved(target)
        return self._explained(subject(self._scene(), wanted))

    def contrast(self, target: str | int, against: str | int | None = None) -> Contrast:
        """Why does the model predict a class and not another, and the other way round?

        Parameters
        ----------
        target, against
            The two classes' names or indexes. Without the second it is the class that won where a
            prediction test of the first one alone failed.

        Returns
        -------
        Contrast
            The hyperplane between their cells with its accuracy, six concepts that speak for each
            against the other with their prediction test, and the shifting, masking and insertion tests
            in both directions. Kept in the store.

        Raises
        ------
        ClassError
            If a class is unknown or predicted for no image of the pool, if both are the same, if one has
            no cell that speaks for it, or if the second is left out and no test failed.
        """
        a = self._resolved(target)
        b = None if against is None else self._resolved(against)
        self._check_two(a, b)
        self._check_unchanged()
        scene = self._scene()
        if b is None:
            b = _rival(self.explain(a))

        def make() -> Contrast:
            sides = subject(scene, a), subject(scene, b)
            alone = self._explained(sides[0]), self._explained(sides[1])
            return contrasting.contrast_of(scene, sides, alone)

        return self._kept_or_made(Contrast, "contrasts", [a, b], make)

    def insert(
        self, target: str | int, against: str | int, patch: Any, at: str = "bottom-right", origin: str = ""
    ) -> InsertionTest:
        """Does a patch, inserted into images predicted as ``against``, turn them into ``target``?

        Parameters
        ----------
        target, against
            The two classes' names or indexes.
        patch
            An image file, a picture, or a uint8 array (H, W, 3); inserted at its own size into the
            images as the model sees them.
        at
            A row of ``whyclass.grid.ANCHORS``, such as ``"bottom-right"``.
        origin
            Where the patch comes from, for people; the default is the file's name.

        Raises
        ------
        ClassError
            As for ``contrast``.
        DataError
            If the patch cannot be read.
        SettingsError
            If the patch is larger than the model's images, or there is no such place.
        """
        a, b = self._resolved(target), self._resolved(against)
        self._check_two(a, b)
        picture = data.as_patch(patch)
        pixels = self.loaded.preprocessing.tensor(picture)
        box = probes.placed((picture.height, picture.width), self.loaded.preprocessing.crop, at)
        self._check_unchanged()
        scene = self._scene()
        name = origin or (Path(patch).name if isinstance(patch, (str, Path)) else "a picture")
        # no hyperplane takes part
        duel = probes.Duel(subject(scene, b), a, torch.zeros(self.split.shape[0]).numpy(), 0.0)
        (found,) = probes.insertions(duel, [pixels], [name], box)
        return InsertionTest(
            model=scene.model_info(),
            pool=scene.pool_info(),
            size=self.loaded.preprocessing.crop,
            target=scene.prediction(a, found.original.target),
            source=scene.prediction(b, found.original.source),
            insertion=found,
            warnings=tuple(explaining.few(duel.n, f"“{scene.name(b)}”")),
            settings=plain(self.settings),
            versions=scene.versions,
        )

    def pairs(self, classes: Sequence[str | int]) -> Pairs:
        """The shifting test between all ordered pairs of some classes (paper, table 3), with its controls.

        Parameters
        ----------
        classes
            Names or indexes, two or more.

        Raises
        ------
        ClassError
            If there are fewer than two, or one is unknown, given twice, predicted for no image of the
            pool, or without a cell that speaks for it.
        """
        wanted = [self._resolved(name) for name in classes]
        if len(wanted) < 2 or len(set(wanted)) < len(wanted):
            raise ClassError(f"{len(set(wanted))} classes came; needed are two or more, each once")
        self._check_unchanged()
        scene = self._scene()

        def make() -> Pairs:
            return contrasting.pairs_of(scene, wanted)

        return self._kept_or_made(Pairs, "pairs", wanted, make)

    def audit(
        self,
        classes: Sequence[str | int] | None = None,
        tests: Sequence[str] = ("prediction",),
        *,
        workers: int = 1,
        every_pair: bool = False,
        part: tuple[int, int] = (1, 1),
    ) -> Audit:
        """Explain and test every class, and shift between many (paper, tables 1 to 3).

        Each class's result is kept as soon as it is there: the same call goes on where a run was stopped,
        and ends with the same bytes.

        Parameters
        ----------
        classes
            Names or indexes; the default is every class that is predicted for an image of the pool.
        tests
            Of ``"prediction"``, ``"shift"`` and ``"mask"``.
        workers
            Processes for the factorisations. With more than one, a script that calls this needs the usual
            ``if __name__ == "__main__":``.
        every_pair
            Shift between all ordered pairs, instead of 10 random targets for each class, 5 times.
        part
            (i, n): only every n-th class from the i-th on. Stores of all parts can be merged.

        Returns
        -------
        Audit
            Of all classes that are in the store for this model, layer, pool and settings.

        Raises
        ------
        ClassError
            If a class is unknown, or predicted for no image of the pool.
        SettingsError
            If a test is unknown, or a number is out of range.
        DataError
            If an image changed or vanished while the audit ran.
        StoreError
            If the store cannot be written; what was finished is kept.
        """
        auditing.check(tests, workers, part)
        self._check_unchanged()
        disk.sweep(self.store.folder)
        shown, self.progress = self.progress, Logged(self.progress, self.store.log)
        try:
            with self.progress.run(f"audit of {self.loaded.name}, layer {self.split.layer}"):
                frames.tell_what_changed(self.pool, self.store, self.progress)
                self._decode()
                scene = self._scene()
                found = scene.classes() if classes is None else [self._resolved(name) for name in classes]
                wanted = tuple(sorted(set(found)))
                mine = wanted[part[0] - 1 :: part[1]]
                if not mine:
                    raise ClassError(
                        f"part {part[0]}/{part[1]} of {len(wanted)} classes holds none; ask for fewer parts, "
                        "or for a class"
                    )
                auditing.audit(scene, auditing.Asked(wanted, mine, tuple(tests), workers, every_pair))
        finally:
            self.progress = shown
        return next(one for one in tables.collect(self.store) if auditing.is_of(scene, one))

    def _decode(self) -> None:
        """Let every image of the pool come from the store."""
        facts = {name: _versions()[name] for name in ("pillow", "torchvision")}
        self.pool = frames.decoded(self.pool, self.loaded.preprocessing, self.store, self.progress, **facts)

    def key(self, *classes: int) -> str:
        """What a record of these classes is kept under."""
        return self._scene().named_key(*classes)

    def versions(self) -> dict[str, str]:
        """Libraries with their versions, and what the settings' precision comes to on this machine."""
        noisy = str(noisy_precision(self.settings.precision, self.split)).removeprefix("torch.")
        return _versions() | {"noisy copies": f"{noisy} on {self.split.example.device.type}"}

    def _scene(self) -> Scene:
        index = self.index()
        return Scene(
            self.loaded,
            self.fingerprint,
            self.split,
            self.pool,
            index,
            self._index_key,
            self.settings,
            self.store,
            self.progress,
            self.trunk,
            self.versions(),
        )

    def _explained(self, own: Subject) -> Explanation:
        def make() -> Explanation:
            return explaining.explanation(own.scene, own)

        return self._kept_or_made(Explanation, "explanations", [own.target], make)

    def _kept_or_made(
        self, kind: type[Made], folder: str, classes: list[int], make: Callable[[], Made]
    ) -> Made:
        """The record of a question from the store, or made and kept."""
        file = self.store.record(folder, self.key(*classes))
        if (kept := self._scene().kept(kind, file)) is not None:
            return kept
        made = make()
        made.save(file)
        return made

    def _resolved(self, wanted: str | int) -> int:
        return resolve(wanted, self.loaded.class_names, self.task.classes)

    def _check_unchanged(self) -> None:
        if models.fingerprint(self.loaded.model) != self.fingerprint:
            raise ModelError("the model changed since this study was made of it; make a new study")

    def _check_two(self, a: int, b: int | None) -> None:
        if a == b:
            name = self.loaded.class_names[a] if self.loaded.class_names else f"class {a}"
            raise ClassError(f"{name!r} cannot be contrasted with itself; choose two classes")


def example_image(size: tuple[int, int]) -> Tensor:
    """An image (1, 3, S, T) of noise: unlike a constant one it shows a layer's negative activations."""
    return torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))


def _task(split: Split, names: tuple[str, ...]) -> Task:
    with torch.no_grad():
        return task_of(split.head(split.trunk(split.example), split.example), names)


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


def _rival(alone: Explanation) -> int:
    if alone.rival is None:
        raise ClassError(
            f"the explanation of {alone.target.name!r} passed its prediction tests, so no other class "
            "won; say which class to contrast it with"
        )
    return alone.rival.index


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}
