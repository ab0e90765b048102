"""Compared methods judged against the planted truth: parts found, and parts invented."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from whyclass.errors import SettingsError
from whyclass.planted.judgement import Finding, Shown, Truth, judge_shown
from whyclass.records import ComparedClass, Comparison, MethodResult


@dataclass(frozen=True)
class Recalled:
    """What a method's concepts say of the parts of a planted class.

    ``planted`` parts the class has, ``found`` of them, and ``invented`` parts found that it does not have.
    """

    method: str
    target: int
    planted: int
    found: int
    invented: int
    findings: tuple[Finding, ...]


def recalled(found: Comparison, truth: Truth, seed: int = 0) -> tuple[Recalled, ...]:
    """Every method on every class of a comparison on the planted world, by the rule of `judgement.judge`.

    Raises
    ------
    SettingsError
        If fewer than two images are kept of a class.
    """
    return tuple(
        _recalled(one, result, truth, seed)
        for one in found.classes
        for result in one.results
        if not result.problem
    )


def _recalled(one: ComparedClass, result: MethodResult, truth: Truth, seed: int) -> Recalled:
    paths: Sequence[str] = [example.image.path for example in one.examples]
    if len(paths) < 2:
        raise SettingsError(
            f"the comparison keeps {len(paths)} images with heat maps, and two or more are needed; compare "
            "with settings that have examples=12"
        )
    heat = np.stack([concept.heat for concept in result.concepts])
    crops = [concept.shown.including.spots for concept in result.concepts]
    findings = judge_shown(Shown(one.target.index, paths, heat, crops), truth, seed)
    return Recalled(
        result.method,
        one.target.index,
        sum(finding.planted for finding in findings),
        sum(finding.planted and finding.found for finding in findings),
        sum(finding.found and not finding.planted for finding in findings),
        findings,
    )
