"""The audits that a store holds, gathered from its records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from whyclass.errors import RecordError, StoreError
from whyclass.records import Audit, ClassResult, Finding, PredictionTest, Shifts, Trial, codec
from whyclass.report import audited_nulls
from whyclass.settings import CONCEPTS_BY, OF_NO_FINDING
from whyclass.store import Store, key_in, key_of

Tell = Callable[[str], None]
Kept = TypeVar("Kept", Finding, Shifts)


def collect(store: Store, tell: Tell | None = None) -> list[Audit]:
    """Every audit of a store, one for each model, layer, pool and settings; the largest first.

    A damaged record is left out where there is somebody to ``tell`` its name to.

    Raises
    ------
    StoreError
        If the store holds no result of an audit.
    RecordError
        If a record is damaged, and nobody is to be told.
    """
    if not (found := gathered(store, tell)):
        raise StoreError(f"{store.folder} holds no result of an audit yet; run whyclass audit on it first")
    return found


def gathered(store: Store, tell: Tell | None = None) -> list[Audit]:
    """As ``collect``; none where the store holds none."""
    found: dict[str, Audit] = {}

    def own(one: Finding | Shifts, classes: int) -> Audit:
        settings = _settings(one)
        new = Audit(one.model, one.pool, one.names, classes, (), (), settings, one.versions)
        return found.setdefault(identity(new), new)

    for file, finding in _whole(Finding, store, "findings", tell):
        audit = own(finding, finding.n_classes)
        found[identity(audit)] = replace(audit, classes=(*audit.classes, result(finding, file.name)))
    for _, shift in _whole(Shifts, store, "shifts", tell):
        audit = own(shift, 0)
        found[identity(audit)] = replace(audit, shifts=(*audit.shifts, shift))
    ordered = [_ordered(audit) for audit in found.values()]
    return sorted(ordered, key=_place)


def _place(audit: Audit) -> tuple[Any, ...]:
    """The largest first; of one size those of other methods last."""
    return -len(audit.classes), audit.model.layer, audit.settings.get(CONCEPTS_BY, ""), identity(audit)


def identity(audit: Audit) -> str:
    """Short hash of what tells audits of one store apart: model, layer, pool, names, settings, versions."""
    facts = (audit.model, audit.pool.digest, audit.names, audit.settings, audit.versions)
    return key_of(facts=[codec.to_json(fact) for fact in facts])


def labels(audits: Sequence[Audit]) -> list[str]:
    """The models' names; where several audits are of one model and layer, with what tells them apart."""
    return [_label(audit, [one for one in audits if _alike(one, audit)]) for audit in audits]


# ---------------------------------------------------------------- gathering


def _whole(kind: type[Kept], store: Store, folder: str, tell: Tell | None) -> Iterator[tuple[Path, Kept]]:
    """The records of a folder, each under the key that it proves."""
    for file in store.records(folder):
        try:
            yield file, kind.load(file, (key_in(file), ""))  # records of before hold no key
        except (RecordError, StoreError) as error:
            if tell is None:
                raise
            tell(f"left out, since {error}; run the same audit again to make it anew")


def _settings(found: Finding | Shifts) -> dict[str, Any]:
    """Those that tell audits apart: a test of pairs belongs to the findings made with the same others."""
    return {name: value for name, value in found.settings.items() if name not in OF_NO_FINDING}


def _alike(one: Audit, other: Audit) -> bool:
    return (one.model.name, one.model.layer) == (other.model.name, other.model.layer)


def _label(audit: Audit, alike: Sequence[Audit]) -> str:
    """The model's name, and in brackets the facts in which audits of the same layer differ."""
    facts = [
        {
            "weights": one.model.weights[:8],
            "preprocessing": one.model.preprocessing,
            "pool": f"{one.pool.name}, {one.pool.digest[:8]}",
            "class names": one.names[:8],
            **one.settings,
            **one.versions,
        }
        for one in alike
    ]
    mine = facts[alike.index(audit)]
    differing = [name for name in mine if any(other.get(name) != mine[name] for other in facts)]
    told = ", ".join(f"{name} {mine[name]}" for name in differing[:FACTS])
    return f"{audit.model.name} ({told})" if told else audit.model.name


FACTS = 3
"""Of those in which audits of one layer differ, so many are told."""


def result(found: Finding, file: str) -> ClassResult:
    """A finding in few numbers; ``file`` is its file's name."""
    tests = found.prediction_test
    return ClassResult(
        target=found.target,
        n_images=found.n_images,
        n_predicted=found.n_predicted,
        completeness=found.completeness,
        residual=found.residual,
        including=_test(tests.including) if tests else None,
        excluding=_test(tests.excluding) if tests and tests.excluding else None,
        problem=found.problem,
        file=file,
        unlabelled=_test(tests.unlabelled) if tests and tests.unlabelled else None,
        needed=tuple(one.contribution.needed for one in found.concepts if one.contribution),
        refits=found.refits,
    )


def _test(test: PredictionTest) -> Trial:
    numbers = (test.control, test.share, test.backing, test.nulls)
    return Trial(test.score, test.predicted, test.top[0], test.layout, *numbers)


def _ordered(audit: Audit) -> Audit:
    """Classes by index, their nulls over all of them; tests of pairs by kind, draw and source."""
    return replace(
        audit,
        classes=audited_nulls.pooled(sorted(audit.classes, key=lambda one: one.target.index)),
        shifts=tuple(sorted(audit.shifts, key=lambda one: (one.test, one.draw, one.group, one.source.index))),
    )
