"""Who computes a question is opened for as long as the question takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from whyclass.errors import SettingsError
from whyclass.progress import Progress
from whyclass.setting_checks import told
from whyclass.study.context import OpenedModel
from whyclass.study.engines import Engine


@contextmanager
def at_work(study: OpenedModel, engine: str, workers: int) -> Iterator[Engine]:
    """The engine of a name, which also makes a study's pass over the pool."""
    with opened(engine, workers, study.progress) as found:
        study.makes = found.rows(study)
        try:
            yield found
        finally:
            study.makes = None


@contextmanager
def opened(name: str, workers: int, progress: Progress) -> Iterator[Engine]:
    """The engine of a name: ``"local"``, ``"ray"``, or ``"ray:ADDRESS"`` of a cluster that runs.

    Raises
    ------
    SettingsError
        If there is no such engine, its library is missing, or there is no cluster at the address.
    """
    if workers < 1:
        raise SettingsError(f"workers is {workers}; needed is at least 1")
    kind, _, address = name.partition(":")
    if name == "local":
        yield Engine()
    elif kind == "ray":
        from whyclass.study import ray_cluster
        from whyclass.study.ray_engine import RayEngine

        with ray_cluster.opened(address, workers) as cluster:
            yield RayEngine(cluster, progress)
    else:
        raise SettingsError(f"engine is {told(name)}; choose local, ray, or ray:ADDRESS")
