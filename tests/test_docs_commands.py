"""Every command of README and documents can be given: program, options, settings, targets, extras.

What is not executed by a test is named here with its reason; the rest is in ``test_docs_run.py`` and
``test_readme_run.py``.
"""

from __future__ import annotations

import re
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer

from helpers.commands import command_lines, inline_commands, words_of
from whyclass.cli import main, reading
from whyclass.cli.options import app
from whyclass.settings import PRESETS, preset

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*/*.md"))
)
NOT_EXECUTED = {
    "docs/architectures.md": "a benchmark: minutes to hours",
    "docs/benchmarks.md": "benchmarks: minutes to hours, and real weights",
    "docs/calibration.md": "a benchmark of hours",
    "docs/cluster.md": "other machines; what this one can is run by tests/study/test_ray_engine.py",
    "docs/comparison.md": "README's command of the same kind is executed",
    "docs/explorer.md": "run by tests/serve/test_explorer_document.py",
    "docs/models.md": "weights of a reader; its recipes are run by tests/models",
    "docs/paper.md": "50,000 images and real weights; README's audit is executed",
    "docs/reliability.md": "tests/campaign, longer",
    "docs/releasing.md": "releases",
    "docs/results.md": "real weights and photographs",
    "examples/tissue/README.md": "data of hospitals; tests/real runs its net",
    "CONTRIBUTING.md": "installs a second environment",
}
"""Documents whose commands are read only, and why."""

OTHERS = {
    "cd": "the shell's",
    ".": "the shell's",
    "export": "the shell's",
    "sleep": "the shell's",
    "aws": "the object store's own",
    "ray": "Ray's own, and of its release",
    "kubectl": "of a cluster",
    "scripts/check_gpu.sh": "needs a card; tests/gpu looks at it",
}
"""Programs that are not ours, and why nothing but the name is looked at."""


@pytest.fixture(scope="module")
def commands() -> dict[str, Any]:
    for name in main.COMMANDS:
        import_module(f"whyclass.cli.{name}")
    group: Any = typer.main.get_command(app)
    return group.commands


def ours(words: list[str]) -> list[str] | None:
    """The words from our program's name on, also where another program is asked to start it."""
    place = next((number for number, word in enumerate(words) if word == "whyclass"), None)
    return None if place is None else words[place:]


def parse(words: list[str], commands: dict[str, Any]) -> None:
    """Parse a line of our program: its options are there, and their values of the right kind."""
    if len(words) == 1 or words[1].startswith("--"):
        assert set(words[1:]) <= {"--help", "--version", "--install-completion"}, words
        return
    name, *given = words[1:]
    assert name in commands, f"there is no command {name!r}"
    if given == ["--help"]:
        return
    context = commands[name].make_context(name, given)
    changed = reading.changes(context.params.get("change") or [])
    preset(context.params.get("variant") or "default", **changed)


def check_python(words: list[str]) -> None:
    """A script is there and has the options."""
    if words[1] == "-m":
        assert words[2] in ("pip", "venv", "pytest", "whyclass"), words
        return
    file = ROOT / words[1]
    assert file.is_file(), words[1]
    text = file.read_text()
    beside = [
        file.with_name(f"{name}.py") for name in re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE)
    ]
    text += "".join(one.read_text() for one in beside if one.is_file())
    for option in (word.partition("=")[0] for word in words[2:] if word.startswith("--")):
        assert f'"{option}"' in text, f"{words[1]} has no {option}"


def check_make(words: list[str]) -> None:
    """The targets and the variables are the Makefile's."""
    made = (ROOT / "Makefile").read_text()
    for word in words[1:]:
        name, value, _ = word.partition("=")
        assert re.search(
            rf"^{name} {'[?:]?=' if value else ''}" if value else rf"^{name}:", made, re.MULTILINE
        ), word


def check_pip(words: list[str]) -> None:
    """The extras are there."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for named in re.findall(r"\[([\w,]+)\]", " ".join(words)):
        assert set(named.split(",")) <= set(extras), named


CHECKS = {"python": check_python, "python3": check_python, "make": check_make, "pip": check_pip}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_can_be_given(document, commands):
    text = (ROOT / document).read_text(encoding="utf-8")
    for words in words_of(command_lines(text)):
        program = words[0].rpartition("bin/")[2]
        if (own := ours(words)) is not None:
            parse(own, commands)
        elif program in CHECKS:
            CHECKS[program](words)
        else:
            assert words[0] in OTHERS or words[0] in ("srun", "twine"), f"{document}: {' '.join(words)}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_within_prose_name_what_is_there(document, commands):
    text = (ROOT / document).read_text(encoding="utf-8")
    for span in inline_commands(text):
        name, *options = span.split()[1:]
        if name.startswith("--"):
            continue
        assert name in commands, span
        known = {option for one in commands[name].params for option in (*one.opts, *one.secondary_opts)}
        assert {word for word in options if word.startswith("--")} <= {*known, "--help"}, span


@pytest.mark.parametrize("document", DOCUMENTS)
def test_options_within_prose_are_there(document, commands):
    text = (ROOT / document).read_text(encoding="utf-8")
    known = {option for command in commands.values() for one in command.params for option in one.opts}
    known |= {"--help", "--version", "--install-completion"}
    others = "".join(
        path.read_text()
        for folder in ("benchmarks", "scripts", "examples")
        for path in (ROOT / folder).rglob("*.py")
    )
    for span in re.findall(r"`(--[a-z][^`]*)`", text):
        words = span.split()
        assert words[0] in known or f'"{words[0]}"' in others, f"{document}: {span}"
        for change in re.findall(r"--set (\w+)=([\w.,]+)", span):
            assert "NAME" in change or preset("default", **reading.changes(["=".join(change)]))
        for named in re.findall(r"--preset ([a-z]\w+)", span):
            assert named in PRESETS, span


@pytest.mark.parametrize("document", DOCUMENTS)
def test_no_command_leaves_something_out(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    lines = [*command_lines(text), *inline_commands(text)]
    left = [line for line in lines if "…" in line or "..." in line]
    assert not left


def test_what_is_not_executed_has_commands():
    for document in NOT_EXECUTED:
        assert command_lines((ROOT / document).read_text()) or document == "docs/releasing.md", document


@pytest.mark.parametrize(
    "line",
    [
        "whyclass explain --klass hawk",
        "whyclass explane --class hawk",
        "whyclass audit --set images=many --layers a",
    ],
)
def test_a_wrong_command_is_found(line, commands):
    (words,) = words_of([line])
    with pytest.raises(Exception):  # noqa: B017 - click's, ours or an assertion
        parse(words, commands)
    with pytest.raises(AssertionError):
        check_python(["python", "benchmarks/explain.py", "--no-such-option"])
