"""How a layer's output is a map: the plain one, channels last, or tokens on a grid.

Notation
--------
``(n, c, h, w)``
    a map of ``c`` channels; ``T`` tokens of a transformer, of which some, mostly the first ``p``, stand for
    no place.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

MOST = 16
"""Tokens that may stand for no place by the shape alone: a class token, one for distillation, registers."""

FURTHEST = 100
"""Tokens that may stand for no place where the others are found by their reactions to the image."""

MARGIN = 2
"""Cells by which a map may miss the image's proportions: strides round, and convolutions cut edges."""


@dataclass(frozen=True)
class Form:
    """The form of a layer's output.

    Attributes
    ----------
    name
        ``"map"``: (n, c, h, w). ``"channels last"``: (n, h, w, c). ``"tokens"``: (n, T, c), ``T = p + h*w``.
        ``"tokens last"``: (n, c, T).
    shape
        (c, h, w) of the map.
    prefix
        ``p``, the tokens that stand for no place; they are set apart, and stay as each image has them.
    places
        The token of each cell, row by row; empty where they are all those after the first ``p``, in order.
    """

    name: str
    shape: tuple[int, int, int]
    prefix: int = 0
    places: tuple[int, ...] = ()

    def to_map(self, output: Tensor) -> Tensor:
        """The map (n, c, h, w) of the layer's output."""
        if self.name == "channels last":
            return output.permute(0, 3, 1, 2)
        if self.name == "tokens":
            tokens = output[:, list(self.places)] if self.places else output[:, self.prefix :]
            return tokens.transpose(1, 2).unflatten(2, self.shape[1:])
        if self.name == "tokens last":
            last = output[:, :, list(self.places)] if self.places else output[:, :, self.prefix :]
            return last.unflatten(2, self.shape[1:])
        return output

    def to_output(self, activations: Tensor, own: Tensor) -> Tensor:
        """The layer's output with ``activations`` (n, c, h, w) as its map; ``own`` is what it gave itself."""
        if self.name == "channels last":
            return activations.permute(0, 2, 3, 1)
        if self.name in ("tokens", "tokens last"):
            axis = 1 if self.name == "tokens" else 2
            grid = activations.flatten(2)
            grid = grid.transpose(1, 2) if axis == 1 else grid
            if self.places:
                at = torch.tensor(self.places, device=grid.device)
                whole = own.expand(len(grid), *own.shape[1:])
                return whole.to(grid.dtype).index_copy(axis, at, grid)
            return torch.cat([own.narrow(axis, 0, self.prefix), grid], axis) if self.prefix else grid
        return activations


def form_of(shape: tuple[int, ...], image: tuple[int, int]) -> Form | None:
    """The form of an output of a shape, for images of (height, width); None where it is no map.

    Four dimensions are channels last where the first two of the last three, and not the last two, have the
    proportions of the image; a map is in those proportions up to ``MARGIN`` cells, else it is queries,
    windows or the like. Tokens are those of a grid in the image's proportions behind as few others
    as may be.
    """
    if len(shape) == 4:
        _, a, b, c = shape
        if b * image[1] != c * image[0] and a * image[1] == b * image[0]:
            return Form("channels last", (c, a, b))
        if _proportional(b, c, image):
            return Form("map", (a, b, c))
        return Form("channels last", (c, a, b)) if _proportional(a, b, image) else None
    if len(shape) == 3:
        tokens, channels = shape[1:]
        for prefix in range(min(MOST, tokens)):
            if (grid := _grid(tokens - prefix, image)) is not None:
                return Form("tokens", (channels, *grid), prefix)
    return None


def forms_of(shape: tuple[int, ...], image: tuple[int, int], usual: Form | None) -> list[Form]:
    """Forms of an output (n, a, b) that may be tokens of a grid: the usual one, then by their other tokens.

    At most as many stand for no place as for one.
    """
    found: list[Form] = []
    for name, tokens, channels in (("tokens", shape[1], shape[2]), ("tokens last", shape[2], shape[1])):
        grids = [(prefix, _grid(tokens - prefix, image)) for prefix in range(min(tokens // 2 + 1, FURTHEST))]
        found += [Form(name, (channels, *grid), prefix) for prefix, grid in grids if grid is not None]
    return sorted(found, key=lambda form: (form != usual, form.prefix, form.name != "tokens"))


def is_attention(output: Tensor, form: Form) -> bool:
    """Whether an output of that form is attention: weights over places that sum to one along its rows."""
    across = form.name == "map" or output.shape[1] == output.shape[2]
    if not across or output.shape[-1] == 1 or bool(output.min() < 0):
        return False
    return torch.allclose(output.sum(-1), output.new_ones(()), atol=1e-3)


def within(shape: tuple[int, ...], form: Form, tokens: tuple[int, int]) -> str:
    """Why an output of that shape, inside a module that gives ``tokens`` (T, c), is no map of places, or ''.

    It may hold the T tokens beside the heads of attention (queries, or scores of each pair), or the
    channels in the place of the tokens, as where a layer mixes tokens.
    """
    count, channels = tokens
    if form.name in ("tokens", "tokens last"):
        return "is that of tokens transposed" if shape[1] == channels != count else ""
    return f"is that of attention between {count} tokens" if count in form.shape[1:] else ""


def _proportional(h: int, w: int, image: tuple[int, int]) -> bool:
    return abs(h * image[1] - w * image[0]) <= MARGIN * max(image)


def _grid(count: int, image: tuple[int, int]) -> tuple[int, int] | None:
    """(h, w) with ``h * w == count`` and the image's proportions; one cell is no grid."""
    height = round((count * image[0] / image[1]) ** 0.5)
    if height > 1 and count % height == 0 and height * image[1] == (count // height) * image[0]:
        return height, count // height
    return None
