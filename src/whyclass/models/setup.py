"""What is studied: a model with its preprocessing and names on its device, and an image for all others."""

from __future__ import annotations

import copy
import dataclasses
import platform
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from whyclass.errors import ModelError, SettingsError
from whyclass.models import class_names as models_class_names
from whyclass.models import described, loading, transforms
from whyclass.models.forward import run
from whyclass.models.outputs import link_of
from whyclass.models.preprocessing import Preprocessing
from whyclass.models.readings import Reading, reading_of
from whyclass.models.refusals import check_kind, check_no_detector, in_single_precision
from whyclass.models.split import Split
from whyclass.models.tasks import Task, task_of

LIBRARIES = ("whyclass", "torch", "torchvision", "numpy", "scikit-learn", "pillow")


def opened(
    model: Any, weights: Any, class_names: Any, preprocessing: Any, device: str, task: Any = None
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
        loaded = dataclasses.replace(loaded, preprocessing=transforms.understood(preprocessing))
    if class_names is not None:
        loaded = dataclasses.replace(loaded, class_names=models_class_names.names_of(class_names))
    if task is not None:
        loaded = dataclasses.replace(loaded, reading=reading_of(task))
    return described.sized(loaded)


def example_image(preprocessing: Preprocessing) -> Tensor:
    """An image (1, C, S, T) of noise: unlike a constant one it shows a layer's negative activations."""
    shape = (1, preprocessing.channels, *preprocessing.crop)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def example_of(loaded: described.Loaded) -> Tensor:
    """What stands for the images of a model, where the model is; refuses channels that it does not take."""
    described.check_channels(loaded)
    where = next(loaded.model.parameters(), torch.empty(0)).device
    return example_image(loaded.preprocessing).to(where)


def reading_at(loaded: described.Loaded, example: Tensor) -> Reading:
    """How the model's output is read, with what is noticed of it; refuses detectors."""
    reading = loaded.reading
    try:
        with torch.no_grad():
            output: Any = run(loaded.model, example)
    except ModelError:  # it is told elsewhere what such a model lacks
        output = None
    if reading.kind != "callable":
        check_no_detector(loaded.model, output)
    if not reading.row.noticed:
        return reading
    link = link_of(loaded.model, example)
    one = isinstance(output, Tensor) and (output.dim() == 1 or output.shape[1] == 1)
    kind = "binary" if one and link == "sigmoid" else reading.kind
    return dataclasses.replace(reading, kind=kind, link=link)


def task_at(cut: Split, names: tuple[str, ...]) -> Task:
    """What the model that is cut there does."""
    with torch.no_grad():
        found = task_of(cut.head(cut.trunk(cut.example), cut.example), names, cut.link)
    if cut.reading is None or cut.reading.kind == "softmax":
        return found
    row, sided = cut.reading.row, cut.reading.kind == "binary" and found.dense
    background = 0 if sided and len(names) < found.classes else found.background
    return dataclasses.replace(found, kind=row.name, several=row.several, background=background)


def versions() -> dict[str, str]:
    """Python and the libraries that results depend on, by name."""
    return {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}


def decoders() -> dict[str, str]:
    """The libraries that decoded pixels depend on, of `versions`."""
    known = versions()
    return {name: known[name] for name in ("pillow", "torchvision")}


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
