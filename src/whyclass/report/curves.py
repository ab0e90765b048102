"""The curves of a shifting or a masking test, as the numbers that a drawing needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from whyclass.records import Directions, Sweep
from whyclass.report.contrast_ways import measured

WIDTH, HEIGHT = 440, 190
"""Of the drawing, in its own units."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 12, 12, 30


@dataclass(frozen=True)
class Curves:
    """Points of lines and areas as SVG writes them, in a drawing of ``WIDTH x HEIGHT``.

    Attributes
    ----------
    target, source
        Mean scores of both classes at each step.
    interval
        Area of the target's 95 % interval; empty where there is none.
    band
        Area between the least and the largest random direction; empty where there is none.
    reversed
        The target's mean score with the normal reversed.
    ticks, levels
        Place and label of each step and of each score.
    best
        Place (x, y) of the target's highest mean score.
    winners
        What wins from step to step: left and right end, ``"mine"`` (the target), ``"theirs"`` (the source) or
        ``"neither"``, and the name.
    """

    target: str
    source: str
    interval: str
    band: str
    reversed: str
    ticks: tuple[tuple[float, str], ...]
    levels: tuple[tuple[float, str], ...]
    best: tuple[float, float]
    winners: tuple[tuple[float, float, str, str], ...]


MOST_TICKS = 10
"""More labels of steps would lie on each other."""


def curves(sweep: Sweep, labels: Sequence[str]) -> Curves:
    """The curves of a test; steps are drawn at equal distances, since theirs differ by orders."""
    places = [x_at(number, len(sweep.steps)) for number in range(len(sweep.steps))]
    steps = sweep.steps

    def line(values: Sequence[float], at: Sequence[float] = places) -> str:
        return " ".join(f"{x:.1f},{y_at(value):.1f}" for x, value in zip(at, values, strict=True))

    def area(low: Sequence[float], high: Sequence[float], at: Sequence[float] = places) -> str:
        back = [f"{x:.1f},{y_at(value):.1f}" for x, value in zip(at, low, strict=True)]
        return " ".join([line(high, at), *reversed(back)])

    def of(tried: Directions) -> list[float]:
        return [places[number] for number, _ in measured(tried, len(places))]

    bounds = [(s.low, s.high) for s in steps if s.low is not None and s.high is not None]
    return Curves(
        target=line([step.target for step in steps]),
        source=line([step.source for step in steps]),
        interval=area(*zip(*bounds, strict=True)) if bounds else "",
        band=area(sweep.random.low, sweep.random.high, of(sweep.random)) if sweep.random else "",
        reversed=line(sweep.reversed.mean, of(sweep.reversed)),
        ticks=tuple(list(zip(places, labels, strict=True))[:: 1 + (len(labels) - 1) // MOST_TICKS]),
        levels=LEVELS,
        best=(places[sweep.best], y_at(steps[sweep.best].target)),
        winners=tuple(_winners(sweep, places)),
    )


def _winners(sweep: Sweep, places: Sequence[float]) -> Iterator[tuple[float, float, str, str]]:
    """Neighbouring steps of one winner are one stretch; it ends halfway to the next."""
    kinds = {sweep.target.index: "mine", sweep.source.index: "theirs"}
    start = 0
    for number, step in enumerate(sweep.steps):
        last = number + 1 == len(sweep.steps)
        if last or sweep.steps[number + 1].winner.index != step.winner.index:
            low = places[start] if start == 0 else (places[start - 1] + places[start]) / 2
            high = places[number] if last else (places[number] + places[number + 1]) / 2
            yield low, high, kinds.get(step.winner.index, "neither"), step.winner.name
            start = number + 1


def x_at(number: int, count: int) -> float:
    """Place of one of ``count`` steps at equal distances, from the left end to the right."""
    return _LEFT + (WIDTH - _LEFT - _RIGHT) * number / max(1, count - 1)


def y_at(score: float) -> float:
    """Height of a score from 0 to 1."""
    return _TOP + (HEIGHT - _TOP - _BOTTOM) * (1 - min(max(score, 0.0), 1.0))


LEVELS = tuple((y_at(value), f"{value:g}") for value in (0.0, 0.5, 1.0))
"""Height and label of the lines of equal score."""
