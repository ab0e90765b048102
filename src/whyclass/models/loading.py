"""From a model's name to a model with weights, preprocessing and class names.

Weights load from safetensors, or from ``torch.load`` with ``weights_only``: no pickle is executed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import nn

from whyclass.errors import ModelError
from whyclass.models import checkpoints
from whyclass.models.class_names import read_class_names
from whyclass.models.described import Loaded, changed, suited
from whyclass.models.sources import SOURCES, Request, from_file, made_by_factory


def load(
    name: str,
    weights: str | Path | None = None,
    class_names: str | Path | None = None,
    resize: int | None = None,
    crop: int | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    pretrained: bool = True,
) -> Loaded:
    """Load a model by name.

    Parameters
    ----------
    name
        ``torchvision:NAME``, ``torchvision:NAME:WEIGHTS`` (downloads them, as torchvision does),
        ``timm:NAME`` (the extra ``timm``), ``smp:ARCHITECTURE:ENCODER`` (the extra ``smp``), ``hf:NAME`` or
        ``hf:path/to/folder`` (an image classifier of transformers, the extra ``transformers``), or
        ``path/to/file.py:factory``, where ``factory()`` returns the module.
    weights
        A safetensors or ``weights_only`` checkpoint; ``FILE:KEY`` for one of several in it, such as
        ``run.pth:state_dict``. Left to itself a running average (``state_dict_ema``, ``model_ema``) is taken
        before the raw weights, as timm does, and the model's ``notes`` say so.
    class_names
        A text file, one name a line, or a JSON list.
    resize, crop, mean, std
        Changes to the preprocessing that the weights' or the model's own metadata, or else ImageNet, gives;
        where the model takes other than three channels, mean and std are 0.5 for each. One number of
        ``mean`` or ``std`` stands for every channel.
    pretrained
        Whether a named model without a weights file gets the weights its library offers.

    Raises
    ------
    ModelError
        If the model is unknown or cannot be built.
    WeightsError
        If the weights are missing, do not fit, are not finite, or are an unsafe pickle.
    """
    kind, _, rest = name.partition(":")
    build = SOURCES.get(kind, from_file)
    loaded = build(Request(name, rest, None if weights is None else checkpoints.opened(weights), pretrained))
    sizes = {"resize": resize, "crop": None if crop is None else (crop, crop)}
    preprocessing = suited(loaded.model, changed(loaded.preprocessing, sizes))
    numbers = {"mean": mean, "std": std}
    spread = {
        key: value * preprocessing.channels if value is not None and len(value) == 1 else value
        for key, value in numbers.items()
    }
    loaded = replace(loaded, preprocessing=changed(preprocessing, spread))
    if class_names is not None:
        loaded = replace(loaded, class_names=read_class_names(Path(class_names)))
    loaded.model.eval()
    return loaded


def decoder(name: str, weights: str | Path | None = None) -> nn.Module:
    """Load a decoder ``z -> pixels``, in whose latent space pictures are drawn.

    Parameters
    ----------
    name
        ``path/to/file.py:factory``, where ``factory()`` returns the module; what it needs is said in
        ``whyclass.visualise.Generator``.
    weights
        A safetensors or ``weights_only`` checkpoint.

    Raises
    ------
    ModelError
        If the module cannot be built.
    WeightsError
        As for ``load``.
    """
    if not name.rpartition(":")[0].endswith(".py"):
        raise ModelError(f"decoder {name!r} is not understood; give path/to/file.py:factory")
    return made_by_factory(name, None if weights is None else checkpoints.opened(weights))[0].eval()
