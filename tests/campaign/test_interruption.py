"""Ctrl-C and SIGTERM at any moment, once and twice, to a process and to all of its workers; and locks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers.campaign import LENGTH, chance, tell
from helpers.interrupted import SLOW
from helpers.planted_world import model_arguments, quick_arguments
from whyclass import files
from whyclass.planted import world

RUN = (
    "import signal; signal.signal(2, signal.default_int_handler); from whyclass.cli.main import main; main()"
)
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> list[str]:
    place = tmp_path_factory.mktemp("world")
    pool = world.write_pool(place / "pool", 2)
    model = model_arguments(place / "model", SLOW)
    model[model.index("--layer")] = "--layers"
    asked = ["--images", str(pool), "--workers", "2", "--json", "--quiet", "--classes", "hawk,owl,bee,"]
    return ["audit", *model, *asked, *quick_arguments(), "--set", "starts=30", "--set", "tolerance=0"]


def begun(given: list[str], store: Path) -> subprocess.Popen:
    """The command in a group of its own, as a terminal starts it."""
    environment = {**os.environ, "PAUSE": "0.02", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", RUN, *given, "--store", str(store)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )


def until(there, process: subprocess.Popen) -> None:
    end = time.monotonic() + 90
    while not there():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


def ended(process: subprocess.Popen) -> str:
    """What it said; it ends within a bounded time, and so do its workers."""
    try:
        _, said = process.communicate(timeout=40)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return said.decode()


def gone(group: int) -> bool:
    """Whether nobody of a group is left, soon."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda one: one.name)
def test_stopped_while_it_imports(given, tmp_path, number):
    draw, tried = chance(f"imports {number}"), 2 * LENGTH
    for turn in range(tried):
        process = begun(given, tmp_path / str(turn))
        maps = Path(f"/proc/{process.pid}/maps")
        until(lambda maps=maps: b"multiarray" in maps.read_bytes(), process)  # numpy; torch is next
        time.sleep(draw.uniform(0, 1))
        os.killpg(process.pid, number)
        said = ended(process)
        assert "Traceback" not in said, said
        assert process.returncode == CODES[number], said
    tell(f"{number.name} while it imports", tried, tried)


@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda one: one.name)
def test_stopped_with_its_workers(given, tmp_path, number, twice):
    """A terminal sends the signal to all of the group: workers that import, and workers that compute."""
    draw, tried = chance(f"workers {number} {twice}"), LENGTH
    for turn in range(tried):
        store = tmp_path / str(turn)
        process = begun(given, store)
        until(lambda store=store: list(store.glob("evidence/*.whyclass")), process)
        time.sleep(draw.uniform(0, 3))
        if process.poll() is None:
            os.killpg(process.pid, number)
        if twice and process.poll() is None:
            time.sleep(draw.uniform(0, 0.5))
            if process.poll() is None:
                os.killpg(process.pid, number)
        said = ended(process)
        assert "Traceback" not in said, said
        assert process.returncode in (CODES[number], -number, 0), said
        assert gone(process.pid)
    tell(f"{number.name} {'twice' if twice else 'once'} to a process and its workers", tried, tried)


def test_who_holds_a_lock_is_told(tmp_path, monkeypatch):
    """Also a process that was stopped, and would be waited for until somebody lets it go on."""
    if not Path("/proc/locks").exists():
        pytest.skip("this system does not tell who holds a lock")
    lock = tmp_path / "k.lock"
    code = "import fcntl, sys, time; f = open(sys.argv[1], 'a'); fcntl.flock(f, 2); print(1, flush=True); "
    code += "time.sleep(60)"
    other = subprocess.Popen([sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE)
    told: list[str] = []
    monkeypatch.setattr(files, "PATIENCE", 0.1)

    def tell_and_end(line: str) -> None:
        told.append(line)
        other.kill()

    try:
        assert other.stdout.readline() == b"1\n"
        other.send_signal(signal.SIGSTOP)
        end = time.monotonic() + 10
        while "stopped" not in files.holder(lock) and time.monotonic() < end:
            time.sleep(0.01)
        with files.locked(lock, tell_and_end):
            pass
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    (line,) = told
    assert (
        f"waiting for process {other.pid}, which is stopped (to let it go on: kill -CONT {other.pid}" in line
    )
    tell("a lock held by a stopped process", 1, 1)
