"""What a layer's output says about whether the layer can be explained."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from whyclass.errors import LayerError
from whyclass.grid import Crops
from whyclass.models.layer_layouts import Form, form_of, is_attention, within
from whyclass.settings import Settings

NO_MAP = "needed is (n, c, h, w)"


@dataclass(frozen=True)
class LayerInfo:
    """A layer as listed by ``layers``.

    ``crop`` is the (height, width) in pixels of the crops it would show; ``problem`` is empty
    where the layer can be explained, else says why not; ``signed`` whether activations are negative;
    ``form`` how its output is a map.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    crop: tuple[int, int] | None
    problem: str
    signed: bool = False
    form: Form | None = None


def get_layer(model: nn.Module, layer: str) -> nn.Module:
    """The module at a path; an unknown one raises ``LayerError`` that names the nearest."""
    modules = dict(model.named_modules())
    if layer and layer in modules:
        return modules[layer]
    names = [name for name in modules if name]
    near = difflib.get_close_matches(layer, names, n=5, cutoff=0.4) or names[-5:]
    raise LayerError(f"the model has no layer {layer!r}; did you mean {', '.join(near)}?")


def of_images(info: LayerInfo, rows: int) -> LayerInfo:
    """The layer's entry, with a problem noted where its rows are not images; ``rows`` it has for two."""
    if info.problem or (info.shape[0], rows) == (1, 2):
        return info
    return _refused(
        info,
        f"its output has {info.shape[0]} rows for one image and {rows} for two; "
        "they are windows, heads or positions, not images",
    )


def of_places(info: LayerInfo, infos: Mapping[str, LayerInfo]) -> LayerInfo:
    """The layer's entry, with a problem noted where the module around it shows its cells to be no places."""
    name, around = info.name, None
    while "." in name and around is None:
        name = name.rpartition(".")[0]
        around = infos[name].form if name in infos else None
    if info.form is None or around is None or around.name != "tokens":
        return info
    why = within(info.shape, info.form, (infos[name].shape[1], infos[name].shape[2]))
    return _refused(info, f"its shape {info.shape} {why} of {name!r}") if why else info


def _refused(info: LayerInfo, problem: str) -> LayerInfo:
    return LayerInfo(info.name, info.kind, info.shape, None, problem)


def unplaced(info: LayerInfo) -> bool:
    """Whether a layer has tokens for one image whose places its shape alone does not tell."""
    return len(info.shape) == 3 and info.shape[0] == 1 and (not info.problem or NO_MAP in info.problem)


def called_once(infos: list[LayerInfo]) -> LayerInfo:
    """The layer's entry, with a problem noted where it is called several times."""
    last = infos[-1]
    if len(infos) == 1:
        return last
    return _refused(last, f"it is called {len(infos)} times in one pass")


def describe(name: str, module: nn.Module, output: Any, image: tuple[int, int]) -> LayerInfo:
    """What a layer's output says about whether it can be explained."""
    kind = type(module).__name__
    if not isinstance(output, Tensor):
        return LayerInfo(name, kind, (), None, f"its output is no tensor but a {type(output).__name__}")
    shape = tuple(output.shape)
    form = form_of(shape, image)
    if form is None:
        return LayerInfo(
            name,
            kind,
            shape,
            None,
            f"its output has shape {shape}, {NO_MAP} with h and w in the proportions of the image, or "
            "tokens of a grid",
            signed=bool(output.is_floating_point() and output.min() < 0),
        )
    crop = Crops(form.shape[1:], at=Settings().crop_at).size(image)
    if not torch.isfinite(output).all():
        return LayerInfo(name, kind, shape, crop, "its output is not finite")
    if is_attention(output, form):
        return LayerInfo(name, kind, shape, None, f"its output of shape {shape} is attention weights")
    return LayerInfo(name, kind, shape, crop, "", bool(output.min() < 0), form)


def beside(model: nn.Module, layer: str, infos: dict[str, LayerInfo]) -> str:
    """The explainable layers nearest to ``layer`` in the order of the modules, as a sentence."""
    names = [name for name, _ in model.named_modules()]
    here = names.index(layer)
    able = [name for name in names if name in infos and not infos[name].problem]
    good = [name for name in able if not infos[name].signed] or able
    near = sorted(good, key=lambda name: (abs(names.index(name) - here), -names.index(name)))[:3]
    return f" Nearest that can: {', '.join(near)}." if near else " No layer of this model can."
