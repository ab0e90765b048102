"""An audit from the question to the record: what is decoded and indexed before it, and who computes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from whyclass.models.setup import decoders
from whyclass.pool import pixel_cache
from whyclass.progress import Logged
from whyclass.records import Audit
from whyclass.study import audit
from whyclass.study.at_work import opened
from whyclass.study.context import OpenedModel


@dataclass(frozen=True)
class How:
    """How an audit is to be done.

    Attributes
    ----------
    tests
        Of ``AUDIT_TESTS``.
    workers
        Processes: of factorisations, or of everything where a cluster computes.
    every_pair
        Shift between all ordered pairs.
    part
        (i, n): every n-th class from the i-th on.
    engine
        ``"local"``, ``"ray"`` or ``"ray:ADDRESS"``.
    """

    tests: tuple[str, ...]
    workers: int
    every_pair: bool
    part: tuple[int, int]
    engine: str


def run(study: OpenedModel, classes: Iterable[int] | None, how: How) -> Audit:
    """The audit of some classes, or of all that are predicted for an image of the pool."""
    audit.check(how.tests, how.workers, how.part)
    every = (study, *study.beside)
    shown, progress = study.progress, Logged(study.progress, study.store.log)
    try:
        for one in every:
            one.progress = progress
        with progress.run(f"audit of {study.loaded.name}, layer {study.split.layer}"):
            pixel_cache.tell_what_changed(study.pool, study.store, progress)
            with opened(how.engine, how.workers, progress) as engine:
                for one in every:
                    one.makes = engine.rows(one)
                    decode(one, engine.pixels)
                context = study.context()
                found = context.classes() if classes is None else list(classes)
                wanted = tuple(sorted(set(found)))
                mine = audit.part_of(wanted, how.part)
                beside = tuple(one.context() for one in study.beside)
                workers = how.workers if engine.local else 1
                asked = audit.Asked(wanted, mine, how.tests, workers, how.every_pair, beside=beside)
                engine.fill(every, asked)
                audit.audit(context, asked)
    finally:
        for one in every:
            one.progress, one.makes = shown, None
    study.store.check()
    return audit.collected(context)


def decode(study: OpenedModel, makes: pixel_cache.Makes | None = None) -> None:
    """Let every image of a study's pool come from the store."""
    study.pool = pixel_cache.decoded(
        study.pool, study.loaded.preprocessing, study.store, study.progress, makes, **decoders()
    )
