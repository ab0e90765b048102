"""Ctrl-C and a killed process at any moment: nothing half-written, and the next call goes on from there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from planted import files_of, leftovers, model_arguments, nth, quick_arguments, whyclass
from whyclass import attribution, checks, codec, concepts, crops, data, index, models, split, world
from whyclass import store as stores
from whyclass.report import text

STOPPED = "stopped; what was finished is kept: run the same command again to go on"

SLOW = """
import os
import time

from whyclass.world import PlantedNet

class Net(PlantedNet):
    def forward(self, images):
        if images.shape[0] < 0:  # a branch on the input, so that no copy without the pause can be made
            return images
        time.sleep(float(os.environ.get("PAUSE", "0")))
        return super().forward(images)

def net():
    return Net()
"""
"""A factory whose model takes its time where the environment says so."""


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> list[str]:
    """Everything but the store: the model, a pool of four blocks, and quick settings."""
    place = tmp_path_factory.mktemp("world")
    pool = world.write_pool(place / "pool", 12)
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
    "while the model loads": (models, "fingerprint", 1),
    "while the files are hashed": (data, "_file_digest", 50),
    "while the layer is looked for": (split, "survey", 1),
    "while the store is claimed": (os, "replace", 1),
    "before the first block": (index, "_compute", 1),
    "in the third block": (index, "_compute", 3),
    "while an image is decoded": (data, "_sample", 70),
    "between cells and logits": (stores.Rows, "append", 6),
    "between rows and their note": (stores.Pass, "keep", 3),
    "while the note is written": (os, "replace", 3),
    "before the index is finished": (stores, "finish", 1),
    "while the images are read": (data, "_sample", 110),
    "during attribution": (attribution, "score_cells", 4),
    "during the factorisation": (concepts, "_nmf", 1),
    "while crops are searched": (crops, "_merged", 1),
    "during the prediction test": (checks, "stitch", 3),
    "while the record is encoded": (codec, "encode", 1),
    "while the record is written": (os, "replace", 7),
    "while the page is made": (text, "verdict", 1),
    "while the page is written": (os, "replace", 8),
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
    [("before the first block", 4), ("in the third block", 2), ("before the index is finished", 0)],
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
    monkeypatch.setattr(world, "scene", nth(20, press, world.scene))
    ran = whyclass("demo", "--store", tmp_path)
    assert (ran.code, ran.out, ran.message) == (130, "", STOPPED)


# ---------------------------------------------------------------- a process, stopped from outside

CHILD = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, sys.argv.pop(1))
at = int(sys.argv.pop(1))
from planted import nth
from whyclass.cli import main
os.replace = nth(at, lambda: os.kill(os.getpid(), signal.SIGKILL), os.replace)
main()
"""
"""The command, which kills itself when a file is to be put in its place for the given time; 0 for never."""


def start(*arguments: str | Path, at: int = 0, pause: float = 0.0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, str(Path(__file__).parent), str(at), *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PAUSE": str(pause)}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, **streams)


def wait_for(there: Callable[[], object], child: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 60
    while not there():
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_process_stopped_during_its_pass_over_the_pool_is_continued(given, undisturbed, tmp_path, number):
    with start(*given, "--store", tmp_path, pause=0.25) as child:
        wait_for(lambda: list(tmp_path.glob("index/*.partial/progress.json")), child)
        child.send_signal(number)
        out, err = child.communicate(timeout=60)
    assert child.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL)
    assert (out, " ".join(err.split())) == ("", STOPPED if number == signal.SIGINT else "")
    assert list(tmp_path.glob("index/*.partial/progress.json"))
    assert results(tmp_path) == {}
    again = whyclass(*given, "--store", tmp_path)
    assert (again.code, again.err) == (0, "")
    assert results(tmp_path) == undisturbed
    assert not list(tmp_path.glob("index/*.partial"))


def test_a_process_killed_while_it_writes_its_record_leaves_no_half_record(given, undisturbed, tmp_path):
    with start(*given, "--store", tmp_path, at=7) as child:
        out, err = child.communicate(timeout=120)
    assert (child.returncode, out, err) == (-signal.SIGKILL, "", "")
    assert results(tmp_path) == {}
    ran = whyclass(*given, "--store", tmp_path)
    assert (ran.code, ran.err) == (0, "")
    assert "index" not in ran.json["seconds"]
    assert results(tmp_path) == undisturbed


def test_two_processes_at_once_share_one_pass_and_give_the_same_bytes(given, undisturbed, tmp_path):
    with start(*given, "--store", tmp_path) as one, start(*given, "--store", tmp_path) as other:
        ended = [child.communicate(timeout=120) for child in (one, other)]
    assert (one.returncode, other.returncode) == (0, 0), ended
    assert results(tmp_path) == undisturbed
    assert len(list(tmp_path.glob("index/*/meta.json"))) == 1
    assert leftovers(tmp_path) == []
