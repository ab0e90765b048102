"""One class as a question sees it: its images, their activations, and the evidence for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from whyclass.attribution import enough_copies, smoothgrad
from whyclass.concepts.hyperplanes import Cells, select_cells
from whyclass.concepts.nmf_on_device import Given, factorise_on
from whyclass.errors import ClassError, LayerError
from whyclass.models.class_names import rivals
from whyclass.models.fast_trunk import noisy_precision
from whyclass.models.preprocessing import Sample
from whyclass.models.split import Split
from whyclass.models.tasks import HALF, difference, logit
from whyclass.pool.indexing_pass import Trunk
from whyclass.records import Evidence, Factors
from whyclass.settings import seed_of
from whyclass.study.context import Context

DEPENDS = (
    "images",
    "copies",
    "noise",
    "baseline",
    "relu",
    "method",
    "precision",
    "cut",
    "seed",
)
"""The settings that a class's evidence depends on."""

FACTORS_DEPEND = ("concepts", "starts", "iterations", "tolerance")
"""Those that its concepts depend on besides."""


@dataclass(frozen=True)
class ClassEvidence:
    """A class that is predicted for some images of the pool; whatever is costly is computed once.

    Attributes
    ----------
    predicted
        Positions of all images that count for the class: predicted as it or, by a segmentation net, showing
        it somewhere.
    chosen
        Positions of those that are used: at most ``images``, drawn with the seed, in pool order.
    """

    context: Context = field(repr=False)
    target: int
    predicted: np.ndarray = field(repr=False)
    chosen: np.ndarray = field(repr=False)

    @cached_property
    def score(self) -> float:
        """The class's mean score on its images."""
        return float(self.context.index.scores(self.chosen)[:, self.target].mean())

    @cached_property
    def samples(self) -> list[Sample]:
        """The images, read."""
        with self.context.progress.step("images", len(self.chosen)) as advance:
            return self.context.read(self.chosen.tolist(), advance)

    @cached_property
    def images(self) -> Tensor:
        """Shape (n, C, S, T), normalised: C channels of S x T pixels."""
        return torch.stack([sample.tensor for sample in self.samples])

    @cached_property
    def activations(self) -> np.ndarray:
        """Of the clean images, shape (n, c, h, w)."""
        images = self.images  # read before the step starts, as a step of its own
        with self.context.progress.step("activations"):
            found = self.context.activations(images)
        if found.min() < 0 and not self.context.split.signed:
            raise LayerError(
                f"layer {self.context.split.layer!r} has negative activations on these images and had none "
                "on noise; choose a layer after a ReLU"
            )
        return found

    @cached_property
    def evidence(self) -> Evidence:
        """Scores of the images' cells, and the cells that speak for the class: kept, or made and kept."""
        if (kept := self.context.kept(Evidence, self.evidence_file)) is not None:
            return kept
        return self.keep(self.scored())

    def keep(self, scores: smoothgrad.Scores) -> Evidence:
        """The evidence that scores of the images' cells make, kept."""
        context = self.context
        cells = select_cells(self.activations, scores.signed, context.settings.cut)
        digests = tuple(context.index.items[int(position)].digest for position in self.chosen)
        sums, speaking = (scores.missed, scores.changes), (cells.vectors, cells.image)
        made = Evidence(self.target, digests, scores.cells, *sums, *speaking, scores.unruled)
        context.store.keep(made, self.evidence_file)
        return made

    @cached_property
    def factors(self) -> Factors:
        """The class's concepts: kept, or made and kept."""
        if (kept := self.context.kept(Factors, self.factors_file)) is not None:
            return kept
        scored = self.scored_cells
        with self.context.progress.step("concepts"):
            made = factorise_on(self.context.split.example.device, scored)
        self.context.store.keep(made, self.factors_file)
        return made

    @property
    def scored_cells(self) -> Given:
        """What is factorised."""
        context = self.context
        return Given(self.activations, self.evidence.scores, context.settings, context.split.signed)

    @property
    def factors_file(self) -> Path:
        """Where the concepts are kept."""
        return self.file("factors", {})

    @property
    def evidence_file(self) -> Path:
        """Where the evidence is kept."""
        return self._file("evidence", DEPENDS + self._dense)

    def evidence_against(self, other: int) -> Path:
        """Where the evidence for the class against another one is kept."""
        return self._file("evidence_against", DEPENDS + self._dense, other)

    @property
    def _signed(self) -> tuple[str, ...]:
        return ("signed",) if self.context.split.signed else ()

    @property
    def _dense(self) -> tuple[str, ...]:
        return ("target",) if self.context.task.dense else ()

    def file(self, kind: str, facts: dict[str, int]) -> Path:
        """Where something is kept that depends on all that the concepts depend on, and on some facts."""
        return self._file(kind, DEPENDS + FACTORS_DEPEND + self._signed + self._dense, facts=facts)

    def _file(
        self, kind: str, depends: tuple[str, ...], *others: int, facts: dict[str, int] | None = None
    ) -> Path:
        settings = {name: getattr(self.context.settings, name) for name in depends} | (facts or {})
        return self.context.store.record(kind, self.context.key(self.target, *others, settings=settings))

    @property
    def cells(self) -> Cells:
        """The cells that speak for the class (paper, 5.1.1)."""
        return Cells(self.evidence.vectors, self.evidence.image)

    def scored(self) -> smoothgrad.Scores:
        """Scores of the images' cells, computed now."""
        with self.context.progress.step("attribution", len(self.samples)) as advance:
            return enough_copies.scores(*self._asked(None), self.context.settings, advance)[0]

    def scored_against(self, *others: int | None) -> list[smoothgrad.Scores]:
        """Scores of the cells for the class against each of others, None for it alone; computed now."""
        with self.context.progress.step("attribution", len(self.samples)) as advance:
            return enough_copies.scores(*self._asked(*others), self.context.settings, advance)

    def _asked(
        self, *others: int | None
    ) -> tuple[Split, Trunk, list[tuple[Tensor, str]], list[smoothgrad.Question]]:
        """What is attributed, of which images."""
        context = self.context
        trunk = context.trunk(noisy_precision(context.settings.precision, context.split))
        return context.split, trunk, self.given, [self.question(other) for other in others]

    @property
    def given(self) -> list[tuple[Tensor, str]]:
        """The images (C, S, T) with the hashes that seed their noise."""
        items = self.context.pool.items
        return [(one.tensor, items[int(p)].digest) for one, p in zip(self.samples, self.chosen, strict=True)]

    def question(self, other: int | None = None) -> smoothgrad.Question:
        """What is asked of the layer's cells, against another class or of it alone."""
        reference = self.context.preprocessing.constant(self.context.settings.baseline)
        wanted = logit(self.target) if other is None else difference(logit(self.target), logit(other))
        baseline = smoothgrad.prepare(self.context.split, reference, wanted)
        return smoothgrad.Question(self.target, baseline, self.context.task.dense, other)


def evidence_of(context: Context, target: int) -> ClassEvidence:
    """The class ``target`` of a context.

    Raises
    ------
    ClassError
        If it is predicted for no image of the pool (names its nearest rivals and how often each is
        predicted).
    """
    predicted = np.flatnonzero(context.index.counting(target))
    if not predicted.size:
        raise ClassError(_never_predicted(context, target))
    return ClassEvidence(context, target, predicted, _draw(context, predicted))


def _draw(context: Context, predicted: np.ndarray) -> np.ndarray:
    """At most ``images`` of the images that count for the class, drawn with the seed, in pool order.

    Each image's lot is cast from its content, so that one more image in the pool changes the draw
    by at most one.
    """
    lots = [seed_of("draw", context.settings.seed, context.index.items[p].digest) for p in predicted]
    return np.sort(predicted[np.argsort(lots, kind="stable")[: context.settings.images]])


def _never_predicted(context: Context, target: int) -> str:
    usable = np.flatnonzero(context.index.usable)
    near = rivals(
        context.index.scores_of(target)[usable], context.index.predicted[usable], context.loaded.class_names
    )
    if context.task.dense:
        seen = f"found in none of the pool's {usable.size} images (softmax above {HALF:g} somewhere)"
    elif context.task.several:
        seen = f"told of none of the pool's {usable.size} images (score above {HALF:g})"
    else:
        seen = f"predicted for none of the pool's {usable.size} images"
    return f"class {context.name(target)!r} is {seen}; {near}"
