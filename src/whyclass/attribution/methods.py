"""Attribution methods: how much each activation of a layer adds to a target, as rows of a table.

Notation
--------
``A`` (n, c, h, w)
    activations of images; ``B`` the baseline's, (1, c, h, w) or (n, c, h, w).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from whyclass.attribution import deeplift
from whyclass.models.split import Split
from whyclass.models.tasks import Target


class Method(Protocol):
    """A row of ``METHODS``: from activations (n, c, h, w) to their attribution.

    ``images`` (n, C, S, T) are what the activations are of: the head needs them where something bypasses
    the layer. What is returned holds ``multipliers`` too, whose product with ``A - B`` are its values.
    """

    def __call__(
        self, split: Split, activations: Tensor, images: Tensor, baseline: Baseline, target: Target
    ) -> deeplift.Attribution:
        """Attribute the target, such as a class's logit, to the activations."""


@dataclass(frozen=True)
class Baseline:
    """The layer's activations (1, c, h, w) of the reference image, and what a method keeps of them."""

    activations: Tensor = field(repr=False)
    tape: deeplift.Tape | None = field(repr=False, default=None)


def _deeplift(
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
) -> deeplift.Attribution:
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
        missed = (values.double().sum((1, 2, 3)) - difference).abs()
    return deeplift.Attribution(values, output.detach(), difference, missed, (), multipliers=gradient)


def multipliers(
    split: Split, activations: Tensor, images: Tensor, baseline: Baseline, target: Target, method: str
) -> tuple[Tensor, Tensor, Tensor]:
    """What one unit of each activation (n, c, h, w) counts for the target, by a row of ``METHODS``.

    Returns
    -------
    tuple
        Multipliers (n, c, h, w), whose product with ``activations - baseline`` is the attribution; the
        target's values (n,) for the images, and for the baseline, (1,) or (n,).
    """
    found = METHODS[method](split, activations, images, baseline, target)
    assert found.multipliers is not None
    return found.multipliers, found.output, (found.output.double() - found.difference).float()


METHODS: dict[str, Method] = {"deeplift": _deeplift, "gradient": _gradient}
"""Attribution methods by name; each is complete up to what it says is missed."""
