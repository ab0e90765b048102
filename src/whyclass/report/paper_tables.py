"""Tables 1 to 3 of the paper from the records of an audit, each beside the paper's own rows.

A row of ours comes with its n, a 95 % interval and, under it, what the control gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from whyclass import intervals
from whyclass.records import Audit, AuditedPair, ClassResult, Shifts, Trial
from whyclass.report import pool_text, words
from whyclass.report.audits_in_store import labels
from whyclass.report.contrast_ways import at_chance
from whyclass.report.published_numbers import (
    PAPER_PREDICTIONS,
    PAPER_SHIFTS,
    Value,
    architecture,
    are_imagenets,
)
from whyclass.report.standings import JUDGED, Standing, judged, standing
from whyclass.report.verdict_checks import ALPHA
from whyclass.settings import CONCEPTS_BY, seed_of

LEAST = (0.1, 0.2, 0.5)
"""Scores that a class must exceed to count (paper, tables 1 to 3)."""


@dataclass(frozen=True)
class Row:
    """A row: measured here, a control of the row above, or the paper's own.

    ``values`` are by column; a column that a control does not have is left out.
    """

    label: str
    layer: str
    n: int
    values: dict[str, Value]
    kind: str = "measured"


@dataclass(frozen=True)
class Table:
    """One of the paper's tables.

    Attributes
    ----------
    number
        As in the paper.
    columns
        Names of the values, in order.
    notes
        Sentences that a reader must see under it.
    """

    number: int
    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


def table1(audits: Sequence[Audit]) -> Table:
    """The prediction test over the whole pool."""
    return _predictions(audits, 1, "including images of the class", lambda found: found.including)


def table2(audits: Sequence[Audit]) -> Table:
    """The prediction test without images predicted as the class."""
    return _predictions(audits, 2, "excluding images of the class", lambda found: found.excluding)


def table3(audits: Sequence[Audit]) -> Table:
    """The shifting test."""
    return _moves(audits, 3, "Shifting test", "shift")


def masking(audits: Sequence[Audit]) -> Table:
    """The masking test in the form of table 3; the paper has no such table."""
    return _moves(audits, 0, "Masking test", "mask")


def verdicts(audits: Sequence[Audit]) -> Table:
    """The verdicts of audits with nulls, and how many classes beat each kind; the paper has no such table."""
    rows: list[Row] = []
    for audit, label in zip(audits, labels(audits), strict=True):
        own = [one for one in audit.classes if judged(one)]
        if own:
            found = [standing(one) for one in own]
            levels = {JUDGED[key]: share(one == key for one in found) for key in LEVELS}
            rows.append(Row(label, audit.model.layer, len(own), levels | dict(_beaten(own))))
    notes = ("q is Benjamini and Hochberg's over the classes; each class's few nulls are compared over all.",)
    return Table(0, "Verdicts", (*(JUDGED[key] for key in LEVELS), *map(_beats, ALPHA)), tuple(rows), notes)


def _beaten(own: Sequence[ClassResult]) -> Iterable[tuple[str, Value]]:
    """By kind of null, the share of the classes with it whose q is low enough."""
    for kind, most in ALPHA.items():
        tests = [test for one in own if (test := one.excluding or one.including)]
        q = [null.q for test in tests for null in test.nulls if null.kind == kind and null.q is not None]
        if q:
            yield _beats(kind), share(value <= most for value in q)


def _beats(kind: str) -> str:
    return f"{kind}: q ≤ {ALPHA[kind]:g}"


LEVELS: tuple[Standing, ...] = ("trust", "careful", "distrust")

TABLES: dict[int, Callable[[Sequence[Audit]], Table]] = {
    1: table1,
    2: table2,
    3: table3,
    0: masking,
    4: verdicts,
}
"""By the paper's number; 0 and 4 are not in the paper."""


def made(audits: Sequence[Audit]) -> list[Table]:
    """Those of the tables that the audits have rows for."""
    return [table for table in (make(audits) for make in TABLES.values()) if table.rows]


THEIRS = "The paper's rows are of the same architecture, not always the same weights"

COLUMNS = ("average", "predicts class", *(f"above {least}" for least in LEAST))
SHIFT_COLUMNS = ("default", "shifted", *(f"swap {least}" for least in LEAST))


# ---------------------------------------------------------------- tables 1 and 2


def _predictions(
    audits: Sequence[Audit], number: int, title: str, pick: Callable[[ClassResult], Trial | None]
) -> Table:
    rows: list[Row] = []
    notes: list[str] = []
    for audit, label in zip(audits, labels(audits), strict=True):
        tests = [test for test in map(pick, audit.classes) if test is not None]
        if tests:
            rows += [*_tested(audit, label, tests), *_paper(PAPER_PREDICTIONS[number], audit)]
            notes += _prediction_notes(audit, tests)
    notes.append(
        "± is the standard deviation over classes; in square brackets the 95 % interval, that of a mean over "
        "three classes or more."
    )
    if any(row.kind == "paper" for row in rows):
        notes.append(f"{THEIRS}: 1,000 classes, 50,000 images.")
    return Table(number, f"Prediction test, {title}", COLUMNS, tuple(rows), tuple(notes))


def _tested(audit: Audit, label: str, tests: Sequence[Trial]) -> Iterable[Row]:
    scores = np.array([test.score for test in tests])
    wins = [test.predicted for test in tests]
    values = dict(
        zip(COLUMNS, (_mean(scores), share(wins), *(share(scores > least) for least in LEAST)), strict=True)
    )
    yield Row(label, audit.model.layer, len(tests), values)
    controls = [test.control for test in tests if test.control]
    if controls:
        plain = {
            "average": Value(float(np.mean([c.mean for c in controls]))),
            "predicts class": Value(float(np.mean([c.predicted for c in controls]))),
        }
        yield Row("random crops", audit.model.layer, len(controls), plain, "control")


def _prediction_notes(audit: Audit, tests: Sequence[Trial]) -> Iterable[str]:
    if audit.model.task == "segmentation":
        yield (
            f"{audit.model.layer}: the model segments; a score is the largest softmax over the map, and a "
            "class counts as predicted where its softmax exceeds one half somewhere."
        )
    elif audit.model.task != "classification":
        yield f"{audit.model.layer}: {words.task(audit.model.task)}."
    yield from (f"{audit.model.layer}: {caution}." for caution in pool_text.cautions(audit.pool))
    done, of = len(audit.classes), audit.n_classes
    if done < of:
        yield f"{audit.model.layer}: {done} of the {of} classes that the pool's images are predicted as."
    if (none := sum(bool(found.problem) for found in audit.classes)) > 0:
        yield f"{audit.model.layer}: {none} classes could not be explained and are not counted."
    layouts = sorted({test.layout for test in tests})
    if layouts != ["stacked"]:
        yield f"{audit.model.layer}: the test images were {' and '.join(layouts)}, the paper's were stacked."
    few = sum(found.n_images < FEW for found in audit.classes)
    if few:
        yield (
            f"{audit.model.layer}: {few} of {done} classes rest on fewer than {FEW} images each (pool of "
            f"{audit.pool.size:,}); the paper's mostly on 50."
        )


FEW = 10
"""Fewer images of a class than this are told of."""


# ---------------------------------------------------------------- table 3


def _moves(audits: Sequence[Audit], number: int, title: str, test: str) -> Table:
    """A row for each draw of each audit."""
    rows: list[Row] = []
    notes: list[str] = []
    for audit, label in zip(audits, labels(audits), strict=True):
        draws = _draws(audit, test)
        for draw in draws:
            named = label if len(draws) == 1 else f"{label}: {draw[0].draw}"
            rows += _moved(audit, named, draw)
            notes += _move_notes(audit, draw)
        if draws and number:
            rows += _paper(PAPER_SHIFTS, audit)
    notes.append(
        "n are different pairs; ± is the standard deviation over runs where there are several, and in "
        "brackets over pairs. In square brackets the 95 % interval over sources, of three or more; the pairs "
        "of one are drawn together."
    )
    if any(row.kind == "paper" for row in rows):
        notes.append(f"{THEIRS}: 10 random targets for each of 1,000 classes, 5 runs.")
    return Table(number, title, SHIFT_COLUMNS, tuple(rows), tuple(notes))


def _draws(audit: Audit, test: str) -> list[list[Shifts]]:
    groups: dict[str, list[Shifts]] = {}
    for shift in audit.shifts:
        if shift.test == test and shift.pairs:
            groups.setdefault(shift.group, []).append(shift)
    return list(groups.values())


def _moved(audit: Audit, label: str, draw: Sequence[Shifts]) -> Iterable[Row]:
    pairs = [pair for shift in draw for pair in shift.pairs]
    source = np.array([shift.source.index for shift in draw for _ in shift.pairs])
    yield Row(label, audit.model.layer, len(pairs), _moved_values(pairs, source, draw[0].runs))
    controls = [(pair.control, own) for pair, own in zip(pairs, source.tolist(), strict=True) if pair.control]
    reached = {
        "random directions": [(value, own) for control, own in controls for value in control.random],
        "normal reversed": [(control.reversed, own) for control, own in controls],
    }
    for name, found in reached.items():
        if found:
            scores, of = map(np.array, zip(*found, strict=True))
            yield Row(name, audit.model.layer, len(scores), {"shifted": _mean(scores, of)}, "control")


def _moved_values(pairs: Sequence[AuditedPair], source: np.ndarray, runs: int) -> dict[str, Value]:
    """A row's numbers over pairs (n,) of sources (n,), with their deviation over several runs."""
    columns: dict[str, Callable[[AuditedPair], float]] = {
        "default": lambda pair: pair.target.score,
        "shifted": lambda pair: pair.moved.highest,
        **{f"swap {least}": partial(swaps, least=least) for least in LEAST},
    }
    values = {}
    for name, number in columns.items():
        found = np.array([number(pair) for pair in pairs])
        by_run = [np.mean([number(pair) for pair in pairs if run in pair.runs]) for run in range(runs)]
        value = _mean(found, source)
        if name.startswith("swap"):
            value = replace(value, spread=None)  # a share's says nothing more
        values[name] = replace(value, runs=intervals.deviation(np.array(by_run)))
    return values


def swaps(pair: AuditedPair, least: float) -> bool:
    """Whether the target wins at the best step, and not before, with a mean score of at least ``least``."""
    found = pair.moved
    won = found.at and found.winner.index == pair.target.index if found.swapped is None else found.swapped
    return bool(won and found.highest >= least)


def _move_notes(audit: Audit, draw: Sequence[Shifts]) -> Iterable[str]:
    pairs = [pair for shift in draw for pair in shift.pairs]
    yield f"{audit.model.layer}: {draw[0].draw}; {len(draw)} sources done."
    tried = [(pair, pair.control) for pair in pairs if pair.control and pair.control.random]
    if tried:
        above = sum(pair.moved.highest > max(control.random) for pair, control in tried)
        n, images = len(tried[0][1].random), tried[0][1].images
        yield (
            f"{audit.model.layer}: controls are of one pair of each source, drawn by its hash. The shifted "
            f"mean lies above every one of {n} random directions (each on {images} images) in {above} of "
            f"{len(tried)} pairs."
        )
    yield from (f"{audit.model.layer}: {said}" for said in at_chance(pairs))
    held = [pair.held_out.balanced for pair in pairs if pair.held_out]
    if held:
        yield (
            f"{audit.model.layer}: balanced accuracy of the hyperplanes on images not seen "
            f"{np.mean(held):.3f} on average over {len(held)} of {len(pairs)} pairs."
        )


# ---------------------------------------------------------------- numbers


def _mean(found: np.ndarray, source: np.ndarray | None = None) -> Value:
    """Mean of scores with its interval: over all, or over the sources (n,) that they are of."""
    own = np.arange(len(found)) if source is None else source
    low, high = _ends(found, own)
    return Value(float(found.mean()), low, high, spread=intervals.deviation(found))


def _ends(found: np.ndarray, source: np.ndarray) -> tuple[float, float] | tuple[None, None]:
    generator = np.random.default_rng(seed_of("interval", 0, ""))
    return intervals.interval_of_clusters(found, source, generator) or (None, None)


def share(found: Iterable[bool]) -> Value:
    """Share with Wilson's 95 % interval."""
    hits = [bool(one) for one in found]
    return Value(sum(hits) / len(hits), *intervals.wilson(sum(hits), len(hits)))


# ---------------------------------------------------------------- the paper's rows


def _paper(rows: Sequence[tuple[str, str, tuple[Value, ...]]], audit: Audit) -> Iterable[Row]:
    """The paper's rows of the same architecture and layer, beside a model of ImageNet's classes."""
    if CONCEPTS_BY in audit.settings:  # another method's row, which stands under these already
        return
    mine = architecture(audit.model.name)
    columns, n = (SHIFT_COLUMNS, 50_000) if rows is PAPER_SHIFTS else (COLUMNS, 1000)
    alike = [one for one in rows if one[0].lower().split()[0] == mine and audit.model.layer == one[1]]
    named = [*(one.target for one in audit.classes), *(one.source for one in audit.shifts)]
    if alike and are_imagenets((one.index, one.name) for one in named):
        for model, layer, values in alike:
            yield Row(f"paper: {model}", layer, n, dict(zip(columns, values, strict=True)), "paper")
