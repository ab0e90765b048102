"""An audit on a cluster leaves the local run's bytes, whoever dies on the way."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from helpers.commands import command_lines
from helpers.interrupted import started
from helpers.planted_world import contents, leftovers, model_arguments, quick, quick_arguments, whyclass
from helpers.ray_cluster import below, title, workers
from whyclass import choose_layer
from whyclass.errors import DataError, SettingsError
from whyclass.planted import demo, world
from whyclass.planted.project import write_project
from whyclass.progress import Progress
from whyclass.records import codec
from whyclass.study import ray_tasks
from whyclass.study.study import Study

LAYERS = ("stage3", "stage4")
TESTS = ("prediction", "shift")
CLASSES = ("hawk", "owl", "bee")


@pytest.fixture(scope="module")
def ray():
    """A cluster of two workers on this machine, which calls nobody and shows no page."""
    found = pytest.importorskip("ray", reason="the extra ray is not installed")
    from whyclass.study.ray_cluster import QUIET, begin

    os.environ |= QUIET
    begin(found, "", 2)
    yield found
    found.shutdown()


@pytest.fixture(scope="module")
def pool(tmp_path_factory) -> Path:
    return world.write_pool(tmp_path_factory.mktemp("world") / "pool", 3)


def audited(pool, store, engine, progress=None) -> None:
    """Two layers, with tests of pairs."""
    studies = [Study(demo.loaded(), layer, pool, store, quick(), progress=progress) for layer in LAYERS]
    studies[0].beside = (studies[1],)
    for study in studies:
        study.audit(CLASSES, TESTS, workers=2, engine=engine)


@pytest.fixture(scope="module")
def local(pool, tmp_path_factory) -> dict[str, bytes]:
    store = tmp_path_factory.mktemp("local") / "store"
    studies = [Study(demo.loaded(), layer, pool, store, quick()) for layer in LAYERS]
    for study in studies:
        study.audit(CLASSES, TESTS)
    return contents(store)


@pytest.mark.usefixtures("ray")
def test_the_documents_first_command_audits(tmp_path, monkeypatch):
    lines = command_lines((Path(__file__).parents[2] / "docs" / "cluster.md").read_text(encoding="utf-8"))
    words = next(shlex.split(line, comments=True) for line in lines if line.startswith("whyclass audit"))
    assert words[-2:] == ["--engine", "ray"]
    monkeypatch.chdir(write_project(tmp_path / "planted", 3))
    assert whyclass("init", "--layer", "stage3").code == 0
    given = [{"layer4.2": "stage3"}.get(word, word) for word in words[1:]]
    ran = whyclass(*given, *quick_arguments(), "--classes", "hawk,owl", "--json", "--quiet")
    assert ran.code == 0, ran.err
    assert {one["target"]["name"] for one in ran.json["audits"][0]["classes"]} == {"hawk", "owl"}


class Reaper(Progress):
    """Kills all workers that compute, the first time that a step advances."""

    def __init__(self, at: str, store: Path) -> None:
        super().__init__()
        self.at, self.store, self.killed, self.there = at, store, 0, {}

    @contextmanager
    def step(self, name, total=None, unit="images"):
        def advance(done: int) -> None:
            if name == self.at and not self.killed:
                until = time.monotonic() + 20
                while not (found := workers(os.getpid())) and time.monotonic() < until:
                    time.sleep(0.005)
                self.there = {p: p.stat().st_mtime_ns for p in self.store.glob("*/*.whyclass")}
                for pid in found:
                    os.kill(pid, signal.SIGKILL)
                self.killed = len(found)

        with super().step(name, total, unit):
            yield advance


@pytest.mark.usefixtures("ray")
def test_the_bytes_are_the_local_runs(pool, local, tmp_path):
    audited(pool, tmp_path / "store", "ray")
    assert contents(tmp_path / "store") == local
    assert leftovers(tmp_path / "store") == []


@pytest.mark.usefixtures("ray")
def test_workers_that_are_killed_cost_their_shards_alone(pool, local, tmp_path):
    reaper = Reaper("attribution and concepts", tmp_path / "store")
    audited(pool, tmp_path / "store", "ray", reaper)
    assert reaper.killed
    assert contents(tmp_path / "store") == local
    assert {p: p.stat().st_mtime_ns for p in reaper.there} == reaper.there  # what was there is not made again


@pytest.mark.usefixtures("ray")
def test_nothing_is_left_to_the_driver(pool, tmp_path, monkeypatch):
    def refused(*_, **__):
        raise AssertionError("computed by the driver")

    studies = [Study(demo.loaded(), LAYERS[0], pool, tmp_path / "store", quick())]
    for name in (
        "whyclass.attribution.smoothgrad.at_layers",
        "whyclass.pool.indexing_pass._compute",
        "whyclass.pool.pixel_cache._pixels",
        "whyclass.concepts.nmf._nmf",
        "whyclass.checks.stitching.scores_of_images",
        "whyclass.pool.nearest_crops.best_of",
        "whyclass.checks.interventions.shift",
    ):
        monkeypatch.setattr(name, refused)
    found = studies[0].audit(CLASSES, TESTS, engine="ray")
    assert [one.problem for one in found.classes] == [""] * len(CLASSES)


@pytest.mark.usefixtures("ray")
def test_what_goes_wrong_in_a_worker_is_said_as_it_is_here(pool, tmp_path):
    study = Study(demo.loaded(), LAYERS[0], pool, tmp_path / "store", quick())
    gone = next(pool.rglob("*.png"))
    kept = gone.read_bytes()
    gone.write_bytes(kept[:-7])
    try:
        with pytest.raises(DataError, match=gone.name):
            study.audit(CLASSES, engine="ray")
    finally:
        gone.write_bytes(kept)


def test_a_driver_that_is_killed_goes_on_without_a_cluster_too(pool, tmp_path):
    """The command, with a model from a file that no worker can import."""
    pytest.importorskip("ray", reason="the extra ray is not installed")
    model = model_arguments(tmp_path / "model")
    model[model.index("--layer")] = "--layers"
    given = ["audit", *model, "--images", str(pool), "--classes", "hawk,owl", "--json", "--quiet"]
    given += [*quick_arguments(), "--workers", "1"]
    assert whyclass(*given, "--store", tmp_path / "local").code == 0
    with started(tmp_path / "store", [*given, "--engine", "ray"], kill_at=9) as process:
        begun: set[int] = set()
        while process.is_alive():
            begun |= {pid for pid in below(process.pid) if "raylet" in title(pid) or "ray::" in title(pid)}
            process.join(0.1)
        assert process.exitcode == -signal.SIGKILL
    assert len(begun) > 1
    assert list((tmp_path / "store").glob("*/*.whyclass"))
    assert contents(tmp_path / "store") != contents(tmp_path / "local")
    until = time.monotonic() + 30
    # one that nobody waited for has no title; Ray's two agents take a minute to notice
    while left := [text for pid in begun if (text := title(pid)) and not text.endswith("Agent")]:
        assert time.monotonic() < until, left
        time.sleep(0.1)
    assert whyclass(*given, "--store", tmp_path / "store").code == 0
    assert contents(tmp_path / "store") == contents(tmp_path / "local")
    assert leftovers(tmp_path / "store") == []


# ---------------------------------------------------------------- other questions than audits

METHODS = ("whyclass", "ice", "pca")


def compared(pool, store, progress=None, **who):
    study = Study(demo.loaded(), LAYERS[1], pool, store, CHECKED, progress=progress)
    return study.compare(CLASSES[:2], METHODS, **who)


def paired(pool, store, progress=None, **who):
    return Study(demo.loaded(), LAYERS[1], pool, store, CHECKED, progress=progress).pairs(CLASSES, **who)


def chosen(pool, store, progress=None, **who):
    asked = {"layers": LAYERS, "classes": CLASSES[:2], "concepts": (3, 6), "sample": 10}
    return choose_layer(demo.loaded(), pool, store, CHECKED, progress=progress, **asked, **who)


CHECKED = quick(null_cells=1, null_scores=1, fillings=1, refits=1)
QUESTIONS = {"methods": compared, "attribution": paired, "prediction tests": chosen}
"""By a step that each has, at whose first advance a driver is stopped."""

WRITTEN = {"attribution": "shifting"}
"""The last step of each that advances as something is written, where that is another one."""

LURKED = {"methods": "methods", "attribution": "attribution", "prediction tests": "attribution and concepts"}
"""The step from whose beginning on workers are killed."""


@pytest.fixture(scope="module")
def answers(pool, tmp_path_factory) -> dict[str, tuple[bytes, dict[str, bytes]]]:
    """Without a cluster: the record, and what the store holds then."""
    found = {}
    for step, question in QUESTIONS.items():
        store = tmp_path_factory.mktemp("answers") / "store"
        found[step] = codec.encode(question(pool, store)), contents(store)
    return found


class Lurker(Progress):
    """Kills the workers that compute as soon as there are any, from the beginning of a step on."""

    def __init__(self, at: str, store: Path) -> None:
        super().__init__()
        self.at, self.store, self.killed, self.there = at, store, 0, {}
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.lurk)

    def lurk(self) -> None:
        while not self.killed and not self.ended.is_set():
            found = workers(os.getpid())
            self.there = {p: p.stat().st_mtime_ns for p in self.store.glob("*/*.whyclass")} if found else {}
            for pid in found:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.killed += 1

    @contextmanager
    def step(self, name, total=None, unit="images"):
        if name == self.at and not self.thread.ident:
            self.thread.start()
        with super().step(name, total, unit) as advance:
            yield advance


@pytest.mark.usefixtures("ray")
@pytest.mark.parametrize("step", QUESTIONS)
def test_every_question_has_the_local_bytes_though_workers_are_killed(pool, answers, tmp_path, step):
    lurker = Lurker(LURKED[step], tmp_path / "store")
    try:
        found = QUESTIONS[step](pool, tmp_path / "store", lurker, engine="ray")
    finally:
        lurker.ended.set()
        lurker.thread.join()
    assert lurker.killed
    assert (codec.encode(found), contents(tmp_path / "store")) == answers[step]
    assert leftovers(tmp_path / "store") == []
    assert {p: p.stat().st_mtime_ns for p in lurker.there} == lurker.there  # what was there is not made again


class StoppedError(Exception):
    """A run ends at the first thing that is written."""


class Stopping(Progress):
    """Ends a run the first time that a step advances."""

    def __init__(self, at: str) -> None:
        super().__init__()
        self.at = at

    @contextmanager
    def step(self, name, total=None, unit="images"):
        def advance(done: int) -> None:
            if name == self.at:
                raise StoppedError

        with super().step(name, total, unit):
            yield advance


@pytest.mark.usefixtures("ray")
@pytest.mark.parametrize("step", QUESTIONS)
def test_every_question_goes_on_where_its_driver_stopped(pool, answers, tmp_path, step):
    store = tmp_path / "store"
    with pytest.raises(StoppedError):
        QUESTIONS[step](pool, store, Stopping(WRITTEN.get(step, step)), engine="ray")
    made = {p: p.stat().st_mtime_ns for p in store.rglob("*.whyclass")}
    assert made
    assert contents(store) != answers[step][1]
    assert step not in WRITTEN or list(store.glob("sources/*.whyclass"))
    assert codec.encode(QUESTIONS[step](pool, store)) == answers[step][0]
    assert contents(store) == answers[step][1]
    left = {p for p in made if p.parent.name != "sources"}  # which are gone once the answer is there
    assert {p: p.stat().st_mtime_ns for p in left} == {p: made[p] for p in left}


@pytest.mark.usefixtures("ray")
def test_no_question_leaves_the_costly_parts_to_the_driver(pool, answers, tmp_path, monkeypatch):
    def refused(*_, **__):
        raise AssertionError("computed by the driver")

    for name in (
        "whyclass.attribution.smoothgrad.at_layers",
        "whyclass.pool.indexing_pass._compute",
        "whyclass.concepts.nmf._nmf",
        "whyclass.checks.stitching.scores_of_images",
        "whyclass.pool.nearest_crops.best_of",
        "whyclass.checks.interventions.shift",
        "whyclass.checks.concept_fidelity.curves",
    ):
        monkeypatch.setattr(name, refused)
    for step, question in QUESTIONS.items():
        found = question(pool, tmp_path / step, engine="ray")
        assert codec.encode(found) == answers[step][0]


def test_a_finished_question_begins_no_cluster(pool, tmp_path, monkeypatch):
    found = pytest.importorskip("ray", reason="the extra ray is not installed")
    store = tmp_path / "store"
    local = codec.encode(compared(pool, store))

    def refused(*_, **__):
        raise AssertionError("begun")

    monkeypatch.setattr(found, "is_initialized", lambda: False)
    monkeypatch.setattr(found, "init", refused)
    assert codec.encode(compared(pool, store, engine="ray")) == local


# ---------------------------------------------------------------- without a cluster


@pytest.mark.parametrize("engine", ["spark", "", "Ray", "rays:1"])
def test_an_unknown_engine_is_refused(pool, tmp_path, engine):
    study = Study(demo.loaded(), LAYERS[0], pool, tmp_path / "store", quick())
    with pytest.raises(SettingsError, match="choose local, ray, or ray:ADDRESS"):
        study.audit(CLASSES, engine=engine)
    for question in QUESTIONS.values():
        with pytest.raises(SettingsError, match="choose local, ray, or ray:ADDRESS"):
            question(pool, tmp_path / "other", engine=engine)


@pytest.mark.parametrize("question", QUESTIONS.values())
def test_no_workers_are_refused(pool, tmp_path, question):
    with pytest.raises(SettingsError, match="workers is 0"):
        question(pool, tmp_path / "store", engine="ray", workers=0)


def test_a_missing_library_is_named(pool, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    study = Study(demo.loaded(), LAYERS[0], pool, tmp_path / "store", quick())
    with pytest.raises(SettingsError, match=r"whyclass\[ray\]"):
        study.audit(CLASSES, engine="ray")


class Echo:
    """Something that was sent."""

    def threads(self) -> int:
        return torch.get_num_threads()


def call(**changes) -> ray_tasks.Call:
    return replace(ray_tasks.Call("key", "threads", (), 1, ray_tasks.versions()), **changes)


@pytest.fixture
def _nothing_open(monkeypatch):
    monkeypatch.setattr(ray_tasks, "_open", type(ray_tasks._open)())
    yield
    torch.set_num_threads(1)


@pytest.mark.usefixtures("_nothing_open")
def test_a_worker_computes_on_the_drivers_number_of_threads():
    assert ray_tasks.answer(call(threads=2), Echo, lambda one: one) == 2


@pytest.mark.usefixtures("_nothing_open")
def test_a_worker_opens_what_it_was_sent_once_and_not_too_much():
    opened = []
    for key in ("a", "a", "b", "c", "d", "a", "e", "a", "b"):
        ray_tasks.answer(call(key=key), lambda key=key: (opened.append(key), Echo())[1], lambda one: one)
    assert opened == ["a", "b", "c", "d", "e", "b"]


@pytest.mark.usefixtures("_nothing_open")
def test_a_worker_with_other_libraries_is_refused():
    other = ray_tasks.versions() | {"torch": "1.0"}
    with pytest.raises(SettingsError, match=r"torch .*, not 1\.0.*install the same"):
        ray_tasks.answer(call(libraries=other), Echo, lambda one: one)


def test_a_worker_that_does_not_see_the_store_says_so(pool, tmp_path):
    from whyclass.study.ray_engine import _layer

    study = Study(demo.loaded(), LAYERS[0], pool, tmp_path / "store", quick())
    study.index()
    layer = replace(_layer(study, study.plan), store=tmp_path / "elsewhere")
    with pytest.raises(SettingsError, match=r"does not see the store .*elsewhere"):
        layer.index  # noqa: B018
