"""The planted world in other forms of network: a trained one shows what is planted, an untrained one not."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.planted_nets import FORMS, judged
from whyclass import Settings
from whyclass.planted import judgement, world

N = 16
CLASSES = ("hawk", "snail", "comet")
"""The class with the shortcut, and two that share no part with it or each other."""

SETTINGS = Settings(images=N, copies=4, starts=4, examples=12, controls=0, precision="float32")

Found = dict[str, tuple[judgement.Finding, ...]]


@pytest.fixture(scope="module")
def pool(tmp_path_factory) -> Path:
    return world.write_pool(tmp_path_factory.mktemp("world") / "pool", N)


@pytest.fixture(scope="module", params=FORMS)
def form(request):
    return FORMS[request.param]


@pytest.fixture(scope="module")
def trained(form, pool) -> Found:
    return judged(form, pool, CLASSES, SETTINGS)


@pytest.fixture(scope="module")
def untrained(form, pool) -> Found:
    return judged(form, pool, CLASSES, SETTINGS, trained=False)


def found(findings: Found, *, planted: bool = True) -> int:
    """How many parts are found, of those planted or of those that are not."""
    return sum(f.found and f.planted == planted for judged in findings.values() for f in judged)


def test_what_was_planted_is_found(trained):
    """Most of the 7 parts, and hardly any that merely stray into the pictures."""
    assert found(trained) >= 6
    assert found(trained, planted=False) <= 2


def test_the_shortcut_shows_in_its_class(trained):
    sticker = next(finding for finding in trained["hawk"] if finding.part == world.SHORTCUT)
    assert sticker.found


def test_a_net_that_has_learnt_nothing_shows_little(trained, untrained):
    """Not nothing: parts are what is colourful, and random convolutions too tell colours apart."""
    assert found(untrained) <= found(trained) - 3
