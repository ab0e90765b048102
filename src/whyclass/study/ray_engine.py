"""Questions on the workers of a Ray cluster: shards go out as tasks, and this process writes what comes back.

Nothing is kept of where a run was: what is in the store is done, and a run that was killed goes on there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from whyclass import files
from whyclass.models import forward
from whyclass.models.preprocessing import Preprocessing
from whyclass.models.setup import decoders
from whyclass.pool import indexing_pass, nearest_crops, pixel_cache
from whyclass.pool.images import Pool
from whyclass.pool.indexing_pass import Plan
from whyclass.progress import Progress
from whyclass.records import Planes, Sweep
from whyclass.store import Store
from whyclass.study import audit, compare, pair_tests
from whyclass.study.audit import Asked
from whyclass.study.class_evidence import evidence_of
from whyclass.study.concept_methods import Method
from whyclass.study.context import Context, OpenedModel
from whyclass.study.engines import Engine
from whyclass.study.factorising import jobs
from whyclass.study.pair_sampling import PairSample
from whyclass.study.prediction_test_and_control import Controls
from whyclass.study.ray_cluster import Cluster
from whyclass.study.ray_tasks import Layer, Pixels, Questioned, Wanted
from whyclass.study.shifted_sources import Move, Shifted

Begin = Callable[..., Any]
"""From a method of what was sent, and its arguments, to the task that calls it."""

RANDOM = 32
"""Test images of random crops that are one shard."""


class RayEngine(Engine):
    """Shards are tasks of a Ray cluster."""

    local = False

    def __init__(self, cluster: Cluster, progress: Progress) -> None:
        self._cluster, self._progress = cluster, progress

    # ------------------------------------------------------------ passes over the pool

    @property
    def pixels(self) -> pixel_cache.Makes:
        """Workers decode."""
        return self._pixels

    def _pixels(self, pool: Pool, preprocessing: Preprocessing, start: int) -> Iterator[pixel_cache.Made]:
        begin = self._cluster.sent(Pixels(replace(pool, known={}), preprocessing))
        cuts = self._cluster.cuts(start, len(pool.items), pixel_cache.BATCH)
        for shard in self._cluster.in_order(begin("shard", *cut) for cut in cuts):
            yield from shard

    def rows(self, study: OpenedModel) -> indexing_pass.Makes:
        """Workers pass the pool through the model."""

        def rows(plan: Plan, start: int) -> Iterator[indexing_pass.Made]:
            begin = self._cluster.sent(_layer(study, plan), plan.split.model)
            cuts = self._cluster.cuts(start, len(plan.pool.items), indexing_pass.BATCH)
            for shard in self._cluster.in_order(begin("shard", *cut) for cut in cuts):
                yield from shard

        return rows

    # ------------------------------------------------------------ classes

    def _begun(self, studies: Sequence[OpenedModel], context: Context) -> Begin:
        """What begins a task about classes of the first study, as its context has it."""
        contexts = (context, *(one.context() for one in studies[1:]))
        layers = tuple(_layer(one, one.plan) for one in studies)
        what = Questioned(
            layers, tuple(map(_bare, contexts)), context.store.folder.resolve(), self._cluster.threads
        )
        return self._cluster.sent(what, context.split.model)

    def _written(self, step: str, store: Store, calls: Sequence[Sequence[Any]], begin: Begin) -> None:
        """Write what tasks make, whichever ends first."""
        with self._progress.step(step, len(calls), "classes") as advance:
            for _, made in self._cluster.as_they_end((n, begin(*call)) for n, call in enumerate(calls)):
                _write(store, made)
                advance(1)

    def fill(self, studies: Sequence[OpenedModel], asked: Asked, context: Context | None = None) -> None:
        """Evidence, concepts, findings and tests of pairs that are missing; each written as it comes."""
        context = context or studies[0].context()
        todo, speaking, pairs = audit.missing(context, asked)
        if not (todo or speaking or pairs):
            return
        begin = self._begun(studies, context)
        calls = [("speak", own.target, own.target in todo) for own in speaking]
        self._written("attribution and concepts", context.store, calls, begin)
        able = [k for k in todo if all(job.file.exists() for job in jobs(evidence_of(context, k)))]
        for some in audit.searched(context, able):
            self._findings(context, begin, some)
        if pairs:
            pair_tests.shifts(
                context, asked.classes, asked.every_pair, pairs, _untold, partial(self._sources, begin)
            )

    def _findings(self, context: Context, begin: Begin, targets: Sequence[int]) -> None:
        asked = {k: audit.queries(context, k) for k in targets}
        concepts = [Wanted(k, one.concepts, tuple(one.masks)) for k, mine in asked.items() for one in mine]
        counts = {len(mine[0].concepts) for mine in asked.values()}
        total, wanted = len(context.index.checked_cells), self._cluster.large(concepts)
        with self._progress.step("crops", total) as advance:
            parts = []
            cuts = self._cluster.cuts(0, total, nearest_crops.ROWS)
            tasks = (begin("search", wanted, *cut) for cut in cuts)
            for (start, stop), part in zip(cuts, self._cluster.in_order(tasks), strict=True):
                parts.append(part)
                advance(stop - start)
            found = iter(nearest_crops.merged(parts, context.index, context.settings.crops))
        places = {k: list(islice(found, len(mine))) for k, mine in asked.items()}
        known = self._cluster.large(self._random(context, begin, counts))
        calls = [("finding", k, places[k], known) for k in targets]
        self._written("prediction tests", context.store, calls, begin)

    def _random(self, context: Context, begin: Begin, counts: set[int]) -> dict[Any, np.ndarray]:
        """What the random crops that most classes share reach, by the number of concepts."""
        draws, n = Controls(context), context.settings.null_crops
        sets = [places for k in sorted(counts) for places in draws.draws(n, k, context.index.usable)]
        shards = (sets[at : at + RANDOM] for at in range(0, len(sets), RANDOM))
        known: dict[Any, np.ndarray] = {}
        for one in self._cluster.in_order(begin("random", shard) for shard in shards):
            known |= one
        return known

    def _sources(
        self,
        begin: Begin,
        context: Context,
        sampled: PairSample,
        planes: Planes,
        missing: dict[int, list[str]],
    ) -> Iterator[int]:
        shared = self._cluster.large(sampled), self._cluster.large(planes)
        tasks = ((b, begin("source", b, *shared, tests)) for b, tests in missing.items())
        for b, made in self._cluster.as_they_end(tasks):
            _write(context.store, made)
            yield b

    # ------------------------------------------------------------ methods and pairs

    def fill_methods(self, study: OpenedModel, targets: Sequence[int], methods: Sequence[Method]) -> None:
        """Evidence, concepts and what methods find, where it is missing; each written as it comes."""
        context = study.context()
        lacking = {k: compare.missing(evidence_of(context, k), methods) for k in targets}
        todo = {k: mine for k, mine in lacking.items() if mine}
        if not todo:
            return
        begin = self._begun((study,), context)
        self._written("evidence and null concepts", context.store, [("prepare", k) for k in todo], begin)
        # of few classes each worker takes a part of the methods
        parts = max(1, self._cluster.slots // len(todo))
        known = self._cluster.large(self._random(context, begin, {context.settings.concepts}))
        calls = [
            ("methods", k, shard, known)
            for k, mine in todo.items()
            for at in range(parts)
            if (shard := mine[at::parts])
        ]
        self._written("methods", context.store, calls, begin)

    def shifted(self, study: OpenedModel, targets: Sequence[int]) -> Shifted:
        """Evidence that is missing; then a task for each source."""
        context = study.context()
        begin = self._begun((study,), context)
        lacking = [k for k in targets if not evidence_of(context, k).evidence_file.exists()]
        self._written("attribution", context.store, [("speak", k, False) for k in lacking], begin)

        def shifted(_: Context, moves: Mapping[int, Sequence[Move]]) -> Iterator[tuple[int, list[Sweep]]]:
            tasks = ((source, begin("shifts", source, mine)) for source, mine in moves.items())
            with self._progress.step("shifting", len(moves), "sources") as advance:
                for found in self._cluster.as_they_end(tasks):
                    yield found
                    advance(1)

        return shifted


def _untold(done: float, doing: str) -> None:
    """Steps are told by themselves."""


def _write(store: Store, made: dict[str, bytes]) -> None:
    store.check()
    for name, data in made.items():
        files.write(store.folder / name, data)


def _layer(study: OpenedModel, plan: Plan) -> Layer:
    """A layer as it is sent."""
    decoded = None if plan.pool.kept is None else decoders()
    bare: Any = replace(plan, trunk=None, pool=replace(plan.pool, kept=None, known={}))  # type: ignore[arg-type]
    wide = forward.is_widened(plan.split.model)
    return Layer(bare, study.store.folder.resolve(), study.fingerprint, decoded, wide)


def _bare(context: Context) -> Context:
    """A context as it is sent."""
    unsent: dict[str, Any] = dict.fromkeys(("index", "trunk", "progress", "decoder", "pool", "store"))
    return replace(context, **unsent)
