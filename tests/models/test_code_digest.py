"""A function is known again where it does the same, and only there."""

from __future__ import annotations

import functools
import re

import numpy as np
import pytest
import torch
from torch import nn

from whyclass.models.code_digest import digest_of

FACTOR = 2.0


def scaled(by):
    return lambda x: x * by


def with_world(x):
    return x * FACTOR


def calls(x):
    return with_world(x) + 1


class Holds:
    def __init__(self, value) -> None:
        self.value = value

    def __call__(self, x):
        return x * self.value


@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        (scaled(2), scaled(2), scaled(3)),
        (scaled(torch.ones(2)), scaled(torch.ones(2)), scaled(torch.zeros(2))),
        (scaled(np.ones(2)), scaled(np.ones(2)), scaled(np.ones(3))),
        (functools.partial(max, 1), functools.partial(max, 1), functools.partial(max, 2)),
        (Holds(1), Holds(1), Holds(2)),
        (Holds([1, {"a": (2, None)}]), Holds([1, {"a": (2, None)}]), Holds([1, {"a": (3, None)}])),
        (nn.Conv2d(1, 1, 1).requires_grad_(False), None, nn.Conv2d(1, 1, 1)),
        (lambda x: x + 1, lambda x: x + 1, lambda x: x + 2),
        (lambda x: x.exp(), lambda x: x.exp(), lambda x: x.log()),
        (lambda x: [y + 1 for y in x], lambda x: [y + 1 for y in x], lambda x: [y + 2 for y in x]),
        (Holds(1).__call__, Holds(1).__call__, Holds(3).__call__),
    ],
)
def test_the_same_is_known_again_and_another_is_not(one, same, other):
    assert digest_of(one) == digest_of(one if same is None else same)
    assert digest_of(one) != digest_of(other)


def test_what_a_function_calls_counts(monkeypatch):
    before = digest_of(calls)
    assert digest_of(calls) == before
    monkeypatch.setitem(globals(), "FACTOR", 3.0)
    assert digest_of(calls) != before


@pytest.mark.parametrize("hidden", [re.compile("a"), iter([1]), {1, 2}])
def test_what_cannot_be_looked_into_is_never_known_again(hidden):
    held = scaled(hidden)
    assert digest_of(held) != digest_of(held)


def test_what_holds_itself_ends():
    loop = Holds(None)
    loop.value = loop
    assert digest_of(loop) == digest_of(loop)
