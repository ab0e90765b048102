"""Progress as a person sees it: when there is a bar, what it says, and that scripts see nothing."""

from __future__ import annotations

import doctest
import io
import sys
import time
import types
from contextlib import suppress

import pytest
from rich.console import Console

from helpers.planted_world import quick
from whyclass import Progress, Study, choose_layer, progress_bars
from whyclass.errors import LayerError
from whyclass.planted import demo, world
from whyclass.progress import Logged
from whyclass.progress_bars import Shown, shown


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    perf_counter = monotonic


@pytest.fixture
def terminal(monkeypatch) -> io.StringIO:
    """What a terminal is sent, which stands for standard error."""
    console = Console(file=io.StringIO(), force_terminal=True, width=120, _environ={})
    monkeypatch.setattr(progress_bars, "_standard_error", lambda: console)
    return console.file


@pytest.fixture
def pipe(monkeypatch) -> io.StringIO:
    """The same, where it is no terminal."""
    console = Console(file=io.StringIO(), force_terminal=False, width=120)
    monkeypatch.setattr(progress_bars, "_standard_error", lambda: console)
    return console.file


@pytest.fixture
def at_once(monkeypatch) -> None:
    """Two seconds are over at once."""
    monkeypatch.setattr(progress_bars, "LONG", 0.0)


def work(progress: Progress) -> None:
    with progress.step("crops", 8) as advance:
        advance(3)
        time.sleep(0.15)


# ---------------------------------------------------------------- calls from Python


@pytest.mark.usefixtures("at_once")
def test_a_long_call_has_a_bar_in_a_terminal(terminal, capfd):
    work(shown(None))
    told = terminal.getvalue()
    assert "crops" in told
    assert "3/8 images" in told
    assert "\x1b[2K" in told.rpartition("images")[2]  # and the bar is gone in the end
    assert capfd.readouterr() == ("", "")


def test_a_short_call_has_none(terminal):
    work(shown(None))
    assert terminal.getvalue() == ""


def test_a_long_step_that_tells_nothing_has_one(terminal, monkeypatch):
    monkeypatch.setattr(progress_bars, "LONG", 0.05)
    with shown(None).step("factorising"):
        until = time.monotonic() + 20
        while "factorising" not in terminal.getvalue() and time.monotonic() < until:
            time.sleep(0.01)
    assert "factorising" in terminal.getvalue()


def test_short_steps_of_a_long_call_add_up(terminal, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress_bars, "time", clock)
    progress = shown(None)
    with progress.step("first"):
        clock.now += 3
    assert terminal.getvalue() == ""
    with progress.step("second"):
        pass
    assert "second" in terminal.getvalue()
    clock.now += 10  # the next call is another one
    with progress.step("third"):
        pass
    assert "third" not in terminal.getvalue()


@pytest.mark.usefixtures("at_once")
def test_elsewhere_it_is_silent_but_for_notes(pipe, capfd):
    progress = shown(None)
    work(progress)
    with progress.whole("audit", 4) as report:
        report(2, "crops")
        work(progress)
    assert pipe.getvalue() == ""
    progress.note("made [anew]")
    assert pipe.getvalue() == "note: made [anew]\n"
    assert capfd.readouterr() == ("", "")


def test_notes_of_scripts_go_to_standard_error(capsys):
    shown(None).note("made anew")
    assert capsys.readouterr() == ("", "note: made anew\n")


@pytest.mark.usefixtures("at_once")
def test_false_is_silent(terminal):
    progress = shown(False)
    work(progress)
    progress.note("made anew")
    assert terminal.getvalue() == ""
    assert progress.seconds["crops"] > 0.1


def test_ones_own_is_taken_as_it_is():
    own = Progress()
    assert shown(own) is own


@pytest.mark.usefixtures("at_once")
def test_a_study_shows_itself_unless_it_is_told_not_to(terminal, tmp_path):
    pool = world.write_pool(tmp_path / "pool", 1)
    for progress, told in ((False, False), (None, True)):
        study = Study(demo.loaded(), world.LAYER, pool, tmp_path / "s", quick(images=1), progress=progress)
        study.explain("hawk")
        assert ("load" in terminal.getvalue()) is told


@pytest.mark.usefixtures("at_once")
def test_the_choice_of_a_layer_shows_itself_unless_it_is_told_not_to(terminal, tmp_path):
    pool = world.write_pool(tmp_path / "pool", 1)
    for progress, told in ((False, False), (None, True)):
        with pytest.raises(LayerError):
            choose_layer(demo.loaded(), pool, tmp_path / "s", layers=["nowhere"], progress=progress)
        assert ("load" in terminal.getvalue()) is told


# ---------------------------------------------------------------- what a bar says


def test_a_run_has_a_bar_above_its_steps(terminal):
    progress = Shown()
    with progress.whole("audit", 4) as report:
        report(1, "[attribution]")
        work(Logged(progress, lambda line: None))
    told = terminal.getvalue()
    assert "audit: [attribution]" in told
    assert "25%" in told
    assert told.index("audit") < told.index("  crops")


def test_where_there_is_no_terminal_the_command_has_lines(pipe, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress_bars, "time", clock)
    progress = Shown()
    with progress.whole("audit", 4) as report:
        report(1, "too early to tell")
        clock.now += 60
        report(1, "crops")
        with progress.step("short", 2):
            pass
        with progress.step("crops", 8) as advance:
            advance(8)
            clock.now += 4
        with suppress(KeyError), progress.step("broken"):
            clock.now += 4
            raise KeyError
    assert pipe.getvalue().splitlines() == [
        "audit: crops, 50%, 1 min left",
        "crops: 4.0 s, 2.0 images/s",
    ]


def test_a_dumb_terminal_has_lines(monkeypatch):
    out = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"})
    clock = Clock()
    monkeypatch.setattr(progress_bars, "time", clock)
    with Shown(out).step("crops"):
        clock.now += 4
    assert out.file.getvalue() == "crops: 4.0 s\n"


# ---------------------------------------------------------------- notebooks


class Place:
    def __init__(self, shows: list[str]) -> None:
        self.shows = shows

    def update(self, shown: str) -> None:
        self.shows.append(shown)


@pytest.fixture
def notebook(monkeypatch) -> types.SimpleNamespace:
    """A kernel without ipywidgets: its cell's number, and what each place shows, one after the other."""
    kernel = types.SimpleNamespace(execution_count=1, places=[])

    def display(shown: str, display_id: bool) -> Place:
        kernel.places.append([shown])
        return Place(kernel.places[-1])

    modules = {
        "IPython": {},
        "IPython.core": {},
        "IPython.core.getipython": {"get_ipython": lambda: kernel},
        "IPython.display": {"HTML": str, "display": display},
    }
    for name, contents in modules.items():
        module = types.ModuleType(name)
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, name, module)
    console = Console(file=io.StringIO(), force_jupyter=True)
    monkeypatch.setattr(progress_bars, "_standard_error", lambda: console)
    monkeypatch.setattr(progress_bars._InNotebook, "places", {})
    return kernel


@pytest.mark.usefixtures("at_once")
def test_a_notebook_has_a_bar_of_its_own_in_one_place_of_each_cell(notebook):
    progress = shown(None)
    with progress.step("<crops>", 8) as advance:
        time.sleep(0.15)
        advance(2)
    with progress.step("factorising"):
        pass
    notebook.execution_count = 2
    work(progress)
    first, second = notebook.places
    bars = [html for html in first if html]
    assert bars[0] == '&lt;crops&gt; <progress value="0.0000"></progress> 0/8 images'
    assert bars[1].startswith('&lt;crops&gt; <progress value="0.2500"></progress> 2/8 images')
    assert bars[2] == "factorising <progress ></progress> "
    assert first[-1] == second[-1] == ""


def test_a_short_call_shows_nothing_in_a_notebook(notebook):
    work(shown(None))
    assert notebook.places == []


# ---------------------------------------------------------------- a progress of one's own


def test_the_example_of_the_base_class_works():
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner()
    for example in finder.find(Progress, "Progress"):
        assert runner.run(example).failed == 0
    assert runner.tries > 3


def test_one_protocol_of_three_methods():
    public = {name for name in vars(Progress) if not name.startswith("_")}
    assert public == {"step", "whole", "note"}
