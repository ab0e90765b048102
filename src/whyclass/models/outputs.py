"""Whether a model gives logits or probabilities, and the logits of those."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from whyclass.errors import ModelError
from whyclass.models.forward import run

SCALES = (0.1, 1.0, 3.0, 30.0, 1000.0)
"""Images are multiplied with these: logits then grow, and probabilities do not."""

ROUNDED = 1e-2
"""How far the sum of rounded probabilities may be from one."""

FULL = 0.02
"""Probabilities nearer to zero or one than this are saturated."""

LOWEST, HIGHEST = torch.finfo(torch.float32).tiny, 1 - 2**-24
"""Where probabilities of float32 end that are neither zero nor one."""


def _log(output: Tensor) -> Tensor:
    return output.clamp(min=LOWEST).log()


def _logit(output: Tensor) -> Tensor:
    p = output.clamp(LOWEST, HIGHEST)
    return p.log() - (1 - p).log()  # not log1p, which varies at one on no scale of its own


LINKS: dict[str, Callable[[Tensor], Tensor]] = {"": lambda output: output, "softmax": _log, "sigmoid": _logit}
"""From what a model gives to logits, by the function that its output went through."""


def link_of(model: nn.Module, example: Tensor) -> str:
    """The row of ``LINKS`` that a model's output needs, told by its outputs for noise of several scales.

    Probabilities of a softmax are never negative and sum to one over the classes; those of a sigmoid lie
    between zero and one, however strong the image, and reach both or come out of a sigmoid.
    """
    images = torch.cat([scale * example[:1] for scale in SCALES])
    with torch.no_grad(), _Sigmoids() as sigmoids:
        try:
            output: Any = run(model, images)
        except ModelError:  # it is told elsewhere what such a model lacks
            return ""
    if not isinstance(output, Tensor) or output.dim() not in (1, 2, 4):
        return ""
    whole = output.reshape(len(output), -1, *output.shape[2:])
    rows = whole[whole.flatten(1).isfinite().all(1)].float()
    if not _within(rows):
        return ""
    if _sums_to_one(rows):
        return "softmax"
    return "sigmoid" if sigmoids.gave(output) or _saturated(rows) else ""


def _within(rows: Tensor) -> bool:
    """Whether there are some, all of which may be probabilities."""
    return len(rows) > 1 and bool(rows.min() >= 0) and bool(rows.max() <= 1 + ROUNDED)


def _sums_to_one(rows: Tensor) -> bool:
    return rows.shape[1] > 1 and bool(((rows.sum(1) - 1).abs() < ROUNDED).all())


def _saturated(rows: Tensor) -> bool:
    """Whether the strongest image's outputs reach zero and one, which none goes beyond."""
    strongest = rows[-1]
    return bool((strongest < FULL).any() and (strongest > 1 - FULL).any() and rows.max() <= 1)


class _Sigmoids(TorchFunctionMode):
    """Remembers what the last sigmoid gave."""

    def __init__(self) -> None:
        super().__init__()
        self.last: Tensor | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Any function of torch that is called meanwhile."""
        found = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "").strip("_") in ("sigmoid", "expit", "hardsigmoid"):
            self.last = found
        return found

    def gave(self, output: Tensor) -> bool:
        """Whether the output is what the last sigmoid gave."""
        last = self.last
        if last is None or last.numel() != output.numel() or len(last) != len(output):
            return False
        return torch.equal(last.reshape(output.shape), output)  # of one logit the second axis may be gone
