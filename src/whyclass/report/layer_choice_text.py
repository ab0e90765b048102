"""The choice of a layer in words, as a table, and as the numbers of its drawing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from whyclass.records import Average, Candidate, ChosenScore, LayerChoice, codec
from whyclass.report import curves, pool_text, words

HEADING = (
    "",
    "layer",
    "crop (px)",
    "concepts",
    "without own",
    "predicted",
    "random",
    "with own",
    "predicted",
    "random",
)
"""Columns of the table: mean scores without and with the class's own images, how many classes are
predicted, and what random crops score."""


@dataclass(frozen=True)
class Mark:
    """A mean score in the drawing: its height, and those of the ends of its interval, or its own."""

    y: float
    low: float
    high: float


@dataclass(frozen=True)
class Column:
    """A candidate in the drawing of ``curves.WIDTH x curves.HEIGHT``.

    Attributes
    ----------
    x
        Its place.
    number
        Of its row in the table.
    crop
        Size of its crops in pixels, as text.
    excluding, including
        Mean scores without the class's images, where there is such a test, and with them.
    control
        Height of what random crops reach in the test that decided; None where none were drawn.
    chosen
        Whether it is the one.
    """

    x: float
    number: int
    crop: str
    excluding: Mark | None
    including: Mark
    control: float | None
    chosen: bool


def columns(found: LayerChoice) -> list[Column]:
    """The candidates at equal distances, from the smallest crops to the largest."""
    count = len(found.candidates)
    return [
        Column(
            x=curves.x_at(number, count + 2),
            number=number,
            crop=_side(one),
            excluding=_mark(one.excluding) if one.excluding else None,
            including=_mark(one.including),
            control=None if (control := decisive(one).control) is None else curves.y_at(control),
            chosen=one == found.chosen,
        )
        for number, one in enumerate(found.candidates, 1)
    ]


def decisive(one: Candidate) -> Average:
    """The test by which candidates are compared."""
    return one.excluding or one.including


def lines(found: LayerChoice) -> list[list[str]]:
    """The table: a heading, then a line for each candidate."""
    return [list(HEADING), *(_line(number, one) for number, one in enumerate(found.candidates, 1))]


def table(found: LayerChoice) -> str:
    """The table as plain text, the chosen line marked."""
    marks = ["", *("chosen" if one == found.chosen else "" for one in found.candidates)]
    shown = [[*line, mark] for line, mark in zip(lines(found), marks, strict=True)]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in shown
    )


def by_class(found: LayerChoice) -> list[list[str]]:
    """Each class's scores without its images at each candidate; with them where there is no such test."""
    heading = ["class", "images", *map(str, range(1, len(found.candidates) + 1))]
    return [heading, *(_class_line(found, row) for row in range(len(found.chosen.classes)))]


def sentence(found: LayerChoice) -> str:
    """Why this layer."""
    return words.clean(f"{found.why[0].upper()}{found.why[1:]}.")


def rows(found: LayerChoice) -> list[tuple[str, str]]:
    """Label and value of each line of a summary, safe to print."""
    one, names = found.chosen, ", ".join(each.target.name for each in found.chosen.classes)
    said = [
        (
            "Layer",
            f"{one.layer} ({words.shape(one.shape)}), {one.concepts} concepts, crops of {_side(one)} px",
        ),
        ("Why", sentence(found)),
        *((("Score", score_line(found.score)),) if found.score else ()),
        ("Classes", f"{len(one.classes)}: {names}"),
        ("Sample", sample_line(found)),
        ("Model", found.model.name),
        *(("Warning", warning) for warning in (*found.warnings, *pool_text.cautions(found.pool))),
    ]
    return [(label, words.clean(value)) for label, value in said]


def score_line(found: ChosenScore) -> str:
    """What the chosen candidate's score is worth after the choice."""
    return (
        f"{words.score(found.score)} of all classes, 95% interval {words.score(found.low)} to "
        f"{words.score(found.high)}, which holds whichever candidate is chosen; the "
        f"{found.n} classes that chose say {words.score(found.optimism)} more"
    )


def sample_line(found: LayerChoice) -> str:
    """How many images the choice rests on, and at what cost."""
    return (
        f"crops from {words.count(found.sample)} of {words.count(found.pool.size)} images, at most "
        f"{found.settings['images']} images of each class, {words.copies(found.settings['copies'])}"
    )


def as_object(found: LayerChoice) -> dict[str, Any]:
    """What ``--json`` prints of it."""
    return {
        "layer": found.chosen.layer,
        "concepts": found.chosen.concepts,
        "why": found.why,
        "model": found.model.name,
        "pool": pool_text.as_object(found.pool),
        "sample": found.sample,
        "score": codec.to_json(found.score),
        "candidates": [codec.to_json(one) for one in found.candidates],
        "warnings": list(found.warnings),
        "settings": found.settings,
        "versions": found.versions,
    }


def _line(number: int, one: Candidate) -> list[str]:
    tests = [cell for test in (one.excluding, one.including) for cell in _cells(test)]
    return [str(number), words.clean(one.layer), _side(one), str(one.concepts), *tests]


def _cells(test: Average | None) -> list[str]:
    if test is None:
        return ["not run", "", ""]
    told = words.score(test.score)
    if test.low is not None and test.high is not None:
        told += f" [{words.score(test.low)}, {words.score(test.high)}]"
    control = "" if test.control is None else words.score(test.control)
    return [told, f"{round(test.predicted * test.n)} of {test.n}", control]


def _class_line(found: LayerChoice, row: int) -> list[str]:
    own = [one.classes[row] for one in found.candidates]
    tests = [each.excluding or each.including for each in own]
    scores = [words.score(test.score) if test else "not explained" for test in tests]
    return [words.clean(own[0].target.name), words.count(own[0].n_images), *scores]


def _side(one: Candidate) -> str:
    height, width = one.crop
    return str(height) if height == width else f"{height} × {width}"


def _mark(test: Average) -> Mark:
    ends = (test.score if end is None else end for end in (test.low, test.high))
    return Mark(*(curves.y_at(value) for value in (test.score, *ends)))
