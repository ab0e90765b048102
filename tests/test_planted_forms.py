"""The planted world in other forms of network: what is planted is found, and in an untrained one it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from planted_nets import FORMS, judged
from whyclass import Settings, demo, world

N = 16
CLASSES = ("hawk", "snail", "comet")
"""The class with the shortcut, and two that share no part with it or each other."""

SETTINGS = Settings(images=N, copies=4, starts=4, examples=12, controls=0, precision="float32")

Found = dict[str, tuple[demo.Finding, ...]]


@pytest.fixture(scope="module")
def pool(tmp_path_factory) -> Path:
    return world.write_pool(tmp_path_factory.mktemp("world") / "pool", N)


@pytest.fixture(scope="module", params=FORMS)
def pair(request, pool) -> tuple[Found, Found]:
    """Findings with the trained net, and with an untrained one."""
    form = FORMS[request.param]
    return judged(form, pool, CLASSES, SETTINGS), judged(form, pool, CLASSES, SETTINGS, trained=False)


def parts(findings: Found, *, planted: bool) -> list[str]:
    """Parts that are found, of those planted or of those that are not."""
    return [f.part for found in findings.values() for f in found if f.found and f.planted == planted]
