"""How the classes of an audit stand."""

from __future__ import annotations

from typing import Literal

from whyclass.records import Audit, ClassResult, Finding
from whyclass.report import audits_in_store, verdict

Standing = Literal["unexplained", "distrust", "careful", "trust"]

STANDINGS: dict[Standing, str] = {
    "unexplained": "Not explained",
    "distrust": "Passes no test",
    "careful": "Passes one test",
    "trust": "Passes both tests",
}
"""How a class of an audit without nulls stands, worst first, in the words of its page."""

JUDGED: dict[Standing, str] = {
    "unexplained": "Not explained",
    "distrust": verdict.LABELS["distrust"],
    "careful": verdict.LABELS["careful"],
    "trust": verdict.LABELS["trust"],
}
"""The same where there are nulls: the verdict's levels."""


def standing(found: Finding | ClassResult) -> Standing:
    """How a class stands: the verdict's level, or by its two tests alone where there are no nulls."""
    if isinstance(found, Finding):
        found = audits_in_store.result(found, "")
    if found.including is None:
        return "unexplained"
    return verdict.level(found) if judged(found) else verdict.tests_level(found)


def judged(found: ClassResult) -> bool:
    """Whether there are nulls that a verdict can rest on."""
    return any(one.reached for test in (found.including, found.excluding) if test for one in test.nulls)


def label(found: Finding) -> str:
    """What the standing of one class is called."""
    names = JUDGED if judged(audits_in_store.result(found, "")) else STANDINGS
    return names[standing(found)]


def names_of(audit: Audit) -> dict[Standing, str]:
    """What the standings of its classes are called."""
    return JUDGED if any(judged(one) for one in audit.classes) else STANDINGS
