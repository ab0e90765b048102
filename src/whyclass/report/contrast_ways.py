"""Which variant made a contrast, in words, and in what its shifting test counts."""

from __future__ import annotations

from collections.abc import Sequence

from whyclass.grid import ENLARGED
from whyclass.records import AuditedPair, Contrast, Directions, PairShift, Sweep
from whyclass.report import words

PLANES = {
    "paper": "the paper's hyperplane, a short descent from a random start",
    "zero": "a hyperplane by a short descent from zero",
    "balanced": "a hyperplane by a short descent from zero, classes and their images weighing the same",
    "converged": "a hyperplane by logistic regression, classes and their images weighing the same",
    "mean": "the plane halfway between the mean cells",
    "pattern": "the pattern that varies with a balanced hyperplane's answer",
}
"""By `Settings.plane`."""

BY = {
    "plane": "cells count by their distance from it",
    "attribution": "cells count by the attribution of the difference of both logits",
    "both": "cells count by their distance from it times the attribution of the difference of both logits",
}
"""By `Settings.contrast_by`."""


def made_by(found: Contrast) -> str:
    """The plane, and what says which cells speak for a class."""
    plane, by = found.settings.get("plane", "paper"), found.settings.get("contrast_by", "plane")
    strength = found.hyperplane.strength
    penalty = "" if strength is None else f" (penalty {strength:g} of the cells' variance)"
    return f"{PLANES[plane]}{penalty}; {BY[by]}"


TIMES = {2: "twice", 1.5: "one and a half times"}


def pieces(found: Contrast) -> str:
    """How the test of crops cuts and counts them."""
    at, each = found.settings.get("pair_crop_at"), found.settings.get("pair_crops", 1)
    times = ENLARGED.get(str(at), 1) / ENLARGED.get(str(found.settings.get("crop_at")), 1)
    size = "as large" if times == 1 else f"{TIMES.get(times, f'{times:.2g} times')} as high and wide"
    taken = f"{words.plural(each, 'piece')} of each concept, {size} as the crops shown"
    return f"The test takes {taken}, around the same places."


def unit(sweep: Sweep) -> str:
    """What the shifting test's steps are multiples of."""
    if sweep.unit is None:
        return "multiples of the normal"
    return f"multiples of the distance between both classes' mean cells along the normal ({sweep.unit:.3g})"


def first_line(sweep: Sweep) -> str:
    """At which step the class sought wins first; empty where it never does, or where that was not kept."""
    if sweep.first is None:
        return ""
    step = sweep.steps[sweep.first]
    random = sweep.random.swapped if sweep.random else None
    others = "" if random is None else f", as along {words.percent(random[sweep.first])} of random directions"
    return f"; wins first at t = {step.at:.3g} ({words.score(step.target)}){others}"


def measured(directions: Directions, steps: int) -> list[tuple[int, int]]:
    """Which of so many steps directions were tried at: its number, and its place in their means."""
    at = range(steps) if directions.at is None else directions.at
    return [(number, place) for place, number in enumerate(at)]


def tried(directions: Directions) -> str:
    """On how many images each random direction was tried where the test was narrowed; else nothing."""
    if directions.followed is None:
        return ""
    return f" (on {words.plural(directions.images, 'image')} each, {directions.followed} of them on more)"


def between(sweep: Sweep) -> Sequence[str]:
    """Names of what else wins at some step, in order."""
    known = (sweep.target.index, sweep.source.index)
    return list(dict.fromkeys(step.winner.name for step in sweep.steps if step.winner.index not in known))


def at_chance(pairs: Sequence[PairShift | AuditedPair]) -> list[str]:
    """How many of the planes are no better than chance, in a sentence; nothing where none is."""
    trained = sum(pair.training.at_chance for pair in pairs)
    held = sum(pair.held_out.at_chance for pair in pairs if pair.held_out)
    if not trained and not held:
        return []
    return [
        f"Of {len(pairs)} hyperplanes {trained} do not tell apart even the cells they were fitted to, and "
        f"{held} not those of images not seen; what is moved along them says nothing of their classes."
    ]
