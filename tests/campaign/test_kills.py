"""Killed before any call that writes, files whole or cut: the next call ends with the same bytes."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from helpers.campaign import dying, some, tell
from helpers.interrupted import PROCESSES
from helpers.planted_world import (
    contents,
    files_of,
    leftovers,
    model_arguments,
    quick_arguments,
    whyclass,
)
from whyclass.planted import world

TRIED = 8
"""Kills of each command and kind in every run of the tests."""


def died(out: Path, point: int, torn: bool, arguments: list[str]) -> int | None:
    process = PROCESSES.Process(target=dying, args=(out, point, torn, arguments))
    process.start()
    process.join(120)
    assert not process.is_alive()
    return process.exitcode


@pytest.fixture(scope="module")
def commands(tmp_path_factory) -> dict[str, list[str]]:
    place = tmp_path_factory.mktemp("world")
    pool = world.write_pool(place / "pool", 2)
    model = model_arguments(place / "model")
    several = [*model]
    several[several.index("--layer")] = "--layers"
    shared = ["--images", str(pool), "--json", "--quiet", *quick_arguments()]
    audit = ["audit", *several, "--classes", "hawk,owl,", "--tests", "prediction,shift", "--workers", "1"]
    return {"explain": ["explain", *model, "--class", "hawk", *shared], "audit": [*audit, *shared]}


def results(store: Path, command: str) -> dict[str, bytes]:
    if command == "audit":
        return contents(store)
    return files_of(store, "explanations/*.whyclass") | files_of(store, "pages/*.html")


@pytest.mark.parametrize("torn", [False, True], ids=["whole", "torn"])
@pytest.mark.parametrize("command", ["explain", "audit"])
def test_killed_before_any_call_that_writes_it_goes_on(commands, tmp_path, command, torn):
    given = commands[command]
    assert died(tmp_path / "first.txt", 0, False, [*given, "--store", str(tmp_path / "first")]) == 0
    undisturbed = results(tmp_path / "first", command)
    calls = int((tmp_path / "first.calls").read_text())
    points = some(f"kills {command} {torn}", range(1, calls + 1), TRIED)
    held = 0
    for point in points:
        store = tmp_path / str(point)
        code = died(tmp_path / f"{point}.txt", point, torn, [*given, "--store", str(store)])
        assert code == -signal.SIGKILL, point
        again = whyclass(*given, "--store", store)
        assert again.code == 0, (point, again)
        assert results(store, command) == undisturbed, point
        assert leftovers(store) == [], point
        held += 1
    tell(
        f"`{command}` killed before a call that writes, files {'cut in two' if torn else 'whole'}",
        len(points),
        held,
    )
