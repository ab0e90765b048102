"""Modules that cannot be explained as they are, and what to give instead."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.parameter import is_lazy

from whyclass.errors import ModelError
from whyclass.models.forward import HALF, widen

QUANTISED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.nn.quantized")
"""Packages of layers that compute in integers, and so have no gradient."""

CLOSE = 1e-3
"""Difference between two outputs, relative to the largest, up to which they are the same."""


def check_kind(model: nn.Module) -> None:
    """Refuse a module whose parts cannot be seen or give no gradient.

    Raises
    ------
    ModelError
        If the module or a part of it is scripted, exported, quantised, lazy, or holds no values.
    """
    modules = dict(model.named_modules())
    for name, module in modules.items():
        if isinstance(module, torch.jit.ScriptModule):
            raise ModelError(
                f"{_named(name)} is scripted or traced (torch.jit), so its layers cannot be looked into; "
                "give the module that it was made from, with the same state_dict"
            )
        if type(module).__module__.startswith(QUANTISED):
            raise ModelError(
                f"{_named(name)} is quantised ({type(module).__name__}), and no gradient passes integers; "
                "give the model of floating point that it was made from"
            )
        if is_lazy_module(module):
            raise ModelError(
                f"{_named(name)} ({type(module).__name__}) has no weights yet; call the model once on an "
                "image and load its trained weights first"
            )
    if isinstance(model, fx.GraphModule) and "eval" in vars(model):
        raise ModelError(
            "the model is exported (torch.export), a fixed program without layers to look into; give the "
            "module that it was made from, with the same state_dict"
        )
    if any(one.is_meta for one in model.parameters()):
        raise ModelError("the model is on the device meta and holds no values; load its weights first")


def check_no_detector(model: nn.Module, output: Any) -> None:
    """Refuse a model that gives boxes, by its kind or by its ``output``.

    Raises
    ------
    ModelError
        If it does.
    """
    if isinstance(output, Tensor) and output.dim() == 2:
        return  # one number for each class: somebody has wrapped it
    first = output[0] if isinstance(output, (list, tuple)) and output else output
    held = (
        set(first)
        if isinstance(first, Mapping)
        else set(vars(first))
        if hasattr(first, "__dict__")
        else set()
    )
    kinds = {(type(one).__module__, type(one).__name__) for one in model.modules()}
    named = any(DETECTOR.search(f"{home}.{name}") for home, name in kinds)
    if named or held & BOXES:
        raise ModelError(DETECTION.format(name=type(model).__name__))


DETECTOR = re.compile(
    r"^torchvision\.models\.detection\.|^transformers\..*ForObjectDetection$|^ultralytics\..*DetectionModel$"
)
"""Modules that a detector is made of, by package and class."""

BOXES = {"boxes", "pred_boxes", "bbox_regression"}
"""Under which names detectors give boxes."""

DETECTION = (
    "{name} detects objects, and detection cannot be explained yet: as task give a function from its "
    "output to "
    "one number for each image, such as the best score of a class, or explain a classifier"
)
"""What is said of a detector."""


def is_lazy_module(module: nn.Module) -> bool:
    """Whether a module itself waits for its first call to get its weights."""
    own = (*module._parameters.values(), *module._buffers.values())
    return any(one is not None and is_lazy(one) for one in own)


def _named(name: str) -> str:
    return f"the model's part {name!r}" if name else "the model"


def in_single_precision(model: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """The model, or a copy of it in float32 where its weights are of half precision; and a note of that."""
    short = sorted({str(p.dtype).removeprefix("torch.") for p in model.parameters() if p.dtype in HALF})
    if not short:
        return model, ()
    wide = copy.deepcopy(model)
    widen(wide)
    return wide, (f"the model's weights are {' and '.join(short)}; it was computed in float32",)


def check_repeats(model: nn.Module, give: Callable[[Tensor], Tensor], images: Tensor, whole: Tensor) -> None:
    """Refuse a model whose output for an image depends on chance, on earlier calls or on other images.

    Raises
    ------
    ModelError
        If ``whole``, what ``give`` made of its output for the images (2, channels, S, T), is not what it
        gives for each alone.
    """
    alone = [give(image[None]) for image in images]
    if _close(torch.cat([one for one in alone if isinstance(one, Tensor)]), whole):
        return
    if not _close(give(images), whole):
        return  # it is random, or keeps state, which the proof of the cut will show
    batch = [name for name, module in model.named_modules() if _of_the_batch(module)]
    why = f" ({batch[0]!r} is a batch norm without running statistics)" if batch else ""
    raise ModelError(
        f"what the model gives for an image depends on the others beside it{why}; give a model whose output "
        "is the image's own, such as with track_running_stats=True"
    )


def _of_the_batch(module: nn.Module) -> bool:
    stray: Any = getattr(module, "running_mean", 0)
    return isinstance(module, nn.modules.batchnorm._BatchNorm) and stray is None


def _close(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool((a - b).abs().max() <= CLOSE * b.abs().max().clamp(min=1e-6))
