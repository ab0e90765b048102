"""Every class in one run: what explaining and contrasting do for one, in an order that shares the work.

A stage is done for all classes before the next one begins, and each class's result of a stage is a file of
its own, written whole: a run that was killed goes on from there, and ends with the same bytes. No
result depends on which classes are in the same run, or on the number of processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from whyclass.attribution import enough_copies
from whyclass.concepts.nmf import strongest
from whyclass.errors import ClassError, SettingsError
from whyclass.pool import nearest_crops
from whyclass.pool.nearest_crops import Place
from whyclass.progress import Report, Within
from whyclass.records import Audit, AuditedConcept, Finding, Spot, Strip
from whyclass.report import audits_in_store
from whyclass.settings import AUDIT_TESTS, OF_NO_FINDING, plain
from whyclass.store import key_of
from whyclass.study import explain, pair_tests, searching, trust
from whyclass.study.class_evidence import ClassEvidence, evidence_of
from whyclass.study.comparisons import of_audit
from whyclass.study.context import Context
from whyclass.study.crop_pictures import Pictures
from whyclass.study.factorising import factorising, jobs
from whyclass.study.prediction_test_and_control import Controls, Places, Tester, masks_of
from whyclass.study.shared_copies import Beside

SEARCHED, MASKS = 1000, 1 << 29
"""Classes whose crops are searched in one pass over the pool at most, and bytes of what each may be of."""

EXAMPLES, SMALL, THUMB = 3, 128, 40
"""Images of the class that a finding keeps, their longer side, and the height of its thumbnail, in pixels."""

NOTHING: Mapping[str, str] = {}
"""Beside the settings, where concepts are found as everywhere."""

FINDING, NULLS = 4.0, 200.0
"""Work of a class's crops and tests, and of what they are compared with, in images that pass the trunk."""


@dataclass(frozen=True)
class Asked:
    """What an audit is to do.

    Attributes
    ----------
    classes
        Indexes, rising: all that the audit is of.
    mine
        Those of them that this run does.
    tests
        Of ``AUDIT_TESTS``.
    workers
        Processes for the factorisations; with 1 they are done here.
    every_pair
        Shift between all ordered pairs, instead of the paper's draw.
    name
        What the run is called while it works.
    beside
        The same at other layers, audited afterwards: evidence that both lack is made along.
    """

    classes: tuple[int, ...]
    mine: tuple[int, ...]
    tests: tuple[str, ...]
    workers: int
    every_pair: bool
    name: str = "audit"
    beside: tuple[Context, ...] = ()


def audit(context: Context, asked: Asked) -> None:
    """Make what is missing of the findings and shifts that are asked for."""
    todo, speaking, pairs = missing(context, asked)
    work = sum(_work(own) for own in speaking) + _finding_work(context) * len(todo)
    if pairs:
        work += pair_tests.work(context, asked.classes, asked.every_pair)
    with context.progress.whole(asked.name, work) as report:
        problems = _speak(context, speaking, set(todo), asked, report)
        for some in searched(context, todo):
            _findings(context, some, problems, report)
        if pairs:
            pair_tests.shifts(context, asked.classes, asked.every_pair, pairs, report)


def missing(context: Context, asked: Asked) -> tuple[list[int], list[ClassEvidence], list[str]]:
    """Classes whose finding is to be made, those whose evidence or concepts are, and the tests of pairs."""
    pairs = [test for test in asked.tests if test != "prediction"]
    asked_for = asked.mine if "prediction" in asked.tests else ()
    todo = [k for k in asked_for if context.kept(Finding, finding_file(context, k)) is None]
    speaking = [
        own
        for own in (evidence_of(context, k) for k in asked.mine)
        if _lacks(own, concepts=own.target in todo, cells=bool(pairs))
    ]
    return todo, speaking, pairs


def searched(context: Context, targets: Sequence[int]) -> Iterator[Sequence[int]]:
    """Classes whose crops are searched together: fewer in a large pool, of which each has masks."""
    several = len(masks_of(context, targets[0])) if targets else 1
    together = max(1, min(SEARCHED, MASKS // (several * len(context.index.items))))
    return (targets[start : start + together] for start in range(0, len(targets), together))


def check(tests: Sequence[str], workers: int, part: tuple[int, int]) -> None:
    """Refuse what no audit can do."""
    if not tests or set(tests) - set(AUDIT_TESTS):
        raise SettingsError(f"tests are {', '.join(tests) or 'none'}; choose of {', '.join(AUDIT_TESTS)}")
    if workers < 1:
        raise SettingsError(f"workers is {workers}; needed is at least 1")
    number, of = part
    if not 1 <= number <= of:
        raise SettingsError(f"part is {number}/{of}; needed is i/n with i from 1 to n")
    if of > 1 and set(tests) - {"prediction"}:
        raise SettingsError(
            "shifting draws from all classes and cannot be done in parts; do the parts with the prediction "
            "test alone, merge their stores, and run the audit of all classes on the merged one"
        )


def part_of(classes: tuple[int, ...], part: tuple[int, int]) -> tuple[int, ...]:
    """Every n-th of the classes from the i-th on, for a part (i, n).

    Raises
    ------
    ClassError
        If that is none.
    """
    number, of = part
    if not (mine := classes[number - 1 :: of]):
        raise ClassError(
            f"part {number}/{of} of {len(classes)} classes holds none; ask for fewer parts, or for a class"
        )
    return mine


def is_of(context: Context, found: Audit, beside: Mapping[str, str] = NOTHING) -> bool:
    """Whether an audit is of the context's model, layer, pool and settings."""
    mine = (
        context.model_info(),
        context.pool.digest,
        context.names_digest,
        settings_of(context) | dict(beside),
        context.versions,
    )
    return mine == (found.model, found.pool.digest, found.names, found.settings, found.versions)


def collected(context: Context, beside: Mapping[str, str] = NOTHING) -> Audit:
    """What the store holds of this audit; ``beside`` the settings, what tells it from the class's own.

    Raises
    ------
    ClassError
        If that is nothing, since no test could be made.
    """
    found = audits_in_store.gathered(context.store, context.progress.note)
    mine = next((one for one in found if is_of(context, one, beside)), None)
    if mine is None:
        raise ClassError(
            "no test could be made: shifting and masking need two or more classes that have cells which "
            "speak for them; name more classes, or add the prediction test"
        )
    return mine


def settings_of(context: Context) -> dict[str, Any]:
    """The settings that a finding depends on."""
    return plain(context.settings, OF_NO_FINDING)


def finding_file(context: Context, target: int, beside: Mapping[str, str] = NOTHING) -> Path:
    """Where the finding of a class is kept, whatever folder its pool lay in."""
    numbers = context.key(target, settings=settings_of(context) | dict(beside))
    key = key_of(**context.labelled, numbers=numbers, names=context.names_digest, model=context.loaded.name)
    return context.store.record("findings", key)


def _lacks(own: ClassEvidence, *, concepts: bool, cells: bool) -> bool:
    """Whether something must be made of a class whose concepts, or whose cells alone, are needed."""
    if not own.evidence_file.exists():
        return concepts or cells
    return concepts and not all(job.file.exists() for job in jobs(own))


def _work(own: ClassEvidence) -> float:
    """Of attribution and clean activations, in images through the trunk."""
    copies = 0 if own.evidence_file.exists() else enough_copies.expected(own.context.settings)
    return len(own.chosen) * (copies + 1)


def _finding_work(context: Context) -> float:
    """Of the crops and tests of one class."""
    return FINDING + NULLS * of_audit(context.settings).any


# ---------------------------------------------------------------- attribution and concepts


def _speak(
    context: Context, classes_left: Sequence[ClassEvidence], todo: set[int], asked: Asked, report: Report
) -> dict[int, str]:
    """Evidence of the classes, and the concepts of those ``todo``; gives the classes without, and why.

    The factorisation of one class goes on in other processes while the next one is attributed.
    """
    problems: dict[int, str] = {}
    if not classes_left:
        return problems
    total, beside = sum(len(own.chosen) for own in classes_left), Beside(context, asked.beside)
    with (
        context.progress.step("attribution and concepts", total) as advance,
        factorising(asked.workers, context.split.example.device) as submit,
    ):
        for done, own in enumerate(classes_left, 1):
            work = _work(own)
            inside = replace(context, progress=Within(context.progress))
            fresh = replace(own, context=inside)  # its images leave memory with it
            others = beside.make(fresh)
            assert len(fresh.evidence.images)  # made here, and kept in the store
            if own.target in todo:
                submit(fresh, problems)
                for other in others:
                    submit(other, {})  # its problem is found again where it is told
            advance(len(own.chosen))
            report(work, f"attribution: {done} of {len(classes_left)} classes")
    return problems


# ---------------------------------------------------------------- findings


def _findings(context: Context, targets: Sequence[int], problems: dict[int, str], report: Report) -> None:
    """Crops of all concepts from one pass over the pool; then each class's tests."""
    able = [k for k in targets if k not in problems]
    # of each class's factors no more than the concepts stays in memory
    wanted = {k: queries(context, k) for k in able}
    with context.progress.step("crops", len(context.index.items)) as advance:
        asked = [query for mine in wanted.values() for query in mine]
        places = iter(searching.nearest(context, asked, context.settings.crops, advance))
        found = {k: list(islice(places, len(mine))) for k, mine in wanted.items()}
    controls = Controls(context)
    with context.progress.step("prediction tests", len(targets), "classes") as advance:
        for done, k in enumerate(targets, 1):
            if k in problems:
                context.store.keep(
                    unexplained(evidence_of(context, k), problems[k]), finding_file(context, k)
                )
            else:
                make_finding(context, k, found.pop(k), controls)
            advance(1)
            report(_finding_work(context), f"prediction tests: {done} of {len(targets)} classes")


def queries(context: Context, target: int) -> list[nearest_crops.Query]:
    """What is searched for a class: its concepts, and what they are compared with."""
    own, masks = evidence_of(context, target), masks_of(context, target)
    checked = trust.checks_of(own, of_audit(context.settings))
    return [explain.query(context, own.factors, masks), *(checked.queries(context, masks) if checked else ())]


def make_finding(context: Context, target: int, places: Sequence[Places], controls: Controls) -> None:
    """Make and keep the finding of a class from where the crops of each of its queries lie."""
    own, tester = evidence_of(context, target), Tester(Pictures(context, [target]), controls, lean=True)
    mine, *others = places
    found = trust.Searched(tester, masks_of(context, target), mine, others)
    made = finding(own, found, trust.checks_of(own, of_audit(context.settings)))
    context.store.keep(made, finding_file(context, target))


def finding(own: ClassEvidence, found: trust.Searched, checked: trust.Checked | None) -> Finding:
    """What concepts of a class, and where their crops lie, come to."""
    factors, pictures, places = own.factors, found.tester.pictures, found.places
    rows = strongest(factors.embeddings, EXAMPLES)
    concepts = tuple(
        AuditedConcept(
            vector=factors.concepts[k],
            share=float(factors.shares[k]),
            including=_strip(pictures, places["including"][k]),
            excluding=_strip(pictures, places["excluding"][k]) if places["excluding"][k] else None,
        )
        for k in range(len(factors.concepts))
    )
    worth = trust.Judged(concepts, found.tester.both(own.target, places, found.masks), None)
    if checked is not None:
        worth = trust.judged(own, concepts, worth.tests, checked, found)
    return replace(
        unexplained(own, ""),
        residual=factors.residual,
        converged=factors.converged,
        concepts=worth.concepts,
        prediction_test=worth.tests,
        refits=worth.refits,
        rival=explain.rival(worth.tests, own.target),
        examples=tuple(pictures.small(int(own.chosen[row]), SMALL) for row in rows),
        thumbnail=pictures.strip([nearest[0] for nearest in places["including"]], THUMB),
        warnings=tuple(explain.warnings_of(own, factors)),
    )


def unexplained(own: ClassEvidence, problem: str) -> Finding:
    """What is known of a class without its concepts."""
    context = own.context
    return Finding(
        model=context.model_info(),
        pool=context.pool_info(),
        names=context.names_digest,
        target=context.prediction(own.target, own.score),
        n_images=len(own.chosen),
        n_predicted=len(own.predicted),
        n_classes=len(context.classes()),
        completeness=explain.completeness(own.evidence),
        residual=0.0,
        concepts=(),
        prediction_test=None,
        rival=None,
        examples=(),
        thumbnail=None,
        problem=problem,
        warnings=(),
        settings=settings_of(context),
        versions=context.versions,
    )


def _strip(pictures: Pictures, places: Sequence[Place]) -> Strip:
    context = pictures.context
    height, width = context.preprocessing.crop
    spots = tuple(
        Spot(context.source(place.position), place.box(context.crops, (height, width)), place.cosine)
        for place in places
    )
    return Strip(spots, pictures.strip(places))
