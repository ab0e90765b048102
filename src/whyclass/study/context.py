"""What every question is asked of: the cut model, the pool with its index, the settings and the store."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from whyclass import allocation
from whyclass.attribution.noise import drawn_on
from whyclass.errors import DataError, RecordError, StoreError
from whyclass.grid import Crops
from whyclass.models import preprocessing as models_preprocessing
from whyclass.models.class_labels import classes_of
from whyclass.models.class_names import check_count, name_of
from whyclass.models.described import Loaded
from whyclass.models.fast_trunk import fast_trunk, noisy_precision
from whyclass.models.layer_info import LayerInfo
from whyclass.models.preprocessing import Preprocessing, Sample
from whyclass.models.setup import example_of, reading_at, task_at, versions
from whyclass.models.split import Split, split
from whyclass.models.survey import survey
from whyclass.models.tasks import Task, scores_of
from whyclass.models.weights import fingerprint
from whyclass.models.written import written
from whyclass.pool import images as pool_images
from whyclass.pool import known_remote
from whyclass.pool.images import Pool
from whyclass.pool.indexing_pass import BATCH, Index, Makes, Plan, Trunk, load_or_make, plan
from whyclass.progress import Progress
from whyclass.records import (
    FORMAT,
    LeftOut,
    ModelInfo,
    PoolClass,
    PoolInfo,
    Prediction,
    Record,
    Skipped,
    Source,
)
from whyclass.records.base import short
from whyclass.settings import Settings, plain
from whyclass.store import Store, key_in, key_of, open_store
from whyclass.study.sided_index import sided
from whyclass.visualise import optimise

Kept = TypeVar("Kept", bound=Record)


@dataclass(frozen=True)
class Context:
    """The parts of a study once its pool is indexed.

    Attributes
    ----------
    fingerprint
        Of the model's weights.
    index_key
        What the index is kept under.
    trunk
        The trunk in a precision.
    versions
        Libraries with their versions, and what the settings' precision comes to on this machine.
    decoder
        In whose latent space pictures are drawn, where settings ask for it.
    """

    loaded: Loaded = field(repr=False)
    fingerprint: str
    split: Split = field(repr=False)
    pool: Pool = field(repr=False)
    index: Index = field(repr=False)
    index_key: str
    settings: Settings
    store: Store
    progress: Progress = field(repr=False)
    trunk: Callable[[torch.dtype], Trunk] = field(repr=False)
    versions: dict[str, str] = field(repr=False)
    decoder: nn.Module | None = field(repr=False, default=None)

    @property
    def preprocessing(self) -> Preprocessing:
        """From a picture to the model's input."""
        return self.loaded.preprocessing

    @property
    def task(self) -> Task:
        """What the model does."""
        return self.index.task

    @property
    def warnings(self) -> list[str]:
        """What a reader must know of the model, whatever is asked of it."""
        own = [] if self.split.reading is None else self.split.reading.told
        return own + [f"Of the model: {note}." for note in self.loaded.notes]

    @property
    def clipped(self) -> bool:
        """Whether concepts know only the positive part of the layer's activations."""
        return self.split.signed and self.settings.signed == "clip"

    @property
    def crops(self) -> Crops:
        """Which pixels are cut for the layer's pooled cells."""
        return Crops(self.split.shape[1:], self.settings.pool, self.settings.crop_at)

    @cached_property
    def labels(self) -> np.ndarray:
        """The class that each image is labelled as, shape (N,); -1 where that is not known."""
        labels = [item.label for item in self.index.items]
        names, meaning = self.loaded.class_names, self.pool.meaning
        return classes_of(labels, self.index.predicted, names, self.task.classes, meaning)

    @cached_property
    def labelled(self) -> dict[str, Any]:
        """What the tests of a class depend on besides, where labels are known to be of classes."""
        return {"labels": key_of(labels=self.labels.tolist())} if (self.labels >= 0).any() else {}

    @cached_property
    def _several(self) -> bool:
        """Whether labels tell images apart."""
        return len({item.label for item in self.index.items}) > 1

    def name(self, index: int) -> str:
        """A class's name."""
        return name_of(index, self.loaded.class_names)

    def prediction(self, index: int, score: float) -> Prediction:
        """A class with its score."""
        return Prediction(int(index), self.name(int(index)), float(score))

    def classes(self) -> list[int]:
        """The classes that some image of the pool counts for, rising; no background, which says nothing."""
        if not self.task.plural:
            return np.unique(self.index.predicted[self.index.usable]).tolist()
        some = range(self.task.classes)
        return [k for k in some if k != self.task.background and self.index.counting(k).any()]

    def named_classes(self) -> tuple[PoolClass, ...]:
        """These classes with their names, and how many images count for each."""
        counts = [(k, int(self.index.counting(k).sum())) for k in self.classes()]
        return tuple(PoolClass(k, self.name(k), n) for k, n in counts)

    def source(self, position: int, target: int | None = None) -> Source:
        """What an image of the pool is, what the model predicts for it, and its score for a class."""
        item, index = self.index.items[position], int(self.index.predicted[position])
        scores = self.index.scores(np.array([position]))[0]
        own = None if target is None else float(scores[target])
        said = self.prediction(index, float(scores[index]))
        known = int(self.labels[position])
        label, named = item.label if self._several else None, self.name(known) if known >= 0 else None
        return Source(item.path, item.digest, said, label, named, own)

    def read(
        self, positions: Iterable[int], advance: Callable[[int], None] = lambda done: None
    ) -> list[Sample]:
        """Images of the pool; one that the index could read and that is now broken is a ``DataError``."""
        samples: list[Sample] = []
        try:
            for _, sample in pool_images.samples(self.pool, list(positions), self.preprocessing):
                if isinstance(sample, DataError):
                    raise sample
                samples.append(sample)
                advance(1)
        except DataError as error:
            raise DataError(f"an image that was read before cannot be read now: {error}") from error
        return samples

    def position(self, path: str) -> int:
        """Where in the pool the image of a path is."""
        return next(p for p, item in enumerate(self.index.items) if item.path == path)

    def picture(self, position: int) -> Image.Image:
        """An image of the pool as the model sees it, for the eye."""
        return (
            models_preprocessing.shown(self.pool.kept(position))
            if self.pool.kept
            else self.read([position])[0].picture
        )

    def activations(self, images: Tensor) -> np.ndarray:
        """At the layer, shape (n, c, h, w), of clean images (n, 3, S, T)."""
        trunk = self.trunk(torch.float32)
        with torch.no_grad():
            return np.concatenate([trunk(block).cpu().numpy() for block in self._blocks(images)])

    def scores(self, images: Tensor, advance: Callable[[int], None] = lambda done: None) -> np.ndarray:
        """Scores (n, C), float64, of images (n, 3, S, T) of the model's own size."""
        trunk, found = self.trunk(torch.float32), []
        with torch.no_grad():
            for block in self._blocks(images):
                found.append(scores_of(self.split.head(trunk(block), block), self.split.link))
                advance(len(block))
        return np.concatenate(found)

    def _blocks(self, images: Tensor) -> Iterable[Tensor]:
        return (block.to(self.split.example) for block in images.split(self.split.together(BATCH)))

    @property
    def names_digest(self) -> str:
        """Digest of the class names, which records show."""
        return key_of(names=list(self.loaded.class_names))

    def key(self, *classes: int, settings: dict[str, Any]) -> str:
        """What numbers of these classes are kept under; they depend on no name."""
        return key_of(
            index=self.index_key,
            target=list(classes),
            settings=settings,
            versions=self.versions,
            format=FORMAT,
        )

    def named_key(self, *classes: int) -> str:
        """What a record of these classes is kept under, which shows names of model, pool and classes."""
        return key_of(
            **self._drawn,
            **self.labelled,
            numbers=self.key(*classes, settings=plain(self.settings)),
            names=list(self.loaded.class_names),
            model=self.loaded.name,
            pool=self.pool.name,
            **({"left_out": self.pool.left_out} if self.pool.left_out else {}),
            **({"notes": list(self.loaded.notes)} if self.loaded.notes else {}),
        )

    @property
    def _drawn(self) -> dict[str, Any]:
        """What drawn pictures depend on besides the settings."""
        if self.settings.pictures == "none":
            return {}
        used = self.decoder if self.settings.pictures == "generator" else None
        return {"recipe": optimise.RECIPE, "decoder": None if used is None else fingerprint(used)}

    def kept(self, kind: type[Kept], file: Path) -> Kept | None:
        """The record in a file of the store; None where there is none, or where it is damaged."""
        return kept(kind, file, self.progress)

    def model_info(self) -> ModelInfo:
        """The model, for a record."""
        split = self.split
        seen = self.preprocessing.describe()
        return ModelInfo(self.loaded.name, self.fingerprint, split.layer, split.shape, seen, self.task.name)

    def pool_info(self) -> PoolInfo:
        """The pool, for a record."""
        index = self.index
        skipped = tuple(Skipped(index.items[p].path, why) for p, why in sorted(index.skipped.items()))
        return PoolInfo(
            self.pool.name,
            len(index.items) - len(skipped),
            self.pool.digest,
            skipped,
            tuple(LeftOut(ending, n) for ending, n in self.pool.left_out),
            tuple(index.ranges.warnings(self.preprocessing)),
        )


class OpenedModel:
    """A model cut at a layer, with a pool of images and a store; its pool is indexed when that is needed."""

    def __init__(
        self,
        loaded: Loaded,
        layer: str,
        pool: Pool,
        folder: str | Path,
        settings: Settings,
        progress: Progress,
    ) -> None:
        allocation.keep_blocks()
        self.loaded, self.pool, self.settings, self.progress = loaded, pool, settings, progress
        self.decoder: nn.Module | None = None
        example = example_of(loaded)
        self.written = written(loaded.model, example)
        self.fingerprint = fingerprint(loaded.model, self.written)
        reading = reading_at(loaded, example)
        self.split = split(loaded.model, layer, example, reading)
        self.task = task_at(self.split, loaded.class_names)
        names = reading.names(loaded.class_names, self.task.classes)
        self.loaded = loaded = replace(loaded, class_names=names)
        check_count(loaded.class_names, self.task.classes)
        self.store = open_store(folder, loaded.name, self.fingerprint)
        if pool.known:
            known_remote.keep(pool.known, Path(folder))
        if self.store.folder != Path(folder):
            progress.note(f"store {folder} is another model's; results of this one go to {self.store.folder}")
        self._trunks: dict[torch.dtype, Trunk] = {}
        self._index: Index | None = None
        self.beside: tuple[OpenedModel, ...] = ()  # at other layers; an audit makes their evidence along
        self.makes: Makes | None = None  # who makes the index's rows, where that is not done here

    def __repr__(self) -> str:
        """The model, the layer, the pool and the store, in one line."""
        shape = " × ".join(map(str, self.split.shape))
        folder = short(str(self.store.folder))
        return (
            f"<{type(self).__name__} of {short(self.loaded.name)}, layer {short(self.layer)} ({shape}): "
            f"{len(self.pool.items):,} images of {short(self.pool.name)}, store {folder}>"
        )

    @property
    def layer(self) -> str:
        """Path of the module at which the model is cut, such as ``"layer4.2"``."""
        return self.split.layer

    def layers(self) -> list[LayerInfo]:
        """The model's layers that can be explained, in the order in which they finish."""
        return [info for info in survey(self.loaded.model, example_of(self.loaded)) if not info.problem]

    def classes(self) -> tuple[PoolClass, ...]:
        """The classes that are predicted for images of the pool, by index: those that can be asked about.

        Indexes the pool at the first call.
        """
        return self.context().named_classes()

    def index(self) -> Index:
        """Predictions and pooled cells of the pool: from the store, or made by one pass over it."""
        if self._index is None:
            self.plan = self._plan()
            found = load_or_make(self.plan, self.store, self.progress, self.makes)
            self._index, self.split, self.task = sided(found, self.split, self.task)
        return self._index

    @property
    def indexed(self) -> bool:
        """Whether the store holds the pass over the pool, so that no question has to wait for it."""
        return self._index is not None or self.store.index(self._plan().key).exists()

    def _plan(self) -> Plan:
        """What the index depends on."""
        dtype = torch.bfloat16 if self.settings.precision == "bfloat16" else torch.float32
        own, cut = weakref.ref(self), self.split  # the index keeps the plan, and would keep this alive

        def trunk() -> Trunk:
            mine = own()
            return fast_trunk(cut, dtype) if mine is None else mine.trunk(dtype)

        return plan(
            cut,
            self.task,
            trunk,
            self.pool,
            self.loaded.preprocessing,
            self.settings.pool,
            weights=self.fingerprint,
            precision=str(dtype).removeprefix("torch."),
            versions=versions(),
        )

    def trunk(self, dtype: torch.dtype) -> Trunk:
        """The trunk in a precision, made once."""
        if dtype not in self._trunks:
            self._trunks[dtype] = fast_trunk(self.split, dtype)
        return self._trunks[dtype]

    def versions(self) -> dict[str, str]:
        """Libraries with their versions, and what the settings' precision comes to on this machine."""
        noisy, device = noisy_precision(self.settings.precision, self.split), self.split.example.device
        own = ", its own noise" if drawn_on(device, self.settings).type != "cpu" else ""
        return versions() | {"noisy copies": f"{str(noisy).removeprefix('torch.')} on {device.type}{own}"}

    def context(self) -> Context:
        """What a question is asked of; indexes the pool at the first call."""
        index = self.index()
        asked_of = (self.loaded, self.fingerprint, self.split, self.pool, index, self.plan.key)
        asked_by = (self.settings, self.store, self.progress, self.trunk, self.versions(), self.decoder)
        return Context(*asked_of, *asked_by)


def kept(kind: type[Kept], file: Path, progress: Progress) -> Kept | None:
    """The record in a file of a store; None where there is none, or where it is damaged, which is told."""
    if not file.exists():
        return None
    try:
        return kind.load(file, (key_in(file),))
    except (RecordError, StoreError) as error:
        progress.note(f"made anew, since {error}")
        return None
