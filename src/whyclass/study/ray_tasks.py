"""What a worker of a cluster does: it opens what was sent to it once, and computes shards of it.

A worker reads the store and writes nothing: what it makes goes back to the one process that writes.
"""

from __future__ import annotations

import os
import socket
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from whyclass import allocation
from whyclass.errors import AttributionError, LayerError, SettingsError, StoreError
from whyclass.models import forward
from whyclass.models.fast_trunk import fast_trunk
from whyclass.models.preprocessing import Preprocessing
from whyclass.models.setup import versions
from whyclass.pool import indexing_pass, nearest_crops, pixel_cache
from whyclass.pool.images import Pool
from whyclass.pool.indexing_pass import Index, Plan, Trunk
from whyclass.pool.nearest_crops import Place, Query
from whyclass.progress import Progress
from whyclass.records import Planes, Record, Sweep, codec
from whyclass.store import MARK, Store, key_in, owner
from whyclass.study import audit, compare, pair_tests, searching
from whyclass.study.class_evidence import evidence_of
from whyclass.study.concept_methods import Method
from whyclass.study.context import Context
from whyclass.study.crop_pictures import Pictures
from whyclass.study.factorising import jobs
from whyclass.study.pair_sampling import PairSample
from whyclass.study.prediction_test_and_control import Cells, Controls, Places, cells_of, masks_of
from whyclass.study.shared_copies import Beside
from whyclass.study.shifted_sources import Move, of_source
from whyclass.study.sided_index import sided

Files = dict[str, bytes]
"""Records by their paths within the store."""

Scored = dict[Cells, np.ndarray]
"""What random crops reach, by where they lie."""


@dataclass(frozen=True)
class Held(Store):
    """A store that is read, and holds what is kept in it until it is sent away."""

    held: Files = field(default_factory=dict, compare=False, repr=False)

    def keep(self, record: Record, file: Path) -> None:
        """Hold a record's bytes."""
        self.held[file.relative_to(self.folder).as_posix()] = codec.encode(record, key_in(file))

    def check(self) -> None:
        """Nothing is written here."""

    def taken(self) -> Files:
        """What was kept since the last time."""
        found = dict(self.held)
        self.held.clear()
        return found


@dataclass(frozen=True)
class Pixels:
    """A pool that is to be decoded."""

    pool: Pool
    preprocessing: Preprocessing

    def shard(self, start: int, stop: int) -> list[pixel_cache.Made]:
        """The pixels of some images, in blocks."""
        return list(pixel_cache.made(self.pool, self.preprocessing, start, stop))


@dataclass(frozen=True)
class Layer:
    """A layer at which a model is cut, and its pool.

    Attributes
    ----------
    plan
        Of the pass over the pool, without what cannot be sent.
    store
        Folder of the store, which all workers see.
    weights
        Fingerprint of the model.
    decoded
        What the decoded pool depends on besides; None where it is not decoded.
    wide
        Whether the model asks for half precision and is to get single.
    """

    plan: Plan
    store: Path
    weights: str
    decoded: dict[str, str] | None
    wide: bool

    @cached_property
    def ready(self) -> Plan:
        """The plan with a pool that can be read and a trunk."""
        if self.wide:
            forward.widen(self.plan.split.model)
        pool, store = self.plan.pool, self._seen()
        if self.decoded is not None:
            pool = pixel_cache.found(
                pool, self.plan.preprocessing, store, Progress(), **self.decoded
            ) or self._unseen(f"{store.folder / pixel_cache.KIND}")
        dtype = getattr(torch, self.plan.facts["precision"])
        return replace(self.plan, pool=pool, trunk=lambda: self.trunk(dtype))

    @cached_property
    def _trunks(self) -> dict[torch.dtype, Trunk]:
        return {}

    def trunk(self, dtype: torch.dtype) -> Trunk:
        """The trunk in a precision, made once."""
        if dtype not in self._trunks:
            self._trunks[dtype] = fast_trunk(self.plan.split, dtype)
        return self._trunks[dtype]

    @cached_property
    def index(self) -> Index:
        """The finished pass over the pool."""
        try:
            found = indexing_pass.load(self._seen(), self.ready)
            return sided(found, self.plan.split, self.plan.task)[0]
        except StoreError:
            return self._unseen(f"the pass over the pool in {self.store}")

    def shard(self, start: int, stop: int) -> list[indexing_pass.Made]:
        """Rows of the pass for some images, in blocks."""
        return list(indexing_pass.made(self.ready, start, stop))

    def _seen(self) -> Store:
        store = Store(self.store)
        try:
            if owner(store.folder / MARK).get("weights") == self.weights:
                return store
        except StoreError:
            pass
        return self._unseen(f"the store {self.store}")

    def _unseen(self, what: str) -> Any:
        raise SettingsError(
            f"a worker on {socket.gethostname()} does not see {what}; the store and the images must lie in "
            "folders that all machines share, under the same path"
        )


@dataclass(frozen=True)
class Wanted:
    """Concepts (k, c) whose crops are searched for a class, in the images of some of its masks."""

    target: int
    concepts: np.ndarray = field(repr=False)
    masks: tuple[str, ...]


@dataclass(frozen=True)
class Questioned:
    """What is asked about classes at the first of some layers, the others beside it.

    Attributes
    ----------
    contexts
        As many, without what cannot be sent.
    records
        The folder that results go to.
    cpus
        Threads of a task.
    """

    layers: tuple[Layer, ...]
    contexts: tuple[Context, ...]
    records: Path
    cpus: int

    @cached_property
    def _opened(self) -> tuple[Context, ...]:
        store = Held(self.records)
        return tuple(
            replace(
                context,
                pool=layer.ready.pool,
                index=layer.index,
                store=store,
                progress=Progress(),
                trunk=layer.trunk,
            )
            for layer, context in zip(self.layers, self.contexts, strict=True)
        )

    @property
    def context(self) -> Context:
        """Of the layer that is asked about."""
        return self._opened[0]

    @cached_property
    def _beside(self) -> Beside:
        return Beside(self._opened[0], self._opened[1:])

    @cached_property
    def _controls(self) -> Controls:
        return Controls(self.context)

    def _taken(self) -> Files:
        store = self.context.store
        assert isinstance(store, Held)
        return store.taken()

    def speak(self, target: int, concepts: bool) -> Files:
        """Evidence of a class at all layers that lack it, and its concepts.

        A class that has none, or whose attribution fails, is left to the one who asks, to be told there.
        """
        own = evidence_of(self.context, target)
        try:
            others = self._beside.make(own)
            assert len(own.evidence.images)
            for one in (own, *others) if concepts else ():
                for job in jobs(one):
                    if not job.file.exists():
                        self.context.store.keep(job.make(*job.arguments(), self.cpus), job.file)
        except (AttributionError, LayerError):
            pass
        return self._taken()

    def search(self, wanted: Sequence[Wanted], start: int, stop: int) -> nearest_crops.Best:
        """The best crops of some images for some concepts."""
        context = self.context
        masks = {one.target: masks_of(context, one.target) for one in wanted}
        queries = [
            Query(one.concepts, {name: masks[one.target][name] for name in one.masks}, context.clipped)
            for one in wanted
        ]
        return searching.best_of(context, queries, slice(start, stop))

    def random(self, sets: Sequence[tuple[Place, ...]]) -> Scored:
        """What stitched random crops reach, which all classes share."""
        pictures = Pictures(self.context, [])
        return dict(zip(map(cells_of, sets), self._controls.scores(sets, pictures.sample), strict=True))

    def finding(self, target: int, places: Sequence[Places], known: Scored) -> Files:
        """The finding of a class from where the crops of its queries lie."""
        self._controls.learn(known)
        audit.make_finding(self.context, target, places, self._controls)
        return self._taken()

    def source(self, source: int, sampled: PairSample, planes: Planes, tests: Sequence[str]) -> Files:
        """The tests of all pairs of a source."""
        pair_tests.test_source(self.context, sampled, source, planes, tests)
        return self._taken()

    def prepare(self, target: int) -> Files:
        """What all methods are compared with on a class."""
        compare.prepare(evidence_of(self.context, target))
        return self._taken()

    def methods(self, target: int, methods: Sequence[Method], known: Scored) -> Files:
        """What methods find of a class, and how they do."""
        self._controls.learn(known)
        compare.make(evidence_of(self.context, target), methods, self._controls)
        return self._taken()

    def shifts(self, source: int, moves: Sequence[Move]) -> list[Sweep]:
        """The shifting tests of a source."""
        return of_source(self.context, source, moves)


# ---------------------------------------------------------------- in the worker's process

KEPT = 4
"""Of what was sent to a worker, so many stay open."""

_open: OrderedDict[str, Any] = OrderedDict()


@dataclass(frozen=True)
class Call:
    """A shard: of what was sent, by its key, which method with which arguments, on how many threads."""

    key: str
    method: str
    arguments: tuple[Any, ...]
    threads: int
    libraries: Mapping[str, str]


def answer(call: Call, load: Callable[[], Any], fetch: Callable[[Any], Any]) -> Any:
    """Compute a shard; ``load`` gives what was sent where it is not open yet, ``fetch`` a large argument."""
    if torch.get_num_threads() != call.threads:
        torch.set_num_threads(call.threads)  # of other numbers sums come in another order
    if call.key not in _open:
        _check_libraries(call.libraries)
        allocation.keep_blocks()
        _open[call.key] = load()
        while len(_open) > KEPT:
            _open.popitem(last=False)
    _open.move_to_end(call.key)
    arguments = tuple(fetch(one) for one in call.arguments)
    return getattr(_open[call.key], call.method)(*arguments)


def _check_libraries(wanted: Mapping[str, str]) -> None:
    mine = versions()
    other = [
        f"{name} {mine.get(name)}, not {wanted[name]}" for name in wanted if mine.get(name) != wanted[name]
    ]
    if other:
        raise SettingsError(
            f"a worker on {socket.gethostname()} (process {os.getpid()}) has {', '.join(other)}; results "
            "would differ, so install the same on all machines"
        )
