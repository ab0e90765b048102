"""Workers and drivers of a cluster killed at random moments: the end is the bytes of an undisturbed run."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from helpers.campaign import LENGTH, SEED, tell
from helpers.interrupted import SLOW, started
from helpers.planted_world import contents, leftovers, model_arguments, quick_arguments, whyclass
from helpers.ray_cluster import workers
from whyclass.planted import world

KILLS = 2 * LENGTH
WORKERS = (1, 2, 4)

pytestmark = pytest.mark.skipif(LENGTH == 1, reason="minutes of starting clusters; make campaign does it")


QUESTIONS = {
    "audit": (["audit"], ["--layers", world.LAYER, "--tests", "prediction,shift"]),
    "compare": (["compare", "--class", "hawk", "--class", "owl"], ["--layer", world.LAYER]),
    "pairs": (["pairs", "--class", "hawk", "--class", "owl", "--class", "bee"], ["--layer", world.LAYER]),
    "layers": (["layers", "--choose", "--classes", "hawk,owl"], ["--layers", f"{world.LAYER},stage4"]),
}
"""Of each command what comes before the options of a model, and in the layer's place."""


@pytest.fixture(scope="module", params=QUESTIONS)
def given(request, tmp_path_factory) -> list[str]:
    """A command, but for its store, on a model that takes its time; an audit is of all classes."""
    pytest.importorskip("ray", reason="the extra ray is not installed")
    place = tmp_path_factory.mktemp("world")
    pool = world.write_pool(place / "pool", 3)
    model = model_arguments(place / "model", SLOW)
    at = model.index("--layer")
    first, layer = QUESTIONS[request.param]
    model[at : at + 2] = layer
    return [*first, *model, "--images", str(pool), "--json", "--quiet", *quick_arguments()]


@pytest.fixture(scope="module")
def undisturbed(given, tmp_path_factory) -> dict[str, bytes]:
    store = tmp_path_factory.mktemp("undisturbed") / "store"
    assert whyclass(*given, "--workers", "1", "--store", store).code == 0
    return contents(store)


@pytest.mark.parametrize("count", WORKERS)
def test_any_number_of_workers_leaves_the_same_bytes(given, undisturbed, tmp_path, count):
    several = [*given, "--engine", "ray", "--workers", str(count)]
    with started(tmp_path / "store", several) as process:
        process.join(400)
        assert process.exitcode == 0
    assert contents(tmp_path / "store") == undisturbed


def test_killed_at_random_moments_it_ends_with_the_bytes_of_an_undisturbed_run(given, undisturbed, tmp_path):
    """SIGKILL of a worker that computes, or of the driver, after random times of work."""
    chance = random.Random(f"ray {SEED}")
    killed = {"worker": 0, "driver": 0}
    finished, store = 0, tmp_path / "store0"
    several = [*given, "--engine", "ray", "--workers", "2"]
    while sum(killed.values()) < KILLS or not finished:
        with started(store, several, pause=0.05) as process:
            while process.is_alive():
                process.join(chance.uniform(0.2, 3))
                found = workers(process.pid)
                if sum(killed.values()) >= KILLS or not found or not process.is_alive():
                    continue
                kind = chance.choice(["worker", "worker", "driver"])
                os.kill(process.pid if kind == "driver" else chance.choice(found), signal.SIGKILL)
                killed[kind] += 1
                time.sleep(0.1)
        if process.exitcode == 0:
            assert contents(store) == undisturbed
            assert leftovers(store) == []
            finished += 1
            store = tmp_path / f"store{finished}"
        else:
            assert process.exitcode == -signal.SIGKILL
    for kind, count in killed.items():
        tell(f"`{given[0]} --engine ray`, {kind} killed at a random moment", count, count)
