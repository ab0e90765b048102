"""What is studied: a model with its preprocessing and names on its device, and an image for all others."""

from __future__ import annotations

import copy
import dataclasses
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from whyclass.errors import ModelError, SettingsError
from whyclass.models import class_names as models_class_names
from whyclass.models import described, loading
from whyclass.models.preprocessing import Preprocessing
from whyclass.models.refusals import check_kind, in_single_precision
from whyclass.models.split import Split
from whyclass.models.tasks import Task, task_of

LIBRARIES = ("whyclass", "torch", "torchvision", "numpy", "scikit-learn", "pillow")


def opened(
    model: Any, weights: Any, class_names: Any, preprocessing: Preprocessing | None, device: str
) -> described.Loaded:
    """The model that a study is of, with what the user says of it, on the device asked for.

    Parameters are those of `whyclass.Study`.
    """
    where = _device(device)
    if isinstance(model, str):
        loaded = loading.load(model, weights)
        loaded = dataclasses.replace(loaded, model=loaded.model.to(where or "cpu"))
    elif isinstance(model, (nn.Module, described.Loaded)):
        if weights is not None:
            raise ModelError("weights are for a model given by name; load them into the module yourself")
        held = (
            model if isinstance(model, described.Loaded) else described.described(type(model).__name__, model)
        )
        loaded = held if device == "auto" else dataclasses.replace(held, model=_moved(held.model, where))
    else:
        raise ModelError(f"model came as {type(model).__name__}; needed is a name or a torch.nn.Module")
    check_kind(loaded.model)
    wide, notes = in_single_precision(loaded.model)
    loaded = dataclasses.replace(loaded, model=wide, notes=tuple(dict.fromkeys(loaded.notes + notes)))
    if preprocessing is not None:
        loaded = dataclasses.replace(loaded, preprocessing=preprocessing)
    if class_names is not None:
        path = isinstance(class_names, (str, Path))
        names = models_class_names.read_class_names(Path(class_names)) if path else tuple(class_names)
        loaded = dataclasses.replace(loaded, class_names=names)
    return loaded


def example_image(preprocessing: Preprocessing) -> Tensor:
    """An image (1, C, S, T) of noise: unlike a constant one it shows a layer's negative activations."""
    shape = (1, preprocessing.channels, *preprocessing.crop)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def example_of(loaded: described.Loaded) -> Tensor:
    """What stands for the images of a model, where the model is; refuses channels that it does not take."""
    described.check_channels(loaded)
    where = next(loaded.model.parameters(), torch.empty(0)).device
    return example_image(loaded.preprocessing).to(where)


def task_at(cut: Split, names: tuple[str, ...]) -> Task:
    """What the model that is cut there does."""
    with torch.no_grad():
        return task_of(cut.head(cut.trunk(cut.example), cut.example), names, cut.link)


def versions() -> dict[str, str]:
    """Python and the libraries that results depend on, by name."""
    return {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}


def _device(name: str) -> torch.device | None:
    """The device asked for; under ``auto`` a GPU where there is one, else None."""
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device("cuda") if present["cuda"] else None
    if name not in present:
        raise SettingsError(f"device is {name!r}; choose one of auto, {', '.join(present)}")
    if not present[name]:
        raise SettingsError(f"this machine has no {name}; choose --device cpu or auto")
    return torch.device(name)


def _moved(model: nn.Module, device: torch.device | None) -> nn.Module:
    parameter = next(model.parameters(), None)
    if device is None or parameter is None or parameter.device.type == device.type:
        return model
    return copy.deepcopy(model).to(device)
