"""Workers of a Ray cluster: what is sent to them once, and tasks whose answers come in order or as they end.

A worker that dies costs the shards it held, which others compute again.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from whyclass.errors import SettingsError
from whyclass.models.setup import versions
from whyclass.study.ray_tasks import Call, answer

RETRIES = 20
"""So often a shard is given to another worker where one died of it, before the run ends."""

SHARDS = 4
"""Shards for each worker, about: few enough to cost little, many enough that none waits long for the last."""

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_DEDUP_LOGS": "0"}
"""What Ray reads of the environment, where the user set nothing: it calls nobody."""


@contextmanager
def opened(address: str, workers: int) -> Iterator[Cluster]:
    """The cluster at an address, or one of so many workers that is begun here and ends with the block.

    It is begun where there is something to compute.

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
    found = Cluster(ray, address, workers)
    try:
        yield found
    finally:
        found.stop()
        if mine and ray.is_initialized():
            ray.shutdown()


def begin(ray: ModuleType, address: str, workers: int) -> None:
    """Begin a cluster of so many workers here, or join the one at an address."""
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


class Cluster:
    """Workers, begun or joined when the first thing is sent to them (``docs/cluster.md``)."""

    def __init__(self, ray: ModuleType, address: str, workers: int) -> None:
        self._ray, self._where = ray, (address, workers)
        self._threads, self._libraries = torch.get_num_threads(), versions()
        self._pending: set[Any] = set()
        self._gpu = False

    @property
    def threads(self) -> int:
        """Of a task."""
        return self._threads

    @property
    def slots(self) -> int:
        """Tasks that run at a time."""
        there = self._ray.cluster_resources()
        most = there.get("GPU", 1) if self._gpu else there.get("CPU", 1) // self._threads
        if most < 1:
            what = "a GPU" if self._gpu else f"{self._threads} processors (set OMP_NUM_THREADS to fewer)"
            raise SettingsError(f"no machine of the cluster has {what} for a task")
        return int(most)

    def sent(self, what: Any, model: torch.nn.Module | None = None) -> Callable[..., Any]:
        """Something that workers open once; gives what calls one of its methods as a task."""
        ray = self._ray
        if not ray.is_initialized():
            begin(ray, *self._where)
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

        def asked(method: str, *arguments: Any) -> Any:
            call = Call(key, method, arguments, self._threads, self._libraries)
            return task.remote(call, held)

        return asked

    def large(self, value: Any) -> Any:
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

    def in_order(self, begun: Iterable[Any]) -> Iterator[Any]:
        """Answers of tasks in their order; no more are begun than keep the workers busy."""
        waiting, most, left = deque[Any](), 2 * self.slots + 2, iter(begun)
        while True:
            for task in islice(left, most - len(waiting)):
                self._pending.add(task)
                waiting.append(task)
            if not waiting:
                return
            yield self._got(waiting.popleft())

    def as_they_end(self, begun: Iterable[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
        """Answers of tasks with their numbers, whichever comes first."""
        waiting, most, left = dict[Any, int](), 2 * self.slots + 2, iter(begun)
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

    def cuts(self, start: int, stop: int, block: int) -> list[tuple[int, int]]:
        """Where shards begin and end: whole blocks, some for each worker."""
        size = block * max(1, -(-(stop - start) // (block * SHARDS * self.slots)))
        return [(at, min(at + size, stop)) for at in range(start, stop, size)]


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
