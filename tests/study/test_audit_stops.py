"""An audit killed at any moment, or out of space: nothing half-written is used, and the end is the same."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.interrupted import SLOW, started
from helpers.planted_world import contents, leftovers, model_arguments, nth, quick_arguments, whyclass
from whyclass import rows
from whyclass.attribution import smoothgrad as attribution
from whyclass.checks import interventions as checks
from whyclass.checks import stitching
from whyclass.concepts import nmf as concepts
from whyclass.planted import world
from whyclass.pool import nearest_crops as crops
from whyclass.pool import pixel_cache as frames

KILLS = 20


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> list[str]:
    """An audit of all classes with shifting, but for its store."""
    place = tmp_path_factory.mktemp("world")
    pool = world.write_pool(place / "pool", 3)
    model = model_arguments(place / "model", SLOW)
    at = model.index("--layer")
    model[at] = "--layers"
    asked = ["--images", str(pool), "--tests", "prediction,shift", "--workers", "1", "--json", "--quiet"]
    return ["audit", *model, *asked, *quick_arguments()]


@pytest.fixture(scope="module")
def undisturbed(given, tmp_path_factory) -> dict[str, bytes]:
    """What a run leaves that nobody stopped."""
    store = tmp_path_factory.mktemp("undisturbed") / "store"
    assert whyclass(*given, "--store", store).code == 0
    return contents(store)


def test_killed_at_twenty_random_moments_it_ends_with_the_bytes_of_an_undisturbed_run(
    given, undisturbed, tmp_path
):
    """SIGKILL after random times; a run that ends in between is begun again in another store."""
    chance, kills, finished, store = random.Random(0), 0, 0, tmp_path / "store0"
    while kills < KILLS or not finished:
        with started(store, given, pause=0.01) as process:
            process.join(chance.uniform(0.2, 2.5) if kills < KILLS else 120)
            if process.is_alive():
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
                continue
        assert process.exitcode == 0
        assert contents(store) == undisturbed
        assert leftovers(store) == []
        finished += 1
        store = tmp_path / f"store{finished}"


@pytest.mark.parametrize("kill_at", [3, 9, 17, 23, 30])
def test_killed_while_it_puts_a_file_in_its_place(given, undisturbed, tmp_path, kill_at):
    store = tmp_path / "store"
    with started(store, given, kill_at=kill_at) as process:
        pass
    assert process.exitcode == -signal.SIGKILL
    assert leftovers(store)  # the file that it was about to put there
    assert whyclass(*given, "--store", store).code == 0
    assert contents(store) == undisturbed


def test_with_processes_of_its_own_it_leaves_none_behind_when_killed(given, undisturbed, tmp_path):
    store = tmp_path / "store"
    several = [*given[:-1], given[-1]]
    several[several.index("--workers") + 1] = "2"
    with started(store, several, pause=0.05) as process:
        until = time.monotonic() + 60
        while not list(store.glob("factors/*")):
            assert time.monotonic() < until
            assert process.is_alive()
            time.sleep(0.02)
        children = workers_of(process.pid)
        os.kill(process.pid, signal.SIGKILL)
    assert children
    until = time.monotonic() + 30
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert whyclass(*several, "--store", store).code == 0
    assert contents(store) == undisturbed


def workers_of(parent: int) -> list[int]:
    """Processes below a process."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True)
    children = [int(line) for line in listed.stdout.split()]
    return children + [below for child in children for below in workers_of(child)]


@pytest.mark.parametrize(
    ("place", "name", "number"),
    [
        (frames, "_pixels", 12),
        (rows.Rows, "append", 2),
        (attribution, "score_cells", 5),
        (concepts, "_nmf", 3),
        (crops, "_merged", 4),
        (stitching, "stitch", 6),
        (checks, "shift", 4),
    ],
    ids=["decode", "rows", "attribution", "factorisation", "crops", "prediction", "shifting"],
)
def test_after_ctrl_c_it_goes_on(given, undisturbed, tmp_path, monkeypatch, place, name, number):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patched:
            press = lambda: signal.raise_signal(signal.SIGINT)  # noqa: E731
            patched.setattr(place, name, nth(number, press, getattr(place, name)))
            ran = whyclass(*given, "--store", tmp_path / "store")
    finally:
        signal.signal(signal.SIGINT, before)
    assert ran.code == 130
    assert "stopped by KeyboardInterrupt" in (tmp_path / "store" / "log.txt").read_text()
    assert whyclass(*given, "--store", tmp_path / "store").code == 0
    assert contents(tmp_path / "store") == undisturbed


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of one mebibyte."""
    place = tmp_path / "disk"
    place.mkdir()
    if shutil.which("mount") is None or os.geteuid():
        pytest.skip("mounting a small file system needs root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("free", [0, 200, 480, 700])
def test_a_full_disk_stops_it_and_with_space_it_goes_on(given, undisturbed, small_disk, free):
    """So many KiB are free at first: it stops in one stage or another, and says what to do."""
    needed = sum(map(len, undisturbed.values()))
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes((1024 - free) * 1024 - 8192))
    store = small_disk / "store"
    ran = whyclass(*given, "--store", store)
    assert ran.code == 1, needed
    assert "No space left on device" in ran.message
    assert "space" in ran.message
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    again = whyclass(*given, "--store", store)
    assert (again.code, again.err) == (0, "")
    assert contents(store) == undisturbed
    assert leftovers(store) == []
