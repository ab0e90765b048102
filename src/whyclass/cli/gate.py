"""``--fail-on``: an exit code for machines that go on only where a verdict is good enough."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from whyclass.cli.consoles import err
from whyclass.errors import SettingsError
from whyclass.setting_checks import told

if TYPE_CHECKING:
    from whyclass.records import ClassResult

ORDER = ("distrust", "careful", "trust")
"""Levels of a verdict, from the worst."""

FELL_SHORT = 3
"""Exit code of an answer that falls short of what was asked for."""

FailOn = Annotated[
    str | None,
    typer.Option(
        "--fail-on",
        help="careful or distrust: exit code 3 where a verdict is that or worse; for a gate in CI",
    ),
]


def check(fail_on: str | None) -> None:
    """Refuse what is no level that can fail, before anything is computed."""
    if fail_on not in (None, *ORDER[:-1]):
        raise SettingsError(f"--fail-on is {told(fail_on)}; choose careful or distrust")


def close(fail_on: str | None, levels: Iterable[str]) -> None:
    """End with exit code 3 where a level is the one given, or worse; told last, after the answer."""
    if fail_on is None:
        return
    found = list(levels)
    low = [level for level in found if ORDER.index(level) <= ORDER.index(fail_on)]
    if low:
        of = f"{len(low)} of {len(found)} verdicts" if len(found) > 1 else f"the verdict ({low[0]})"
        err.print(f"[yellow]fail-on {fail_on}:[/] {of} fell short", highlight=False)
        raise typer.Exit(FELL_SHORT)


def level_of(found: ClassResult) -> str:
    """How an audited class stands, as its page says; ``distrust`` where it could not be explained."""
    from whyclass.report.standings import standing

    level = standing(found)
    return "distrust" if level == "unexplained" else level
