"""What each concept does for the prediction test of all: is it needed, and what does it do by itself?

The test certifies a set of crops, and a set passes with half of its members replaced by nonsense. So each
member is taken out, and each is shown alone, among random crops.

Notation
--------
``k``
    concepts; ``F`` fillings, each ``k`` random crops.
``gain``
    of a crop: the class's log-odds with it in the first place of a filling, less those of the filling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from whyclass.checks.statistics import log_odds, rank_p
from whyclass.pool.nearest_crops import Place
from whyclass.records import Contribution
from whyclass.settings import seed_of
from whyclass.study.context import Context
from whyclass.study.prediction_test_and_control import Controls, Reader

TRIED = 4
"""Of a concept's nearest crops, so many are shown alone: one of them may be a chance find."""

NEEDED = 0.1
"""A concept whose crops gain what more than this part of nonsense gains does nothing by itself."""

ENOUGH = 0.75
"""A subset of the crops suffices where this part of its fillings is predicted as the class."""


@dataclass(frozen=True)
class Fillings:
    """Random crops that crops of concepts are shown among, for one class and the images of a mask.

    Attributes
    ----------
    sets
        ``F`` draws of ``k`` places: the first of the control's.
    shown
        In so many of them each crop is shown alone.
    """

    context: Context = field(repr=False)
    controls: Controls = field(repr=False)
    read: Reader = field(repr=False)
    target: int
    mask: np.ndarray = field(repr=False)
    sets: tuple[tuple[Place, ...], ...] = field(repr=False)
    shown: int = 2

    def scores(self, sets: Sequence[tuple[Place, ...]]) -> np.ndarray:
        """The class's scores (n,) for sets of places."""
        return self.controls.scores(sets, self.read)[:, self.target]

    def expect(self, places: Sequence[Sequence[Place]]) -> None:
        """Ask the model at once for what `gain` will need of each concept's nearest crops."""
        crops = [crop for nearest in places for crop in nearest[:TRIED]]
        sets = [(crop, *self.sets[i][1:]) for crop in crops for i in self.own(crop)]
        self.controls.expect([*self.sets, *sets], self.read)

    def own(self, crop: Place) -> list[int]:
        """The numbers of the fillings that a crop is shown in, whichever concept it is shown for.

        Many concepts, and those of nulls above all, share their nearest crops, which are shown once then.
        """
        item, count = self.context.index.items[crop.position], len(self.sets)
        first = seed_of("filling", self.context.settings.seed, f"{item.digest} {crop.cell}")
        return sorted({(first + turn * count // self.shown) % count for turn in range(self.shown)})

    def gain(self, nearest: Sequence[Place]) -> float:
        """Mean gain of a concept's nearest crops, each in fillings of its own."""
        return float(np.mean([self.gains([crop], self.own(crop)).mean() for crop in nearest[:TRIED]]))

    def gains(self, crops: Sequence[Place], which: Sequence[int]) -> np.ndarray:
        """Gain (n, f) of each crop in each of the fillings with these numbers."""
        sets = [self.sets[i] for i in which]
        shown = [(crop, *filling[1:]) for crop in crops for filling in sets]
        alone = log_odds(self.scores(sets))
        return log_odds(self.scores(shown)).reshape(len(crops), len(sets)) - alone

    def predicted(self, sets: Sequence[tuple[Place, ...]]) -> float:
        """Share of sets of places that are predicted as the class."""
        scores = self.controls.scores(sets, self.read)
        return float(self.context.task.counts(scores, self.target).mean())


def fillings(
    context: Context,
    controls: Controls,
    read: Reader,
    target: int,
    mask: np.ndarray,
    size: tuple[int, int],
) -> Fillings:
    """Of a class: for a ``size`` (F, k) so many fillings of as many crops as its explanation has concepts."""
    drawn = controls.draws(max(2, size[0]), size[1], mask)
    return Fillings(context, controls, read, target, mask, tuple(drawn))


def contributions(
    fill: Fillings,
    places: Sequence[Sequence[Place]],
    score: float,
    nothing: Sequence[Sequence[Place]],
) -> tuple[tuple[Contribution, ...], tuple[int, ...] | None]:
    """What each concept does, and the numbers of the smallest set of them that suffices.

    Parameters
    ----------
    places
        Of each concept, its nearest ones within the fillings' mask.
    score
        The class's for the best crops of all concepts.
    nothing
        The nearest places of `nonsense`.
    """
    best = tuple(nearest[0] for nearest in places)
    passed = fill.predicted([best]) == 1
    fill.expect([*places, *nothing])
    null = np.array([fill.gain(nearest) for nearest in nothing if nearest])
    found, replaced = [], [_without(best, i, fill) for i in range(len(best))]
    fill.controls.expect([one for without in replaced for one in without], fill.read)
    for nearest, without in zip(places, replaced, strict=True):
        kept, necessity = fill.predicted(without), score - float(fill.scores(without).mean())
        sufficiency = fill.gain(nearest)
        p = rank_p(sufficiency, null)
        needed = (passed and kept < 0.5) or p <= NEEDED
        found.append(Contribution(necessity, kept, sufficiency, p, needed, len(null)))
    return tuple(found), _smallest(fill, best, [one.sufficiency for one in found])


def _without(best: tuple[Place, ...], i: int, fill: Fillings) -> list[tuple[Place, ...]]:
    """The best crops with the one of concept ``i`` replaced by each of the random ones."""
    return [(*best[:i], drawn[i], *best[i + 1 :]) for drawn in fill.sets]


def _smallest(
    fill: Fillings, best: tuple[Place, ...], sufficiency: Sequence[float]
) -> tuple[int, ...] | None:
    """The concepts of the first subset that suffices, the most sufficient ones being taken in turn."""
    order = np.argsort(-np.array(sufficiency), kind="stable").tolist()
    for size in range(1, len(best) + 1):
        chosen = set(order[:size])
        sets = [
            tuple(crop if i in chosen else drawn[i] for i, crop in enumerate(best)) for drawn in fill.sets
        ]
        if fill.predicted(sets) >= ENOUGH:
            return tuple(sorted(chosen))
    return None
