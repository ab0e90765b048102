"""The table of a `Pairs` record in the form of the paper's table 3, and as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from whyclass import intervals
from whyclass.records import Pairs, PairShift, Sweep
from whyclass.report import pool_text
from whyclass.report.contrast_ways import at_chance
from whyclass.report.paper_tables import LEAST
from whyclass.report.published_numbers import PAPER_SHIFTS, Value, are_imagenets

SWAPS = LEAST
"""Mean scores that the target must reach, besides winning, to count as a swap (paper, table 3)."""


@dataclass(frozen=True)
class Row:
    """One row of table 3, over ``n`` ordered pairs.

    Attributes
    ----------
    default, shifted
        Mean and standard deviation, over pairs, of the target's mean score.
    swaps
        Shares of pairs in which the target wins at the best step with at least each of ``SWAPS``.
    """

    n: int
    default: tuple[float, float]
    shifted: tuple[float, float]
    swaps: tuple[float, ...]


@dataclass(frozen=True)
class Table:
    """The shifting test of all pairs, and what its controls reach.

    Attributes
    ----------
    hyperplane
        The test itself.
    random, reversed
        The same with the mean over each pair's random directions, and with the normal reversed. A
        swap is not asked of them; None where there are none.
    above
        Pairs whose shifted mean lies above the largest of their random directions; None likewise.
    held_out
        Mean over pairs of the balanced accuracy on images not seen, and over how many; None where none
        was measured.
    """

    hyperplane: Row
    random: tuple[float, float] | None
    reversed: tuple[float, float]
    above: int | None
    held_out: tuple[float, int] | None


def table(found: Pairs) -> Table:
    """Table 3 of all pairs of a record."""
    sweeps = [pair.shifting for pair in found.pairs]
    held = [pair.held_out.balanced for pair in found.pairs if pair.held_out]
    random, above = _random(sweeps)
    return Table(
        hyperplane=_hyperplane(found),
        random=random,
        reversed=_spread([value for sweep in sweeps for value in sweep.reversed.highest]),
        above=above,
        held_out=(float(np.mean(held)), len(held)) if held else None,
    )


def _hyperplane(found: Pairs) -> Row:
    sweeps = [pair.shifting for pair in found.pairs]
    return Row(
        n=len(sweeps),
        default=_spread([sweep.steps[0].target for sweep in sweeps]),
        shifted=_spread([sweep.steps[sweep.best].target for sweep in sweeps]),
        swaps=tuple(float(np.mean([swaps(pair, least) for pair in found.pairs])) for least in SWAPS),
    )


def _random(sweeps: Sequence[Sweep]) -> tuple[tuple[float, float] | None, int | None]:
    """What random directions reach, and above how many pairs' largest of them the shifted mean lies."""
    tried = [(sweep, sweep.random.highest) for sweep in sweeps if sweep.random]
    if not tried:
        return None, None
    above = sum(sweep.steps[sweep.best].target > max(highest) for sweep, highest in tried)
    return _spread([value for _, highest in tried for value in highest]), above


def swaps(pair: PairShift, least: float) -> bool:
    """Whether the target wins at the best step, with a mean score of at least ``least``."""
    sweep = pair.shifting
    return sweep.swapped and sweep.steps[sweep.best].target >= least


def lines(found: Pairs) -> list[list[str]]:
    """Rows of the printed table: heading, the record's pairs, controls; the paper's where it is ImageNet."""
    own = table(found)
    row = own.hyperplane
    made = [
        ["", "default", "shifted", *(f"swap {least}" for least in SWAPS)],
        [f"{row.n} pairs", _told(row.default), _told(row.shifted), *(f"{share:.1%}" for share in row.swaps)],
    ]
    if own.random:
        made.append(["random directions", "", _told(own.random), "", "", ""])
    made.append(["normal reversed", "", _told(own.reversed), "", "", ""])
    if _of_imagenet(found):
        made += [_paper(model, values) for model, _, values in PAPER_SHIFTS]
    return made


def _of_imagenet(found: Pairs) -> bool:
    return are_imagenets((one.index, one.name) for one in found.classes)


def notes(found: Pairs) -> list[str]:
    """What the table's controls and the hyperplanes' accuracies come to, in sentences."""
    own = table(found)
    said = [f"{caution[0].upper()}{caution[1:]}." for caution in pool_text.cautions(found.pool)]
    if own.above is not None and (random := found.pairs[0].shifting.random):
        said.append(
            f"The shifted mean lies above every one of {random.n} random directions of the normal's length "
            f"in {own.above} of {own.hyperplane.n} pairs (each direction on {random.images} images, at its "
            "best step)."
        )
    if own.held_out:
        said.append(
            f"Balanced accuracy of the hyperplanes on images not seen: {own.held_out[0]:.3f} on average over "
            f"{own.held_out[1]} pairs."
        )
    said += at_chance(found.pairs)
    counts = [pair.shifting.n for pair in found.pairs]
    said.append(f"Images per pair: {min(counts)} to {max(counts)}. ± is the standard deviation over pairs.")
    if _of_imagenet(found):
        said.append("The paper's rows are of 10,000 pairs of 1,000 classes at layer3.5, five times.")
    return said


def _paper(model: str, values: tuple[Value, ...]) -> list[str]:
    """A row of the paper's table, without its deviation over runs."""
    default, shifted, *shares = values
    means = [_told((mean.value, mean.spread or 0.0)) for mean in (default, shifted)]
    return [f"paper: {model}", *means, *(f"{share.value:.1%}" for share in shares)]


def _spread(values: list[float]) -> tuple[float, float]:
    return float(np.mean(values)), intervals.deviation(np.array(values)) or 0.0


def _told(spread: tuple[float, float]) -> str:
    return f"{spread[0]:.3f} ± {spread[1]:.3f}"
