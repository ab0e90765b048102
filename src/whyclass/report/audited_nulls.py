"""What explanations of nothing reach over the classes of an audit, and q-values beside p.

Each class has few null sets of its own, and over all classes there are many. How much backing comes about by
itself is another matter for each class, so what is compared is the *excess*: of an explanation over the mean
of its class's own nulls, and of each null over the mean of the others of its class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from whyclass.records import ClassResult, Null, Trial

TIE = 1e-6
"""Log-odds that differ by less are equal."""

FEWEST = 2
"""Null sets of a class without which none of them has others to be compared with."""


def pooled(classes: Sequence[ClassResult]) -> tuple[ClassResult, ...]:
    """The classes with their nulls' ``n``, ``p`` and ``q`` over all of them."""
    tests = [_decisive(one) for one in classes]
    kinds = dict.fromkeys(null.kind for test in tests if test for null in test.nulls)
    found = {kind: _of_kind([_null(test, kind) for test in tests], tests) for kind in kinds}
    out = []
    for number, one in enumerate(classes):
        mine = tuple(null for nulls in found.values() if (null := nulls[number]) is not None)
        out.append(_with_nulls(one, mine))
    return tuple(out)


def _decisive(one: ClassResult) -> Trial | None:
    return one.excluding or one.including


def _with_nulls(one: ClassResult, nulls: tuple[Null, ...]) -> ClassResult:
    if not nulls:
        return one
    name = "excluding" if one.excluding else "including"
    return replace(one, **{name: replace(getattr(one, name), nulls=nulls)})


def _null(test: Trial | None, kind: str) -> Null | None:
    return next((one for one in test.nulls if one.kind == kind), None) if test else None


def _of_kind(nulls: Sequence[Null | None], tests: Sequence[Trial | None]) -> list[Null | None]:
    """Each class's null of one kind, over all classes."""
    told = list(nulls)
    excesses = [_excesses(one.reached) for one in nulls if one is not None and len(one.reached) >= FEWEST]
    every = np.concatenate(excesses) if excesses else np.empty(0)
    for number, (one, test) in enumerate(zip(nulls, tests, strict=True)):
        if one is None or test is None or test.backing is None or len(one.reached) < FEWEST:
            continue  # random crops have a rank of their own
        real = test.backing - float(np.mean(one.reached))
        reached = int((every >= real - TIE).sum())
        told[number] = replace(one, n=len(every), p=(1 + reached) / (len(every) + 1))
    having = [number for number, one in enumerate(told) if one is not None]
    q = q_values([one.p for one in told if one is not None])
    for number, value in zip(having, q, strict=True):
        one = told[number]
        told[number] = replace(one, q=value) if one else None
    return told


def _excesses(reached: Sequence[float]) -> np.ndarray:
    """Of each over the mean of the others."""
    values = np.array(reached)
    return np.asarray(values - (values.sum() - values) / (len(values) - 1))


def q_values(p: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg's: the least false discovery rate at which each p would be taken."""
    order = np.argsort(p, kind="stable")[::-1]
    values, least = np.empty(len(p)), 1.0
    for rank, number in zip(range(len(p), 0, -1), order, strict=True):
        least = min(least, p[number] * len(p) / rank)
        values[number] = least
    return [float(value) for value in values]
