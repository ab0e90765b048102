"""SmoothGrad over DeepLift at a layer: how much each cell speaks for the class.

Notation
--------
``x``
    an image (C, S, T); ``A`` its activations (c, h, w); ``B`` the baseline's.
``m``
    noisy copies of each image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from whyclass.attribution import deeplift, methods
from whyclass.attribution.copies_together import Passing
from whyclass.attribution.methods import Baseline
from whyclass.attribution.noise import with_copies
from whyclass.errors import AttributionError
from whyclass.exact_products import exact_products
from whyclass.models.split import Split
from whyclass.models.tasks import Target, class_map, difference, logit, logit_within
from whyclass.pool.indexing_pass import Trunk
from whyclass.records import COMPLETENESS_BOUND
from whyclass.settings import Settings


@dataclass(frozen=True)
class Scores:
    """Scores of the cells of several images.

    ``cells`` has shape (n, h, w), float32, zero or above: in logits per channel; ``signed`` is the
    attribution's mean over channels, negatives kept, of the same shape. ``missed`` holds for each noisy copy
    by how much its attribution misses the change of the logit, and ``changes`` how large that is, without
    sign, shape (n, m); where much is missed, ``unruled`` names the operations that have no rule.
    """

    cells: np.ndarray = field(repr=False)
    signed: np.ndarray = field(repr=False)
    missed: np.ndarray = field(repr=False)
    changes: np.ndarray = field(repr=False)
    unruled: tuple[str, ...] = ()

    @property
    def errors(self) -> np.ndarray:
        """The relative completeness error of each noisy copy, shape (n, m)."""
        return relative(self.missed, self.changes)


def relative(missed: np.ndarray, changes: np.ndarray) -> np.ndarray:
    """What was missed, by what it should have been; 0 where both are, infinite where only the latter is."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(missed == 0, 0.0, missed / changes))


def completeness_error(missed: np.ndarray, changes: np.ndarray) -> float:
    """All that was missed, by all that it should have been: a ratio of sums.

    Of single copies whose logit is nearly the baseline's the ratio is large and says nothing.
    """
    return float(relative(np.asarray(missed.sum()), np.asarray(changes.sum())))


@dataclass(frozen=True)
class Question:
    """For which class the cells of images are to speak.

    Attributes
    ----------
    target
        Class whose logit, before softmax, is attributed.
    baseline
        `prepare`'s for the class.
    dense
        Whether the model segments, so that the settings' ``target`` decides which pixels' logits are.
    against
        Class whose logit is taken off it; None where the target alone is asked about.
    """

    target: int
    baseline: Baseline
    dense: bool = False
    against: int | None = None

    def of(self, one: Callable[[int], Target]) -> Target:
        """What is attributed, of a target for each class."""
        mine = one(self.target)
        return mine if self.against is None else difference(mine, one(self.against))


@exact_products()
def prepare(split: Split, image: Tensor, target: Target) -> Baseline:
    """The baseline of a constant ``image`` (1, C, S, T); computed once for a class, with TF32 off.

    Where the layer is bypassed the rest of the model depends on each image, so nothing can be kept.

    Raises
    ------
    AttributionError
        If the model gives another output while its operations follow the rules of DeepLift.
    """
    with torch.no_grad():
        activations = split.trunk(image.to(split.example))
    return prepared(split, activations, image, target)


def prepared(split: Split, activations: Tensor, image: Tensor, target: Target) -> Baseline:
    """The baseline of a constant image whose activations (1, c, h, w) are known; raises as `prepare`."""
    if split.bypassed:
        return Baseline(activations)
    tape = deeplift.record(split.head, activations, target)
    with torch.no_grad():
        plain = target(split.head(activations, image))
    if not torch.allclose(tape.output, plain, rtol=1e-3, atol=1e-3):
        raise AttributionError(
            f"with the rules of DeepLift the model gives {tape.output.item():.4g}, else {plain.item():.4g}; "
            "an operation of it is not understood: try method='gradient'"
        )
    return Baseline(activations, tape)


def smoothgrad(
    split: Split,
    trunk: Trunk,
    images: Iterable[tuple[Tensor, str]],
    question: Question,
    settings: Settings,
    advance: Callable[[int], None] = lambda done: None,
) -> Scores:
    """Score the cells of each image by its attribution, averaged over noisy copies (paper, 4.1).

    TF32 is off meanwhile: with it an attribution adds up a thousand times less exactly.

    Parameters
    ----------
    trunk
        What computes the noisy images' activations: the split's own, or a fast copy of it.
    images
        Tensors (C, S, T) with their content hashes, which seed their noise: an image gets the same
        noise whatever is attributed beside it.

    Raises
    ------
    AttributionError
        If an attribution is not finite.
    """
    asked = [Asked(split, question)]
    return at_layers(asked, lambda copies: [trunk(copies)], images, settings, advance)[0]


@dataclass(frozen=True)
class Asked:
    """For which class the cells of which layer are to speak."""

    split: Split
    question: Question


@exact_products()
def at_layers(
    asked: Sequence[Asked],
    trunks: Callable[[Tensor], Sequence[Tensor]],
    images: Iterable[tuple[Tensor, str]],
    settings: Settings,
    advance: Callable[[int], None] = lambda done: None,
) -> list[Scores]:
    """The same at several layers of one model; noisy copies pass once, with TF32 off.

    ``trunks`` gives copies' activations for each that is asked.
    """
    dense = any(one.question.dense and settings.target == "confident" for one in asked)
    found, passing = [_Found() for _ in asked], Passing(asked[0].split, alone=dense)
    for given in passing.blocks(with_copies(images, settings, passing.device)):
        wanted = [wanted_of(one.split, given[0][0], one.question, settings) for one in asked]
        attribute = partial(_attribute, asked, trunks, wanted, settings)
        copies = torch.cat([copies for _, copies in given]) if len(given) > 1 else given[0][1]
        parts = passing.through(copies, attribute)
        for own, mine in zip(found, zip(*parts, strict=True), strict=True):
            own.take(mine, len(given), settings.relu)
        advance(len(given))
    return [own.scores(one, settings) for own, one in zip(found, asked, strict=True)]


def _attribute(
    asked: Sequence[Asked],
    trunks: Callable[[Tensor], Sequence[Tensor]],
    wanted: Sequence[tuple[Baseline, Target]],
    settings: Settings,
    copies: Tensor,
) -> list[deeplift.Attribution]:
    """Attributions of noisy copies for each that is asked, of what is ``wanted`` of it."""
    with torch.no_grad():
        activations, found = trunks(copies), []
    for one, mine, (against, target) in zip(asked, activations, wanted, strict=True):
        found.append(methods.METHODS[settings.method](one.split, mine, copies, against, target))
    return found


class _Found:
    """Scores of the images that have been, for one question."""

    def __init__(self) -> None:
        self._images: list[OfImage] = []

    def take(self, made: Sequence[deeplift.Attribution], images: int, relu: str) -> None:
        """Take the copies of some images, equally many of each: in several parts of one image, or in one."""
        # in the plain layout, which decides the rounding
        totals = made[0].values.new_zeros(images, *made[0].values.shape[1:])
        for one in made:
            totals += one.values.sum(0) if images == 1 else one.values.unflatten(0, (images, -1)).sum(1)
        sums = torch.cat([torch.stack([one.missed, one.difference.abs()]) for one in made], 1)
        of_each = zip(totals, sums.chunk(images, 1), strict=True)
        self._images += [OfImage.of(total, told, relu) for total, told in of_each]
        self._last = made[-1]

    def scores(self, asked: Asked, settings: Settings) -> Scores:
        """Of all images."""
        return gathered(self._images, self._last, asked, settings)


@dataclass(frozen=True)
class OfImage:
    """One image's scores (h, w), the signed ones, what was missed of how much (2, m), and if all is finite.

    Wherever they were computed: a card is not waited for.
    """

    cells: Tensor = field(repr=False)
    signed: Tensor = field(repr=False)
    sums: Tensor = field(repr=False)
    finite: Tensor

    @classmethod
    def of(cls, total: Tensor, sums: Tensor, relu: str) -> OfImage:
        """Of an attribution's sum (c, h, w) over copies."""
        mean = total / sums.shape[1]
        return cls(score_cells(mean, relu), mean.mean(0), sums, mean.isfinite().all())


def gathered(
    images: Sequence[OfImage], last: deeplift.Attribution, asked: Asked, settings: Settings
) -> Scores:
    """Scores of some images; ``last`` is an attribution of copies of one of them."""
    if not bool(torch.stack([one.finite for one in images]).all()):
        raise AttributionError(
            f"the attribution of class {asked.question.target} is not finite; does the model hold NaN?"
        )
    cells, signed, sums = (
        torch.stack([getattr(one, name) for one in images]).cpu() for name in ("cells", "signed", "sums")
    )
    missed, changes = sums.double().unbind(1)
    made = Scores(cells.numpy(), signed.numpy(), missed.numpy(), changes.numpy())
    return told(made, settings.method, last, asked.split.layer)


def wanted_of(split: Split, image: Tensor, question: Question, settings: Settings) -> tuple[Baseline, Target]:
    """What is attributed of one image, and against which baseline."""
    if not (question.dense and settings.target == "confident"):
        return question.baseline, question.of(logit)
    inside = _confident(split, image, question.target)
    return replace(question.baseline, tape=None), question.of(lambda one: logit_within(one, inside))


def told(found: Scores, method: str, last: deeplift.Attribution, layer: str) -> Scores:
    """Scores, where much is missed with the operations that may be why, by an attribution of copies."""
    much = not completeness_error(found.missed, found.changes) <= COMPLETENESS_BOUND
    return _with_suspects(found, last, layer) if method == "deeplift" and much else found


def _with_suspects(found: Scores, last: deeplift.Attribution, layer: str) -> Scores:
    """Scores that miss much, with the operations that may be why, by an attribution of copies."""
    if not found.signed.any():
        raise AttributionError(
            f"no gradient of the class comes back to layer {layer!r}, though it changes with the cells; "
            f"operations that pass none: {', '.join(last.lost or last.unruled) or 'unknown'}"
        )
    return replace(found, unruled=tuple(sorted({*last.unruled, *last.lost})))


def score_cells(attribution: Tensor, relu: str) -> Tensor:
    """Score (h, w) of each cell: mean of the attribution (c, h, w) over channels, negatives cut.

    ``relu="after"`` the mean is the paper's order, ``"before"`` it the authors' code's.
    """
    return attribution.mean(0).relu() if relu == "after" else attribution.relu().mean(0)


def _confident(split: Split, image: Tensor, target: int) -> Tensor:
    """Where the clean image (C, S, T) is of a class: (S, T), bool."""
    with torch.no_grad():
        output = split.whole(image[None].to(split.example))
    inside = class_map(output, target, split.link)[0]
    if not inside.any():  # another order of sums left its highest score at one half
        inside = output[0, target] == output[0, target].max()
    return inside
