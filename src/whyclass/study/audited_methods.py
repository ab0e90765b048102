"""The audit's prediction test of concepts that other methods find: a finding of each class and method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from whyclass.errors import AttributionError, SettingsError
from whyclass.plain_text import clean
from whyclass.records import Audit, Finding
from whyclass.settings import COMPARED_METHODS, CONCEPTS_BY
from whyclass.study import audit, compare, trust
from whyclass.study.class_evidence import ClassEvidence, evidence_of
from whyclass.study.comparisons import of_audit
from whyclass.study.concept_methods import FILE, Method
from whyclass.study.context import Context
from whyclass.study.crop_pictures import Pictures
from whyclass.study.prediction_test_and_control import Controls, Tester, masks_of

OWN = COMPARED_METHODS[0]
"""The method whose audit is the audit itself."""


def checked(names: Sequence[str], channels: int) -> list[Method]:
    """The methods of these names, none of them the audit's own.

    Raises
    ------
    SettingsError
        If one is unknown, named twice, or the audit's own.
    DataError
        If a file holds no directions of the layer.
    """
    if OWN in names:
        raise SettingsError(f"{OWN} is the audit's own method; name others beside it")
    return compare.methods_of(channels, names) if names else []


def audits(context: Context, targets: Sequence[int], methods: Sequence[Method]) -> list[Audit]:
    """Make what is missing of some classes; what the store holds of each method."""
    controls = Controls(context)
    with context.progress.step("audit of methods", len(targets), "classes") as advance:
        for target in targets:
            todo = [one for one in methods if context.kept(Finding, _file(context, target, one)) is None]
            if todo:
                _make(evidence_of(context, target), todo, controls)
            advance(1)
    return [audit.collected(context, told_of(method)) for method in methods]


def told_of(method: Method) -> dict[str, str]:
    """What the settings of a method's findings say beside; of a file its name, and what it holds."""
    if not method.digest:
        return {CONCEPTS_BY: method.name}
    name = clean(Path(method.name.removeprefix(FILE)).name)
    return {CONCEPTS_BY: f"{FILE}{name}", "directions": method.digest}


def _file(context: Context, target: int, method: Method) -> Path:
    return audit.finding_file(context, target, told_of(method))


def _make(own: ClassEvidence, todo: Sequence[Method], controls: Controls) -> None:
    """Findings of a class, all searched in one pass over the pool."""
    context, masks = own.context, masks_of(own.context, own.target)
    try:
        checked = trust.checks_of(own, of_audit(context.settings))
        found, problems = compare.candidates(own, todo)
    except AttributionError as error:  # nothing speaks for the class, and so nothing is compared
        checked, found, problems = None, [], {method.name: str(error) for method in todo}
    tester = Tester(Pictures(context, [own.target]), controls, lean=True)
    places = compare.searched(own, checked, masks, found) if found else []
    for one, (mine, others) in zip(found, places, strict=True):
        own_checked = replace(checked, halves=one.halves) if checked else None
        made = audit.finding(one.own, trust.Searched(tester, masks, mine, others), own_checked)
        _keep(context, made, one.method)
    for method in todo:
        if method.name in problems:
            _keep(context, audit.unexplained(own, problems[method.name]), method)


def _keep(context: Context, made: Finding, method: Method) -> None:
    settings = made.settings | told_of(method)
    context.store.keep(replace(made, settings=settings), _file(context, made.target.index, method))
