"""Which layers a choice is made among: the ends of the model's stages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import nn

from whyclass.grid import pooled_shape
from whyclass.models.layer_info import LayerInfo

MOST = 4
"""Layers tried, unless they are given."""


# ---------------------------------------------------------------- which layers


def candidates(model: nn.Module, infos: Sequence[LayerInfo], most: int = MOST) -> list[LayerInfo]:
    """The ends of a model's stages: for each size of crop the last layer of it, smallest crops first.

    Layers inside a block, such as a bottleneck of a ResNet, are not considered, since its skip goes around
    them. Layers after a ReLU are preferred to signed ones, then blocks to single operations. No layer has
    fewer than 2 x 2 pooled cells; of many sizes the largest are kept.
    Where there are only one or two sizes (as in a ViT), the longest row of equal blocks gives several
    layers, evenly spaced in depth.

    Parameters
    ----------
    infos
        ``whyclass.models.split.survey`` of the model.
    """
    able = {info.name: info for info in infos if info.form and not info.problem}
    rows = _rows_of_blocks(model, able)
    modules, units = dict(model.named_modules()), set(_units(model, "", able, rows))
    stages: dict[tuple[int, int], list[LayerInfo]] = {}
    for info in able.values():
        if info.name in units and info.crop and info.form and min(pooled_shape(*info.form.shape[1:])) >= 2:
            stages.setdefault(info.crop, []).append(info)

    def rank(info: LayerInfo) -> tuple[bool, bool, int]:
        block = any(True for _ in modules[info.name].children())
        return not info.signed, block, list(able).index(info.name)

    ends = [max(stages[crop], key=rank) for crop in sorted(stages, key=lambda crop: crop[0] * crop[1])][
        -most:
    ]
    longest = max(rows, key=len, default=[])
    if not longest or len(ends) > 2 or longest[0].crop not in stages:
        return ends
    others = [info for info in ends if info.crop != longest[0].crop]
    assert longest[0].form
    # what follows the last block of a ViT reads its class token alone: its other tokens say nothing
    reached = longest[:-1] if longest[0].form.prefix else longest
    own = _spaced(reached, most - len(others))
    return sorted([*others, *own], key=lambda info: info.crop or (0, 0))


def _rows_of_blocks(model: nn.Module, able: dict[str, LayerInfo]) -> list[list[LayerInfo]]:
    """Modules of one kind and output shape that follow each other in a list, with parts of their own."""
    rows: dict[tuple[str, str, tuple[int, ...]], list[LayerInfo]] = {}
    for path, parent in model.named_modules():
        if isinstance(parent, (nn.Sequential, nn.ModuleList)):
            for name, child in parent.named_children():
                info = able.get(f"{path}.{name}".lstrip("."))
                if info and not isinstance(child, nn.Sequential) and any(True for _ in child.children()):
                    rows.setdefault((path, info.kind, info.shape), []).append(info)
    return [row for row in rows.values() if len(row) > 1]


def _units(
    module: nn.Module, path: str, able: dict[str, LayerInfo], rows: list[list[LayerInfo]]
) -> Iterable[str]:
    """The outermost layers that are no mere containers of others."""
    for name, child in module.named_children():
        own = f"{path}{name}"
        holds = any(row[0].name.startswith(f"{own}.") for row in rows)
        if isinstance(child, nn.Sequential) or own not in able or holds:
            yield from _units(child, f"{own}.", able, rows)
        else:
            yield own


def _spaced(row: Sequence[LayerInfo], most: int) -> list[LayerInfo]:
    """At most so many of a row, evenly spaced, the last one among them."""
    count = min(most, len(row))
    return [row[(number + 1) * len(row) // count - 1] for number in range(count)]
