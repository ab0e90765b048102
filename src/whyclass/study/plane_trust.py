"""What is known of a contrast's hyperplane, as a record, and the plane that has not seen some images."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from whyclass.concepts import hyperplane_refits
from whyclass.concepts.hyperplane_refits import Counts, Known
from whyclass.concepts.hyperplane_training import Fitting, hold_out
from whyclass.records import Agreement, Permutations, PlaneTrust
from whyclass.study.class_evidence import ClassEvidence

TIE = 1e-9
"""Accuracies that differ by less are equal."""


@dataclass(frozen=True)
class Plane:
    """``w`` (c,) and ``b`` of a plane that speaks for a class, and of that without the images held out."""

    w: np.ndarray = field(repr=False)
    b: float
    unseen: tuple[np.ndarray, float] | None = field(repr=False)

    def reversed(self) -> Plane:
        """The same for the other class."""
        return Plane(-self.w, -self.b, None if self.unseen is None else (-self.unseen[0], -self.unseen[1]))


def examined(
    two: tuple[ClassEvidence, ClassEvidence], w: np.ndarray, bias: float, fitting: Fitting
) -> tuple[PlaneTrust, Plane]:
    """What is known of the hyperplane between two classes, and the plane with its second fit."""
    a, b = two
    settings = a.context.settings
    counts = Counts(settings.plane_starts, settings.plane_bootstraps, settings.plane_permutations)
    with a.context.progress.step("hyperplane again"):
        found = hyperplane_refits.known((a.cells, b.cells), (a.target, b.target), w, counts, fitting)
    trust = PlaneTrust(
        start=found.start,
        starts=_agreement(found.starts),
        bootstraps=_agreement(found.bootstraps),
        permutations=_permutations(found),
    )
    return trust, Plane(w, bias, found.unseen)


def unseen_rows(own: ClassEvidence) -> np.ndarray:
    """Which of a class's images the second fit has not seen: those held out, and those without a cell."""
    settings, images = own.context.settings, np.unique(own.cells.image)
    held = hold_out(images, own.target, settings.seed, settings.held_out)
    return np.setdiff1d(np.arange(len(own.chosen)), np.setdiff1d(images, held))


def _agreement(cosines: np.ndarray) -> Agreement | None:
    if not cosines.size:
        return None
    return Agreement(len(cosines), float(np.median(cosines)), float(cosines.min()))


def _permutations(found: Known) -> Permutations | None:
    if found.balanced is None or not found.permuted.size:
        return None
    n = len(found.permuted)
    equal = int((found.permuted >= found.balanced - TIE).sum())
    return Permutations(n, found.balanced, float(found.permuted.max()), (1 + equal) / (n + 1))
