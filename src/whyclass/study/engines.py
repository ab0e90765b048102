"""Who computes an audit: this process with processes of its own, or the workers of a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from whyclass.errors import SettingsError
from whyclass.pool import indexing_pass, pixel_cache
from whyclass.progress import Progress
from whyclass.settings import told
from whyclass.study.audit import Asked
from whyclass.study.context import OpenedModel


class Engine:
    """Everything is computed here; the base of those that have it computed elsewhere.

    What another engine fills the store with are the bytes that this one would, so that the audit, which
    follows, finds them; what it left out is made here.
    """

    local = True

    @property
    def pixels(self) -> pixel_cache.Makes | None:
        """Who decodes the pool; None for this process."""
        return None

    def rows(self, study: OpenedModel) -> indexing_pass.Makes | None:
        """Who makes the rows of the pass over the pool; None for this process."""
        return None

    def fill(self, studies: Sequence[OpenedModel], asked: Asked) -> None:
        """Make and keep what is missing of an audit of the first study; the others lie beside it."""


@contextmanager
def opened(name: str, workers: int, progress: Progress) -> Iterator[Engine]:
    """The engine of a name: ``"local"``, ``"ray"``, or ``"ray:ADDRESS"`` of a cluster that runs.

    Raises
    ------
    SettingsError
        If there is no such engine, its library is missing, or there is no cluster at the address.
    """
    kind, _, address = name.partition(":")
    if name == "local":
        yield Engine()
    elif kind == "ray":
        from whyclass.study.ray_engine import cluster

        with cluster(address, workers, progress) as engine:
            yield engine
    else:
        raise SettingsError(f"engine is {told(name)}; choose local, ray, or ray:ADDRESS")
