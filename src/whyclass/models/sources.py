"""From a model's name, or a file with a factory, to a model with weights, preprocessing and class names.

Weights load from safetensors, or from ``torch.load`` with ``weights_only``: no pickle is executed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn

from whyclass.errors import ClassError, ModelError, WeightsError
from whyclass.models.split import run
from whyclass.models.weights import built, fit, read_weights
from whyclass.pool.images import IMAGENET_MEAN, IMAGENET_STD, INTERPOLATIONS, Preprocessing


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
    """

    name: str
    model: nn.Module = field(repr=False)
    preprocessing: Preprocessing
    class_names: tuple[str, ...] = field(repr=False, default=())


@dataclass(frozen=True)
class Request:
    """What is to be loaded: the whole name, what follows its first colon, the weights file."""

    name: str
    rest: str
    weights: Path | None
    pretrained: bool


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
        ``timm:NAME`` (the extra ``timm``), ``smp:ARCHITECTURE:ENCODER`` (the extra ``smp``), or
        ``path/to/file.py:factory``, where ``factory()`` returns the module.
    weights
        A safetensors or ``weights_only`` checkpoint.
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
    build = SOURCES.get(kind, _from_file)
    loaded = build(Request(name, rest, None if weights is None else Path(weights), pretrained))
    sizes = {"resize": resize, "crop": None if crop is None else (crop, crop)}
    preprocessing = suited(loaded.model, _changed(loaded.preprocessing, sizes))
    numbers = {"mean": mean, "std": std}
    spread = {
        key: value * preprocessing.channels if value is not None and len(value) == 1 else value
        for key, value in numbers.items()
    }
    loaded = replace(loaded, preprocessing=_changed(preprocessing, spread))
    if class_names is not None:
        loaded = replace(loaded, class_names=read_class_names(Path(class_names)))
    loaded.model.eval()
    return loaded


def described(name: str, model: nn.Module) -> Loaded:
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
    return Loaded(name, model, preprocessing, tuple(names))


def _changed(preprocessing: Preprocessing, changes: dict[str, Any]) -> Preprocessing:
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
    where = next(model.parameters(), torch.empty(0)).device
    try:
        with torch.no_grad():
            run(model, preprocessing.constant("ones").to(where))
    except ModelError:
        return False
    return True


def read_class_names(path: Path) -> tuple[str, ...]:
    """Class names by index from a text file, one a line, or a JSON list of strings."""
    import json

    try:
        text = path.read_text(encoding="utf-8-sig")
        names = json.loads(text) if path.suffix == ".json" else text.splitlines()
    except (OSError, ValueError) as error:
        raise ClassError(f"cannot read class names from {path}: {error}") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ClassError(f"{path} must hold a JSON list of strings, one for each class")
    names = [name.strip() for name in names]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise ClassError(f"{path} holds no class name; needed is one a line")
    return tuple(names)


def _nearest(given: str, known: Iterable[str], usual: str) -> str:
    """Names like the given one, for a message."""
    return ", ".join(get_close_matches(given, known, n=3, cutoff=0.3)) or usual


def _from_torchvision(request: Request) -> Loaded:
    """``torchvision:NAME`` or ``torchvision:NAME:WEIGHTS``: classifiers and segmentation nets."""
    name, weights = request.name, request.weights
    architecture, _, wanted = request.rest.partition(":")
    nets = torchvision.models.list_models(module=torchvision.models.segmentation)
    known = torchvision.models.list_models(module=torchvision.models) + nets
    if architecture not in known:
        raise ModelError(
            f"torchvision has no classifier or segmentation net {architecture!r}; did you mean "
            f"{_nearest(architecture, known, 'resnet50')}?"
        )
    entries = torchvision.models.get_model_weights(architecture)
    if wanted and wanted not in entries.__members__:
        raise ModelError(f"{architecture} has no weights {wanted!r}; it has {', '.join(entries.__members__)}")
    entry = entries[wanted] if wanted else next(iter(entries), None)
    builder = torchvision.models.get_model_builder(architecture)
    # a segmentation net would fetch its backbone's weights of its own accord
    fixed: dict[str, Any] = {"weights_backbone": None} if architecture in nets else {}
    if weights is not None:
        state = read_weights(weights)
        if any("aux_classifier." in key for key in state):
            fixed["aux_loss"] = True
        model = fit(lambda **kw: builder(weights=None, **fixed, **kw), weights, name, state)
    else:
        model = built(lambda: builder(weights=entry if request.pretrained else None, **fixed), name)
    meta = entry if wanted or weights is None else None
    preprocessing = _from_metadata(meta) if meta is not None else Preprocessing()
    names = tuple(entry.meta.get("categories", ())) if entry is not None else ()
    return Loaded(name, model, preprocessing, names if len(names) == _outputs(model, names) else ())


def _outputs(model: nn.Module, names: tuple[str, ...]) -> int:
    """Rows of the last linear or convolutional layer: the number of classes of a torchvision model."""
    last = [m for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv2d))][-1]
    rows = last.out_features if isinstance(last, nn.Linear) else last.out_channels
    # some nets keep their classifier before an auxiliary head; any layer with that many rows will do
    sizes = [getattr(m, "out_features", getattr(m, "out_channels", 0)) for m in model.modules()]
    return len(names) if len(names) in sizes else rows


def _from_metadata(entry: Any) -> Preprocessing:
    """The preprocessing that a torchvision weights entry names."""
    given = entry.transforms()
    resize = given.resize_size[0]
    # torchvision's segmentation nets crop nothing; here it is the centre square, since images share a size
    crop = getattr(given, "crop_size", given.resize_size)
    crop = (crop[0], crop[-1])
    return Preprocessing(resize, crop, tuple(given.mean), tuple(given.std), given.interpolation.value)


def _from_file(request: Request) -> Loaded:
    if not request.name.rpartition(":")[0].endswith(".py"):
        raise ModelError(
            f"model {request.name!r} is not understood; give torchvision:NAME, such as torchvision:resnet50, "
            "or path/to/file.py:factory"
        )
    return described(request.name, _made(request.name, request.weights))


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
    return _made(name, None if weights is None else Path(weights)).eval()


def _made(name: str, weights: Path | None) -> nn.Module:
    """What the factory of ``path/to/file.py:factory`` builds, with weights."""
    file, _, factory = name.rpartition(":")
    with _on_path(Path(file).parent):
        build = getattr(_module(Path(file)), factory, None)
        if not callable(build):
            raise ModelError(f"{file} has no function {factory!r}")
        return built(build, name) if weights is None else fit(build, weights, name)


def _module(path: Path) -> Any:
    """The user's own file as a module; its folder must be on the path already."""
    if not path.is_file():
        raise ModelError(f"there is no file {path}")
    # a model's file and a decoder's may share a name, and each is looked up under its own
    mark = hashlib.blake2b(str(path.resolve()).encode(), digest_size=4).hexdigest()
    spec = importlib.util.spec_from_file_location(f"whyclass_user_{path.stem}_{mark}", path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and inspect look their module up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # somebody's file may raise anything: that is the answer
        raise ModelError(f"{path} could not be imported: {type(error).__name__}: {error}") from error
    return module


@contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    """The folder is looked in for imports, as if a file in it were run as a script."""
    sys.path.insert(0, str(folder.resolve()))
    try:
        yield
    finally:
        sys.path.remove(str(folder.resolve()))


def _from_timm(request: Request) -> Loaded:
    """``timm:NAME`` or ``timm:NAME.TAG``; preprocessing and names are those of its pretrained entry."""
    try:
        import timm
        from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset
    except ImportError as error:
        raise ModelError(f"{request.name} needs the timm library: pip install 'whyclass[timm]'") from error
    known = timm.list_models()
    architecture = request.rest.partition(".")[0]
    if architecture not in known:
        near = _nearest(architecture, known, "resnet50")
        raise ModelError(f"timm has no model {architecture!r}; did you mean {near}?")
    if request.weights is None:
        model = built(lambda: timm.create_model(request.rest, pretrained=request.pretrained), request.name)
    else:
        model = fit(lambda **kw: timm.create_model(request.rest, **kw), request.weights, request.name)
    subset = infer_imagenet_subset(model)
    info = ImageNetInfo(subset) if subset else None
    names = tuple(info.index_to_description(k) for k in range(info.num_classes())) if info else ()
    return replace(
        described(request.name, model), class_names=names if len(names) == model.num_classes else ()
    )


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


def _from_smp(request: Request) -> Loaded:
    """``smp:ARCHITECTURE:ENCODER``, normalised as the encoder's weights on ImageNet were."""
    try:
        import segmentation_models_pytorch as smp
        import timm
    except ImportError as error:
        raise ModelError(
            f"{request.name} needs the segmentation-models-pytorch library: pip install 'whyclass[smp]'"
        ) from error
    architecture, _, encoder = request.rest.partition(":")
    nets = {kind.__name__: kind for kind in smp.MODEL_ARCHITECTURES_MAPPING.values()}
    encoders = [*smp.encoders.get_encoder_names(), *(f"tu-{name}" for name in timm.list_models())]
    if architecture not in nets:
        near = _nearest(architecture, nets, "Unet")
        raise ModelError(f"smp has no architecture {architecture!r}; did you mean {near}?")
    if encoder.partition(".")[0] not in encoders:
        near = _nearest(encoder, encoders, "resnet34")
        raise ModelError(f"smp has no encoder {encoder!r}; did you mean {near}?")

    def build(num_classes: int = 1) -> nn.Module:
        return nets[architecture](encoder, encoder_weights=None, classes=num_classes)

    if request.weights is not None:
        model = fit(build, request.weights, request.name)
    elif request.pretrained:
        raise WeightsError(
            f"{request.name} has weights for its encoder only, and all else would be random; give the "
            "trained model's file"
        )
    else:
        model = built(build, request.name)
    mean, std = _smp_statistics(encoder)
    return Loaded(request.name, model, Preprocessing(mean=mean, std=std))


def _smp_statistics(encoder: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of an encoder's inputs; smp itself would ask the network for them."""
    if encoder.startswith("tu-"):
        from timm.models import get_pretrained_cfg

        config = get_pretrained_cfg(encoder.removeprefix("tu-"))
        return (IMAGENET_MEAN, IMAGENET_STD) if config is None else (tuple(config.mean), tuple(config.std))
    rows = (row for start, row in SMP_STATISTICS.items() if encoder.startswith(start))
    return next(rows, (IMAGENET_MEAN, IMAGENET_STD))


HALVES = (0.5, 0.5, 0.5)
SMP_STATISTICS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "dpn": ((124 / 255, 117 / 255, 104 / 255), (1 / (0.0167 * 255),) * 3),
    "inception": (HALVES, HALVES),
    "timm-tf_efficientnet_lite": (HALVES, HALVES),
    "xception": (HALVES, HALVES),
}
"""Mean and deviation by how an encoder's name begins; others have ImageNet's. From the settings that smp and
the libraries it took weights of (pretrainedmodels, timm) give with them."""

SOURCES: dict[str, Callable[[Request], Loaded]] = {
    "torchvision": _from_torchvision,
    "timm": _from_timm,
    "smp": _from_smp,
}
"""From the part before the colon to what builds it; anything else is a file."""
