"""Evidence for a class at several layers, whose noisy copies pass what the layers share once.

The bytes are those of one layer after the other. Where they would not be, it is done so: where the layers
draw other images, or no copy of the model gives the same bits at both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from whyclass.attribution import copies_together, enough_copies, smoothgrad
from whyclass.errors import AttributionError, LayerError
from whyclass.models.fast_trunk import noisy_precision, shared_trunk
from whyclass.study.class_evidence import ClassEvidence, evidence_of
from whyclass.study.context import Context

Together = Callable[[Tensor], list[Tensor]]


class Beside:
    """Contexts of one model, pool and settings at other layers, whose evidence is made along.

    Parameters
    ----------
    first
        The context whose evidence is asked for.
    others
        The others; those that cannot share with it are left to their own.
    """

    def __init__(self, first: Context, others: Sequence[Context]) -> None:
        self._first = first
        self._others = [one for one in others if _alike(first, one)]
        self._trunks: dict[torch.dtype, Together | None] = {}

    def make(self, own: ClassEvidence) -> list[ClassEvidence]:
        """Make and keep the evidence of the class at all layers, if all lack it; gives the others."""
        missing = [] if own.evidence_file.exists() else self._missing(own)
        together = self._together() if missing else None
        if together is None:
            return []
        every = [own, *missing]
        for one in missing:
            one.__dict__["samples"] = own.samples  # read once
        asked = [smoothgrad.Asked(one.context.split, one.question()) for one in every]
        try:
            with own.context.progress.step("attribution", len(own.chosen)) as advance:
                scores = enough_copies.at_layers(asked, together, own.given, own.context.settings, advance)
        except AttributionError:  # of which layer, each by itself says
            return []
        own.keep(scores[0])
        return [one for one, mine in zip(missing, scores[1:], strict=True) if _kept(one, mine)]

    def _missing(self, own: ClassEvidence) -> list[ClassEvidence]:
        """The class at the other layers, if all of them lack it, and draw the same images."""
        found = [evidence_of(replace(one, progress=own.context.progress), own.target) for one in self._others]
        alike = all(one.chosen.tolist() == own.chosen.tolist() for one in found)
        return found if alike and not any(one.evidence_file.exists() for one in found) else []

    def _together(self) -> Together | None:
        settings, splits = self._first.settings, [one.split for one in (self._first, *self._others)]
        dtype = noisy_precision(settings.precision, splits[0])
        if dtype not in self._trunks:
            own = [one.trunk(dtype) for one in (self._first, *self._others)]
            images = enough_copies.together(settings, splits[0].together(copies_together.BATCH))
            self._trunks[dtype] = shared_trunk(splits, own, dtype, images)
        return self._trunks[dtype]


def _kept(own: ClassEvidence, scores: smoothgrad.Scores) -> bool:
    """Whether evidence could be made of scores; where not, the audit of that layer says why."""
    try:
        own.keep(scores)
    except LayerError:
        return False
    return True


def _alike(first: Context, other: Context) -> bool:
    """Whether evidence at the other layer is of the same images, and made the same way."""
    facts = (
        (one.fingerprint, one.pool.digest, one.settings, one.versions, one.preprocessing, one.store.folder)
        for one in (first, other)
    )
    mine, theirs = facts
    return mine == theirs and first.split.layer != other.split.layer and not other.task.dense
