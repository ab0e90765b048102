"""What a call loads before it works: help nothing heavy; and a signal meanwhile ends it like any other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.planted_world import whyclass
from whyclass import __version__
from whyclass.cli.main import COMMANDS
from whyclass.cli.options import app

HEAVY = {"torch", "torchvision", "sklearn", "scipy", "numpy", "PIL", "safetensors", "jinja2"}

NAMES = (
    *("demo", "explain", "image", "spurious", "contrast", "insert", "compare", "pairs", "layers", "audit"),
    *("diff", "tables", "report", "merge", "serve", "settings", "init"),
)
"""Every command, in the order of the help."""

STOPPED = "stopped; what was finished is kept: run the same command again to go on\n"

LOADED = """
import atexit, sys
atexit.register(lambda: print("loaded:", *{name.partition(".")[0] for name in sys.modules}, file=sys.stderr))
"""


def python(code: str, *arguments: str | Path, path: str | Path = "") -> subprocess.CompletedProcess[str]:
    """Code in a process of its own, which is told where this package lies."""
    places = os.pathsep.join(map(str, filter(None, [path, *sys.path])))
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": places},
        timeout=120,
        check=False,
    )


COMMAND = "from whyclass.cli.main import main\nmain()"
HEARD = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
"""As in a terminal, also where the tests run in the background of a shell, which has SIGINT ignored."""


def heavy(ran: subprocess.CompletedProcess[str]) -> set[str]:
    said, _, loaded = ran.stderr.partition("loaded:")
    assert (ran.returncode, said) == (0, ""), ran.stderr
    assert "whyclass" in loaded.split()
    return HEAVY & set(loaded.split())


def test_importing_the_package_loads_nothing_heavy():
    assert heavy(python(f"{LOADED}\nimport whyclass\nwhyclass.Progress, whyclass.Settings")) == set()


@pytest.mark.parametrize("arguments", [(), *((name,) for name in NAMES)], ids=" ".join)
def test_help_loads_nothing_heavy(arguments):
    ran = python(LOADED + COMMAND, *arguments, "--help")
    assert heavy(ran) == set()
    assert ran.stdout.split()[:2] == ["Usage:", "whyclass"]
    assert " ".join(ran.stdout.split()).startswith(" ".join(["Usage: whyclass", *arguments, "[OPTIONS]"]))


def test_the_version_loads_nothing_heavy():
    ran = python(LOADED + COMMAND, "--version")
    assert heavy(ran) == set()
    assert ran.stdout == f"{__version__}\n"


def test_a_command_that_works_is_seen_to_load_what_is_heavy(tmp_path):
    ran = python(LOADED + COMMAND, "merge", tmp_path / "a", tmp_path / "b")
    assert ran.returncode == 1
    assert "error:" in ran.stderr
    assert "numpy" in ran.stderr.partition("loaded:")[2].split()


def test_help_names_every_command_in_order():
    told = whyclass("--help").out
    places = [told.index(f" {name} ") for name in NAMES]
    assert places == sorted(places)
    folder = Path(sys.modules[COMMAND.split()[1]].__file__).parent
    assert {path.stem for path in folder.glob("*.py")} == {
        "__init__",
        "engines",
        "consoles",
        "gate",
        "main",
        "options",
        "panels",
        "project",
        "reading",
        *COMMANDS,
    }
    named = [one.name or one.callback.__name__ for one in app.registered_commands]
    assert named == list(NAMES)


def test_the_package_can_be_run():
    ran = python("import runpy; runpy.run_module('whyclass', run_name='__main__')", "--version")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"{__version__}\n", "")


# ---------------------------------------------------------------- signals while it loads

KILLED = "import os, signal\nos.kill(os.getpid(), signal.{})\n"

HALF = """
import os, signal
try:
    os.kill(os.getpid(), signal.{})
except BaseException:
    raise ImportError
"""


@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
@pytest.mark.parametrize("module", [KILLED, HALF], ids=["plain", "as another error"])
@pytest.mark.parametrize("name", ["typer", "numpy", "torch"])
def test_a_signal_while_modules_load_ends_with_the_usual_line(tmp_path, name, module, number, code):
    (tmp_path / f"{name}.py").write_text(module.format(number))
    asked = {"model": "x", "layer": "y", "images": tmp_path, "store": tmp_path / "store", "class": "z"}
    arguments = [text for option in asked.items() for text in (f"--{option[0]}", option[1])]
    ran = python(HEARD + COMMAND, "explain", *arguments, path=tmp_path)
    assert (ran.returncode, ran.stdout, ran.stderr) == (code, "", STOPPED)


def test_whoever_heard_signals_before_hears_them_again():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert whyclass("--version").code == 0
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_signal_that_is_ignored_stays_so():
    ignored = "import os, signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    check = "import typer\nreal = typer.Exit\nclass Exit(real):\n    def __init__(self):\n"
    check += "        super().__init__()\n        os.kill(os.getpid(), signal.SIGINT)\ntyper.Exit = Exit\n"
    ran = python(ignored + check + COMMAND, "--version")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"{__version__}\n", "")
