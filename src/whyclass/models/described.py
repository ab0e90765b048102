"""A model with what is known about it: preprocessing, channels, class names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from whyclass.errors import ClassError, ModelError
from whyclass.models.forward import run
from whyclass.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, INTERPOLATIONS, Preprocessing
from whyclass.models.readings import Reading
from whyclass.models.refusals import check_kind


@dataclass(frozen=True)
class Loaded:
    """A model with what is known about it.

    Attributes
    ----------
    name
        As the user gave it.
    model
        The module, in evaluation mode.
    preprocessing
        From a picture to its input.
    class_names
        By class index; empty where unknown.
    notes
        What was chosen for the user when it was loaded, in sentences.
    reading
        How its output is read.
    """

    name: str
    model: nn.Module = field(repr=False)
    preprocessing: Preprocessing
    class_names: tuple[str, ...] = field(repr=False, default=())
    notes: tuple[str, ...] = field(repr=False, default=())
    reading: Reading = field(repr=False, default=Reading())


def described(name: str, model: nn.Module, notes: tuple[str, ...] = ()) -> Loaded:
    """A module with what it says about itself; ImageNet's preprocessing where it says nothing.

    Read are ``model.preprocessing``, where it is a ``Preprocessing``, else ``model.pretrained_cfg``, a
    mapping with timm's names; and ``model.class_names``, a list or tuple of strings by class index.

    Raises
    ------
    ModelError
        If ``pretrained_cfg`` holds what cannot be a preprocessing.
    ClassError
        If ``class_names`` is anything else.
    """
    check_kind(model)
    own = getattr(model, "preprocessing", None)  # a layer of that name is the model's own affair
    config = getattr(model, "pretrained_cfg", None)
    if isinstance(own, Preprocessing):
        preprocessing = own
    else:
        preprocessing = _from_config(name, config) if isinstance(config, Mapping) else Preprocessing()
        preprocessing = suited(model, preprocessing)
    names = getattr(model, "class_names", ())
    if not isinstance(names, (list, tuple)) or not all(isinstance(label, str) for label in names):
        raise ClassError(f"class_names of {name} must be a list or tuple of strings, one for each class")
    return Loaded(name, model, preprocessing, tuple(names), notes)


def changed(preprocessing: Preprocessing, changes: dict[str, Any]) -> Preprocessing:
    """With the changes that are not None."""
    return replace(preprocessing, **{key: value for key, value in changes.items() if value is not None})


def suited(model: nn.Module, preprocessing: Preprocessing) -> Preprocessing:
    """The preprocessing with as many channels as the model takes.

    It stays as it is where the model takes them; else the channels are those of the model's first
    convolution, or one where it has none, with a mean and a standard deviation of 0.5 each.
    """
    first = _first_channels(model)
    if first == preprocessing.channels or _takes(model, preprocessing):
        return preprocessing
    grey = replace(preprocessing, mean=(0.5,) * (first or 1), std=(0.5,) * (first or 1))
    return grey if first or _takes(model, grey) else preprocessing


def sized(loaded: Loaded) -> Loaded:
    """With a note where the images have another size than the model says it was made for."""
    made, crop = _made_for(loaded.model), loaded.preprocessing.crop
    if made is None or made == crop:
        return loaded
    told = f"it was made for images of {_sides(made)} pixels and is given {_sides(crop)}"
    return replace(loaded, notes=tuple(dict.fromkeys((*loaded.notes, told))))


def _sides(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def _made_for(model: nn.Module) -> tuple[int, int] | None:
    """(height, width) of the images that a model says it takes, by the names that libraries use."""
    config = getattr(model, "pretrained_cfg", None)
    if isinstance(config, Mapping):
        own = config.get("input_size")
        size = own[1:] if isinstance(own, (tuple, list)) and len(own) == 3 else None
    else:
        size = getattr(model, "image_size", getattr(getattr(model, "config", None), "image_size", None))
    size = (size, size) if isinstance(size, int) else size
    if not isinstance(size, (tuple, list)) or len(size) != 2 or not all(isinstance(n, int) for n in size):
        return None
    return size[0], size[1]


def check_channels(loaded: Loaded) -> None:
    """Refuse a preprocessing of other channels than the model takes.

    Raises
    ------
    ModelError
        If the first convolution has other channels and the model cannot take these.
    """
    first, given = _first_channels(loaded.model), loaded.preprocessing
    if first not in (None, given.channels) and not _takes(loaded.model, given):
        plural = "" if first == 1 else "s"
        raise ModelError(
            f"the model takes {first} channel{plural} and the preprocessing gives {given.channels} (mean "
            f"{list(given.mean)}, std {list(given.std)}); give {first} number{plural} of mean and of std"
        )


def _first_channels(model: nn.Module) -> int | None:
    """Input channels of the first convolution, nearly always the model's own."""
    return next((m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d) and m.in_channels), None)


def _takes(model: nn.Module, preprocessing: Preprocessing) -> bool:
    """Whether the model runs on an image of this preprocessing: one may change the channels itself."""
    first = next(model.parameters(), torch.empty(0))
    like = first if first.is_floating_point() else torch.empty(0, device=first.device)
    try:
        with torch.no_grad():
            run(model, preprocessing.constant("ones").to(like))
    except ModelError:
        return False
    return True


def _from_config(name: str, config: Mapping[str, Any]) -> Preprocessing:
    """The preprocessing of a ``pretrained_cfg``; timm's defaults for what it leaves out."""
    config = {key: value for key, value in config.items() if value is not None}
    try:
        _, *sides = config.get("input_size", (3, 224, 224))
        crop = (int(sides[0]), int(sides[1]))
        # as timm evaluates: the image is resized so that the crop is this part of its shorter side
        resize = math.floor(min(crop) / config.get("crop_pct", 0.875))
        mean, std = tuple(config.get("mean", IMAGENET_MEAN)), tuple(config.get("std", IMAGENET_STD))
        return Preprocessing(resize, crop, mean, std, _interpolation(config.get("interpolation", "bicubic")))
    except (ArithmeticError, IndexError, TypeError, ValueError) as error:
        raise ModelError(f"pretrained_cfg of {name} cannot be read as a preprocessing: {error}") from error


def _interpolation(name: str) -> str:
    """timm's name of an interpolation as one of ours; its rare others are nearest to the second."""
    return name if name in INTERPOLATIONS else "bicubic"
