"""SmoothGrad over DeepLift at a layer: how much each cell speaks for the class.

Notation
--------
``x``
    an image (C, S, T); ``A`` its activations (c, h, w); ``B`` the baseline's.
``m``
    noisy copies of each image.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from whyclass.attribution import deeplift
from whyclass.errors import AttributionError
from whyclass.models.exact_products import exact_products
from whyclass.models.split import Split
from whyclass.models.tasks import Target, class_map, logit, logit_within
from whyclass.pool.indexing_pass import Trunk
from whyclass.records import COMPLETENESS_BOUND
from whyclass.settings import Settings, seed_of

BATCH = 32

AHEAD = 8
"""Images whose noise is drawn at a time while a device other than the processor computes."""


@dataclass(frozen=True)
class Scores:
    """Scores of the cells of several images.

    ``cells`` has shape (n, h, w), float32, zero or above: in logits per channel; ``signed`` is the
    attribution's mean over channels, negatives kept, of the same shape. ``errors`` holds the relative
    completeness error of each noisy copy, shape (n, m); where they are large, ``unruled`` names the
    operations that have no rule.
    """

    cells: np.ndarray = field(repr=False)
    signed: np.ndarray = field(repr=False)
    errors: np.ndarray = field(repr=False)
    unruled: tuple[str, ...] = ()


class Method(Protocol):
    """A row of ``METHODS``: from activations (n, c, h, w) to their attribution and its errors (n,)."""

    def __call__(
        self, split: Split, activations: Tensor, images: Tensor, baseline: Baseline, target: Target
    ) -> tuple[Tensor, Tensor]:
        """Attribute the target, such as a class's logit, to the activations."""


@dataclass(frozen=True)
class Baseline:
    """The layer's activations (1, c, h, w) of the reference image, and what a method keeps of them."""

    activations: Tensor = field(repr=False)
    tape: deeplift.Tape | None = field(repr=False, default=None)


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
    """

    target: int
    baseline: Baseline
    dense: bool = False


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


@dataclass(frozen=True)
class Asked:
    """Which class's cells are scored at which layer."""

    split: Split
    question: Question


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


@exact_products()
def at_layers(
    asked: Sequence[Asked],
    trunks: Callable[[Tensor], Sequence[Tensor]],
    images: Iterable[tuple[Tensor, str]],
    settings: Settings,
    advance: Callable[[int], None] = lambda done: None,
) -> list[Scores]:
    """The same at several layers of one model; noisy copies pass once.

    ``trunks`` gives copies' activations at each of the layers.
    """
    sums = [_Sum(one, settings) for one in asked]
    example = asked[0].split.example
    for image, drawn in with_copies(images, settings, example.device):
        for one in sums:
            one.begin(image)
        for copies in drawn.split(asked[0].split.together(BATCH)):
            copies = copies.to(example)
            with torch.no_grad():
                found = trunks(copies)
            for one, activations in zip(sums, found, strict=True):
                one.add(copies, activations)
        for one in sums:
            one.end()
        advance(1)
    return [one.scores() for one in sums]


class _Sum:
    """Attributions at a layer: of an image's noisy copies their sum, and of each image its scores."""

    def __init__(self, asked: Asked, settings: Settings) -> None:
        self._split, self._question, self._settings = asked.split, asked.question, settings
        self._found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._last: tuple[Tensor, Tensor] | None = None

    def begin(self, image: Tensor) -> None:
        """An image (C, S, T), whose copies come next."""
        target, baseline = self._question.target, self._question.baseline
        within = self._question.dense and self._settings.target == "confident"
        self._wanted = _confident(self._split, image, target) if within else logit(target)
        self._against = replace(baseline, tape=None) if within else baseline
        self._total = torch.zeros(self._split.shape, device=self._split.example.device)
        self._errors: list[Tensor] = []

    def add(self, copies: Tensor, activations: Tensor) -> None:
        """Some of its copies (m, C, S, T), and theirs (m, c, h, w)."""
        method = METHODS[self._settings.method]
        values, error = method(self._split, activations, copies, self._against, self._wanted)
        self._total += values.sum(0)
        self._errors.append(error.cpu())
        self._last = (activations, copies)

    def end(self) -> None:
        """All its copies were there."""
        attribution = self._total / self._settings.copies
        if not attribution.isfinite().all():
            raise AttributionError(
                f"the attribution of class {self._question.target} is not finite; does the model hold NaN?"
            )
        cells = score_cells(attribution, self._settings.relu).cpu().numpy()
        errors = torch.cat(self._errors).double().numpy()
        self._found.append((cells, attribution.mean(0).cpu().numpy(), errors))

    def scores(self) -> Scores:
        """Of all images."""
        cells, signed, errors = (np.stack(part) for part in zip(*self._found, strict=True))
        found = Scores(cells, signed, errors)
        if self._settings.method == "deeplift" and found.errors.mean() > COMPLETENESS_BOUND:
            assert self._last is not None
            last = _attributed(self._split, *self._last, self._against, self._wanted)
            return _with_suspects(found, last, self._split.layer)
        return found


def _with_suspects(found: Scores, last: deeplift.Attribution, layer: str) -> Scores:
    """Scores that miss much, with the operations that may be why, by an attribution of copies."""
    if not found.signed.any():
        raise AttributionError(
            f"no gradient of the class comes back to layer {layer!r}, though it changes with the cells; "
            f"operations that pass none: {', '.join(last.lost or last.unruled) or 'unknown'}"
        )
    return replace(found, unruled=tuple(sorted({*last.unruled, *last.lost})))


def noisy_copies(image: Tensor, digest: str, settings: Settings) -> Tensor:
    """``m`` copies (m, C, S, T) of an image with normal noise in normalised space (SmoothGrad)."""
    if settings.noise == 0:
        return image.expand(settings.copies, *image.shape)
    generator = torch.Generator().manual_seed(seed_of("noise", settings.seed, digest))
    noise = torch.randn(settings.copies, *image.shape, generator=generator)
    return noise.mul_(settings.noise).add_(image.cpu())


def with_copies(
    images: Iterable[tuple[Tensor, str]], settings: Settings, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Each image with its noisy copies; the same ones whether they are drawn ahead or not.

    Noise comes from the processor whatever computes, and takes it longer than a card takes for the copies.
    """
    if device.type == "cpu":
        for image, digest in images:
            yield image, noisy_copies(image, digest, settings)
        return
    waiting = deque[tuple[Tensor, Future[Tensor]]]()
    with ThreadPoolExecutor(AHEAD) as threads:
        for image, digest in images:
            waiting.append((image, threads.submit(noisy_copies, image, digest, settings)))
            if len(waiting) > AHEAD:
                first, copies = waiting.popleft()
                yield first, copies.result()
        for first, copies in waiting:
            yield first, copies.result()


def score_cells(attribution: Tensor, relu: str) -> Tensor:
    """Score (h, w) of each cell: mean of the attribution (c, h, w) over channels, negatives cut.

    ``relu="after"`` the mean is the paper's order, ``"before"`` it the authors' code's.
    """
    return attribution.mean(0).relu() if relu == "after" else attribution.relu().mean(0)


def _confident(split: Split, image: Tensor, target: int) -> Target:
    """The class's mean logit, summed only where the clean image (C, S, T) is of that class."""
    with torch.no_grad():
        output = split.whole(image[None].to(split.example))
    inside = class_map(output, target, split.link)[0]
    if not inside.any():  # another order of sums left its highest score at one half
        inside = output[0, target] == output[0, target].max()
    return logit_within(target, inside)


def _deeplift(
    split: Split, activations: Tensor, images: Tensor, baseline: Baseline, target: Target
) -> tuple[Tensor, Tensor]:
    found = _attributed(split, activations, images, baseline, target)
    return found.values, found.error


def _attributed(
    split: Split, activations: Tensor, images: Tensor, baseline: Baseline, target: Target
) -> deeplift.Attribution:
    def head(a: Tensor) -> Tensor:
        return split.head(a, images)

    tape = baseline.tape
    if tape is None:  # what bypasses the layer comes from each image, for the baseline's rows too
        rows = baseline.activations.expand_as(activations) if split.bypassed else baseline.activations
        tape = deeplift.record(head, rows, target)
    return deeplift.attribute(head, activations, tape, target)


def _gradient(
    split: Split, activations: Tensor, images: Tensor, baseline: Baseline, target: Target
) -> tuple[Tensor, Tensor]:
    """Gradient times difference from the baseline: DeepLift's first-order stand-in, for comparison."""
    with torch.enable_grad():
        leaf = activations.detach().requires_grad_()
        output = target(split.head(leaf, images))
        (gradient,) = torch.autograd.grad(output.sum(), leaf, materialize_grads=True)
    with torch.no_grad():
        rows = baseline.activations.expand_as(activations)
        reference = target(split.head(rows, images))
        values = gradient * (activations - rows)
        difference = (output - reference).double()
        error = (values.double().sum((1, 2, 3)) - difference).abs()
        return values, torch.where(error == 0, 0.0, error / difference.abs())


METHODS: dict[str, Method] = {"deeplift": _deeplift, "gradient": _gradient}
"""Attribution methods by name; each is complete up to the error that it reports."""
