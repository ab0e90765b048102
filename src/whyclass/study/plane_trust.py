"""What is known of a contrast's hyperplane, as a record, and the plane that has not seen some images."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from whyclass.concepts import hyperplane_refits
from whyclass.concepts.hyperplane_refits import Counts, Known
from whyclass.concepts.hyperplane_training import Fitting, hold_out
from whyclass.concepts.hyperplanes import Hyperplanes
from whyclass.records import Agreement, Permutations, PlaneTrust
from whyclass.study.class_evidence import ClassEvidence

TIE = 1e-9
"""Accuracies that differ by less are equal."""


@dataclass(frozen=True)
class Plane:
    """``w`` (c,) and ``b`` of a plane that speaks for a class, and of that without the images held out.

    ``apart`` is the distance of both classes' mean cells along ``w``.
    """

    w: np.ndarray = field(repr=False)
    b: float
    unseen: tuple[np.ndarray, float] | None = field(repr=False)
    apart: float = 1.0

    def reversed(self) -> Plane:
        """The same for the other class."""
        unseen = None if self.unseen is None else (-self.unseen[0], -self.unseen[1])
        return Plane(-self.w, -self.b, unseen, self.apart)


def examined(
    two: tuple[ClassEvidence, ClassEvidence], planes: Hyperplanes, fitting: Fitting
) -> tuple[PlaneTrust, Plane]:
    """What is known of the one hyperplane between two classes, and the plane with its second fit."""
    a, b = two
    settings = a.context.settings
    counts = Counts(settings.plane_starts, settings.plane_bootstraps, settings.plane_permutations)
    with a.context.progress.step("hyperplane again"):
        strength = None if planes.strengths is None else float(planes.strengths[0])
        found = hyperplane_refits.known(
            (a.cells, b.cells),
            (a.target, b.target),
            planes.weights[0],
            counts,
            replace(fitting, strength=strength),
        )
    trust = PlaneTrust(
        start=found.start,
        starts=_agreement(found.starts),
        bootstraps=_agreement(found.bootstraps),
        permutations=_permutations(found),
    )
    made = Plane(planes.weights[0], float(planes.biases[0]), found.unseen, float(planes.apart[0]))
    return trust, made


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
