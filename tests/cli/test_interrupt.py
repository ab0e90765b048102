"""Ctrl-C and a killed process at any moment: nothing half-written, and the next call goes on from there."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from helpers.interrupted import SLOW, started
from helpers.planted_world import files_of, leftovers, model_arguments, nth, quick_arguments, whyclass
from whyclass import rows
from whyclass import store as stores
from whyclass.attribution import smoothgrad as attribution
from whyclass.checks import stitching
from whyclass.concepts import nmf as concepts
from whyclass.models import split
from whyclass.planted import world
from whyclass.pool import images as data
from whyclass.pool import indexing_pass as index
from whyclass.pool import nearest_crops as crops
from whyclass.pool import reading
from whyclass.records import codec
from whyclass.report import verdict
from whyclass.study import context

STOPPED = "stopped; what was finished is kept: run the same command again to go on"


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> list[str]:
    """Everything but the store: the model, a pool of three blocks, and quick settings."""
    place = tmp_path_factory.mktemp("world")
    pool = world.write_pool(place / "pool", 8)
    asked = ["--images", str(pool), "--class", "hawk", "--json", "--quiet"]
    return ["explain", *model_arguments(place / "model", SLOW), *asked, *quick_arguments()]


@pytest.fixture(scope="module")
def undisturbed(given, tmp_path_factory) -> dict[str, bytes]:
    """The record and the page of a run that nobody interrupted."""
    store = tmp_path_factory.mktemp("store")
    assert whyclass(*given, "--store", store).code == 0
    return results(store)


@pytest.fixture(autouse=True)
def ctrl_c_raises():
    """As in a terminal, also where the tests run in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def results(store: Path) -> dict[str, bytes]:
    return files_of(store, "explanations/*.whyclass") | files_of(store, "pages/*.html")


def press() -> None:
    """Ctrl-C, and the moment that a signal takes to arrive."""
    signal.raise_signal(signal.SIGINT)


POINTS = {
    "while the model loads": (context, "fingerprint", 1),
    "while the files are hashed": (reading, "file_digest", 50),
    "while the layer is looked for": (split, "survey", 1),
    "while the store is claimed": (os, "replace", 1),
    "before the first block": (index, "_compute", 1),
    "in the second block": (index, "_compute", 2),
    "while an image is decoded": (data, "sample_of", 40),
    "between two files of rows": (rows.Rows, "append", 4),
    "between rows and their note": (stores.Pass, "keep", 2),
    "while the note is written": (os, "replace", 3),
    "before the index is finished": (stores, "finish", 1),
    "while the images are read": (data, "sample_of", 74),
    "during attribution": (attribution, "score_cells", 4),
    "during the factorisation": (concepts, "_nmf", 1),
    "while crops are searched": (crops, "_merged", 1),
    "during the prediction test": (stitching, "stitch", 3),
    "while the evidence is written": (os, "replace", 6),
    "while the concepts are written": (os, "replace", 7),
    "while the record is encoded": (codec, "encode", 3),
    "while the record is written": (os, "replace", 8),
    "while the page is made": (verdict, "verdict", 1),
    "while the page is written": (os, "replace", 9),
}
"""Where Ctrl-C comes: at the beginning of which call of which function."""


@pytest.mark.parametrize("point", POINTS)
def test_after_ctrl_c_the_next_call_ends_with_the_bytes_of_an_undisturbed_run(
    given, undisturbed, tmp_path, monkeypatch, point
):
    place, name, number = POINTS[point]
    with monkeypatch.context() as patched:
        patched.setattr(place, name, nth(number, press, getattr(place, name)))
        ran = whyclass(*given, "--store", tmp_path)
    assert (ran.code, ran.out) == (130, "")
    assert ran.message == STOPPED
    assert leftovers(tmp_path) == []
    assert results(tmp_path).items() <= undisturbed.items()
    again = whyclass(*given, "--store", tmp_path)
    assert (again.code, again.err) == (0, "")
    assert results(tmp_path) == undisturbed
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("point", "computed"),
    [("before the first block", 3), ("in the second block", 2), ("before the index is finished", 0)],
)
def test_blocks_that_were_finished_are_not_computed_again(given, tmp_path, monkeypatch, point, computed):
    place, name, number = POINTS[point]
    with monkeypatch.context() as patched:
        patched.setattr(place, name, nth(number, press, getattr(place, name)))
        assert whyclass(*given, "--store", tmp_path).code == 130
    blocks = []
    real = index._compute
    monkeypatch.setattr(index, "_compute", lambda *asked: blocks.append(asked) or real(*asked))
    assert whyclass(*given, "--store", tmp_path).code == 0
    assert len(blocks) == computed


def test_ctrl_c_in_the_demo_exits_the_same_way(tmp_path, monkeypatch):
    monkeypatch.setattr(world, "planted_picture", nth(20, press, world.planted_picture))
    ran = whyclass("demo", "--store", tmp_path)
    assert (ran.code, ran.out, ran.message) == (130, "", STOPPED)


# ---------------------------------------------------------------- processes, stopped from outside


def wait_for(there: Callable[[], object], process: BaseProcess) -> None:
    until = time.monotonic() + 60
    while not there():
        assert process.is_alive(), process.exitcode
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)],
    ids=["SIGINT", "SIGTERM", "SIGKILL"],
)
def test_a_process_stopped_during_its_pass_over_the_pool_is_continued(
    given, undisturbed, tmp_path, number, code
):
    store = tmp_path / "store"
    with started(store, given, pause=0.25) as process:
        wait_for(lambda: list(store.glob("index/*.partial/progress.json")), process)
        os.kill(process.pid, number)
    assert process.exitcode == code
    assert list(store.glob("index/*.partial/progress.json"))
    assert results(store) == {}
    ran = whyclass(*given, "--store", store)
    assert (ran.code, ran.err) == (0, "")
    assert results(store) == undisturbed
    assert not list(store.glob("index/*.partial"))


@pytest.mark.parametrize(
    ("kill_at", "kept"),
    [(3, 0), (7, 0), (8, 0), (9, 0), (10, 1)],
    ids=["note", "evidence", "concepts", "record", "page"],
)
def test_a_process_killed_while_it_writes_leaves_no_half_result(given, undisturbed, tmp_path, kill_at, kept):
    store = tmp_path / "store"
    with started(store, given, kill_at=kill_at) as process:
        pass
    assert process.exitcode == -signal.SIGKILL
    assert len(results(store)) == kept
    assert results(store).items() <= undisturbed.items()
    assert whyclass(*given, "--store", store).code == 0
    assert results(store) == undisturbed


def test_two_processes_at_once_share_one_pass_and_give_the_same_bytes(given, undisturbed, tmp_path):
    store = tmp_path / "store"
    with started(store, given) as one, started(store, given) as other:
        pass
    assert (one.exitcode, other.exitcode) == (0, 0)
    assert results(store) == undisturbed
    found = [json.loads(out.read_text())["seconds"] for out in tmp_path.glob("*.txt")]
    assert sorted("index" in seconds for seconds in found) == [False, True]
    assert len(list(store.glob("index/*/meta.json"))) == 1
    assert leftovers(store) == []
