"""An audit on the workers of a Ray cluster: shards go out as tasks, and this process writes what comes back.

A worker that dies costs the shards it held, which others compute again. Nothing is kept of where a run was:
what is in the store is done, and a run that was killed goes on from there.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from whyclass import files
from whyclass.errors import SettingsError
from whyclass.models import forward
from whyclass.models.preprocessing import Preprocessing
from whyclass.models.setup import versions
from whyclass.pool import indexing_pass, nearest_crops, pixel_cache
from whyclass.pool.images import Pool
from whyclass.pool.indexing_pass import Plan
from whyclass.progress import Progress
from whyclass.records import Planes
from whyclass.store import Store
from whyclass.study import audit, pair_tests
from whyclass.study.audit import Asked
from whyclass.study.class_evidence import evidence_of
from whyclass.study.context import Context, OpenedModel
from whyclass.study.engines import Engine
from whyclass.study.factorising import jobs
from whyclass.study.pair_sampling import PairSample
from whyclass.study.prediction_test_and_control import Controls
from whyclass.study.ray_tasks import Audited, Call, Layer, Pixels, Wanted, answer

RETRIES = 20
"""So often a shard is given to another worker where one died of it, before the run ends."""

SHARDS = 4
"""Shards for each worker, about: few enough to cost little, many enough that none waits long for the last."""

RANDOM = 32
"""Test images of random crops that are one shard."""

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_DEDUP_LOGS": "0"}
"""What Ray reads of the environment, where the user set nothing: it calls nobody."""


@contextmanager
def cluster(address: str, workers: int, progress: Progress) -> Iterator[Engine]:
    """The cluster at an address, or one of so many workers that is begun here and ends with the block.

    Raises
    ------
    SettingsError
        If Ray is missing, or there is no cluster.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise SettingsError("--engine ray needs the ray library: pip install 'whyclass[ray]'") from error
    mine = not ray.is_initialized()
    if mine:
        _begin(ray, address, workers)
    engine = RayEngine(ray, progress)
    try:
        yield engine
    finally:
        engine.stop()
        if mine:
            ray.shutdown()


def _begin(ray: ModuleType, address: str, workers: int) -> None:
    shared: dict[str, Any] = {"log_to_driver": False, "configure_logging": False, "namespace": "whyclass"}
    here = {"num_cpus": workers * torch.get_num_threads(), "include_dashboard": False, "address": "local"}
    main = threading.current_thread() is threading.main_thread()
    heard = signal.getsignal(signal.SIGTERM) if main else None
    try:
        ray.init(**({"address": address} if address else here), **shared)
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"no Ray cluster answers at {address}" if address else "Ray could not be begun here"
        raise SettingsError(f"{where}: {error}; see docs/cluster.md") from error
    finally:
        if main:
            signal.signal(signal.SIGTERM, heard)  # Ray sets its own, and ours tidies up


class RayEngine(Engine):
    """Shards are tasks of a Ray cluster; ``docs/cluster.md`` says what it needs."""

    local = False

    def __init__(self, ray: ModuleType, progress: Progress) -> None:
        self._ray, self._progress = ray, progress
        self._threads, self._libraries = torch.get_num_threads(), versions()
        self._pending: set[Any] = set()
        self._gpu = False

    # ------------------------------------------------------------ sending and waiting

    @property
    def _slots(self) -> int:
        """Tasks that run at a time."""
        there = self._ray.cluster_resources()
        most = there.get("GPU", 1) if self._gpu else there.get("CPU", 1) // self._threads
        if most < 1:
            what = "a GPU" if self._gpu else f"{self._threads} processors (set OMP_NUM_THREADS to fewer)"
            raise SettingsError(f"no machine of the cluster has {what} for a task")
        return int(most)

    def _sent(self, what: Any, model: torch.nn.Module | None = None) -> Callable[..., Any]:
        """Something that workers open once; gives what calls one of its methods as a task."""
        ray = self._ray
        with _by_value(ray.cloudpickle, model):
            try:
                data = ray.cloudpickle.dumps(what)
            except Exception as error:  # somebody's model or dataset may raise anything when it is pickled
                raise SettingsError(
                    f"the model or the pool cannot be sent to workers: {type(error).__name__}: {error}; give "
                    "images as folders, and a model that pickle takes"
                ) from error
        key, held = hashlib.blake2b(data, digest_size=16).hexdigest(), [ray.put(data)]
        self._gpu = model is not None and next(model.parameters(), torch.empty(0)).device.type == "cuda"
        needs = {"num_cpus": 0 if self._gpu else self._threads, "num_gpus": 1 if self._gpu else 0}
        task = ray.remote(max_retries=RETRIES, **needs)(_answer)

        def begin(method: str, *arguments: Any) -> Any:
            call = Call(key, method, arguments, self._threads, self._libraries)
            return task.remote(call, held)

        return begin

    def _large(self, value: Any) -> Any:
        """An argument of many tasks, sent once."""
        return _Large([self._ray.put(value)])

    def _got(self, task: Any) -> Any:
        ray = self._ray
        self._pending.discard(task)
        try:
            return ray.get(task)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except ray.exceptions.RayError as error:
            raise SettingsError(
                f"a shard was begun {RETRIES + 1} times and each worker died of it, perhaps for memory "
                f"({type(error).__name__}); run the same again with fewer workers: it goes on"
            ) from error

    def _in_order(self, begun: Iterable[Any]) -> Iterator[Any]:
        """Answers of tasks in their order; no more are begun than keep the workers busy."""
        waiting, most, left = deque[Any](), 2 * self._slots + 2, iter(begun)
        while True:
            for task in islice(left, most - len(waiting)):
                self._pending.add(task)
                waiting.append(task)
            if not waiting:
                return
            yield self._got(waiting.popleft())

    def _as_they_end(self, begun: Iterable[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
        """Answers of tasks with their numbers, whichever comes first."""
        waiting, most, left = dict[Any, int](), 2 * self._slots + 2, iter(begun)
        while True:
            for number, task in islice(left, most - len(waiting)):
                self._pending.add(task)
                waiting[task] = number
            if not waiting:
                return
            ended, _ = self._ray.wait(list(waiting), num_returns=1)
            for task in ended:
                yield waiting.pop(task), self._got(task)

    def stop(self) -> None:
        """Nobody waits for what is still computed."""
        for task in self._pending:
            self._ray.cancel(task, force=True)
        self._pending.clear()

    def _cuts(self, start: int, stop: int, block: int) -> list[tuple[int, int]]:
        """Where shards begin and end: whole blocks, some for each worker."""
        size = block * max(1, -(-(stop - start) // (block * SHARDS * self._slots)))
        return [(at, min(at + size, stop)) for at in range(start, stop, size)]

    # ------------------------------------------------------------ passes over the pool

    @property
    def pixels(self) -> pixel_cache.Makes:
        """Workers decode."""
        return self._pixels

    def _pixels(self, pool: Pool, preprocessing: Preprocessing, start: int) -> Iterator[pixel_cache.Made]:
        begin = self._sent(Pixels(pool, preprocessing))
        cuts = self._cuts(start, len(pool.items), pixel_cache.BATCH)
        for shard in self._in_order(begin("shard", *cut) for cut in cuts):
            yield from shard

    def rows(self, study: OpenedModel) -> indexing_pass.Makes:
        """Workers pass the pool through the model."""

        def rows(plan: Plan, start: int) -> Iterator[indexing_pass.Made]:
            begin = self._sent(_layer(study, plan), plan.split.model)
            cuts = self._cuts(start, len(plan.pool.items), indexing_pass.BATCH)
            for shard in self._in_order(begin("shard", *cut) for cut in cuts):
                yield from shard

        return rows

    # ------------------------------------------------------------ classes

    def fill(self, studies: Sequence[OpenedModel], asked: Asked) -> None:
        """Evidence, concepts, findings and tests of pairs that are missing; each written as it comes."""
        context = studies[0].context()
        todo, speaking, pairs = audit.missing(context, asked)
        if not (todo or speaking or pairs):
            return
        contexts = tuple(_bare(one.context()) for one in studies)
        layers = tuple(_layer(one, one.plan) for one in studies)
        begin = self._sent(Audited(layers, contexts, self._threads), context.split.model)
        with self._progress.step("attribution and concepts", len(speaking), "classes") as advance:
            tasks = ((own.target, begin("speak", own.target, own.target in todo)) for own in speaking)
            for _, made in self._as_they_end(tasks):
                _write(context.store, made)
                advance(1)
        able = [k for k in todo if all(job.file.exists() for job in jobs(evidence_of(context, k)))]
        for at in range(0, len(able), audit.SEARCHED):
            self._findings(context, begin, able[at : at + audit.SEARCHED])
        if pairs:
            pair_tests.shifts(
                context, asked.classes, asked.every_pair, pairs, _untold, partial(self._sources, begin)
            )

    def _findings(self, context: Context, begin: Callable[..., Any], targets: Sequence[int]) -> None:
        asked = {k: audit.queries(context, k) for k in targets}
        concepts = [Wanted(k, one.concepts, tuple(one.masks)) for k, mine in asked.items() for one in mine]
        counts = {len(mine[0].concepts) for mine in asked.values()}
        total, wanted = len(context.index.checked_cells), self._large(concepts)
        with self._progress.step("crops", total) as advance:
            parts = []
            cuts = self._cuts(0, total, nearest_crops.ROWS)
            tasks = (begin("search", wanted, *cut) for cut in cuts)
            for (start, stop), part in zip(cuts, self._in_order(tasks), strict=True):
                parts.append(part)
                advance(stop - start)
            found = iter(nearest_crops.merged(parts, context.index, context.settings.crops))
        places = {k: list(islice(found, len(mine))) for k, mine in asked.items()}
        with self._progress.step("prediction tests", len(targets), "classes") as advance:
            known = self._large(self._random(context, begin, counts))
            ended = self._as_they_end((k, begin("finding", k, places[k], known)) for k in targets)
            for _, made in ended:
                _write(context.store, made)
                advance(1)

    def _random(self, context: Context, begin: Callable[..., Any], counts: set[int]) -> dict[Any, np.ndarray]:
        """What the random crops that most classes share reach, by the number of concepts."""
        draws, n = Controls(context), context.settings.null_crops
        sets = [places for k in sorted(counts) for places in draws.draws(n, k, context.index.usable)]
        shards = (sets[at : at + RANDOM] for at in range(0, len(sets), RANDOM))
        known: dict[Any, np.ndarray] = {}
        for one in self._in_order(begin("random", shard) for shard in shards):
            known |= one
        return known

    def _sources(
        self,
        begin: Callable[..., Any],
        context: Context,
        sampled: PairSample,
        planes: Planes,
        missing: dict[int, list[str]],
    ) -> Iterator[int]:
        shared = self._large(sampled), self._large(planes)
        tasks = ((b, begin("source", b, *shared, tests)) for b, tests in missing.items())
        for b, made in self._as_they_end(tasks):
            _write(context.store, made)
            yield b


class _Large:
    """An argument that lies in the cluster's memory."""

    def __init__(self, held: list[Any]) -> None:
        self.held = held


def _answer(call: Call, held: list[Any]) -> Any:
    """The task: in a worker's process."""
    import ray

    def load() -> Any:
        return ray.cloudpickle.loads(ray.get(held[0]))

    def fetch(argument: Any) -> Any:
        return ray.get(argument.held[0]) if isinstance(argument, _Large) else argument

    return answer(call, load, fetch)


def _untold(done: float, doing: str) -> None:
    """Steps are told by themselves."""


def _write(store: Store, made: dict[str, bytes]) -> None:
    store.check()
    for name, data in made.items():
        files.write(store.folder / name, data)


def _layer(study: OpenedModel, plan: Plan) -> Layer:
    """A layer as it is sent."""
    decoded = (
        None if plan.pool.kept is None else {name: versions()[name] for name in ("pillow", "torchvision")}
    )
    bare: Any = replace(plan, trunk=None, pool=replace(plan.pool, kept=None))  # type: ignore[arg-type]
    wide = forward.is_widened(plan.split.model)
    return Layer(bare, study.store.folder.resolve(), study.fingerprint, decoded, wide)


def _bare(context: Context) -> Context:
    """A context as it is sent."""
    unsent: dict[str, Any] = dict.fromkeys(("index", "trunk", "progress", "decoder", "pool", "store"))
    return replace(context, **unsent)


@contextmanager
def _by_value(cloudpickle: Any, model: torch.nn.Module | None) -> Iterator[None]:
    """Code of files that workers cannot import, such as the one of a model's factory, is sent along."""
    kinds = {type(one).__module__ for one in (model.modules() if model is not None else ())}
    places = {Path(file).parent for name in kinds if (file := _own_file(name))}
    added = [
        module
        for name, module in list(sys.modules.items())
        if (file := _own_file(name)) and Path(file).parent in places and name != "__main__"
    ]
    for module in added:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in added:
            cloudpickle.unregister_pickle_by_value(module)


def _own_file(module: str) -> str:
    """The file of a module that is of no installed package; empty for others."""
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    root = module.partition(".")[0]
    installed = root == "whyclass" or any(part in file for part in ("site-packages", "dist-packages"))
    return "" if installed or root in sys.stdlib_module_names else file
