"""Where models come from: torchvision, timm, segmentation-models-pytorch, or a file with a factory."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torchvision
from torch import nn

from whyclass.errors import ModelError, WeightsError
from whyclass.models.checkpoints import Checkpoint
from whyclass.models.described import Loaded, described
from whyclass.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from whyclass.models.refusals import DETECTION
from whyclass.models.weights import built, fit


@dataclass(frozen=True)
class Request:
    """What is to be loaded: the whole name, what follows its first colon, the weights."""

    name: str
    rest: str
    weights: Checkpoint | None
    pretrained: bool


def _nearest(given: str, known: Iterable[str], usual: str) -> str:
    """Names like the given one, for a message."""
    return ", ".join(get_close_matches(given, known, n=3, cutoff=0.3)) or usual


def _from_torchvision(request: Request) -> Loaded:
    """``torchvision:NAME`` or ``torchvision:NAME:WEIGHTS``: classifiers and segmentation nets."""
    architecture, _, wanted = request.rest.partition(":")
    entry = _entry(architecture, wanted)
    model, notes = _net(request, architecture, entry, wanted)
    meta = entry if wanted or request.weights is None else None
    preprocessing = _from_metadata(meta) if meta is not None else Preprocessing()
    names = tuple(entry.meta.get("categories", ())) if entry is not None else ()
    names = names if len(names) == _outputs(model, names) else ()
    return Loaded(request.name, model, preprocessing, names, notes)


def _segmentation_nets() -> list[str]:
    return torchvision.models.list_models(module=torchvision.models.segmentation)


def _entry(architecture: str, wanted: str) -> Any:
    """Torchvision's entry of the weights of that name, or of the first ones; None where it offers none."""
    known = torchvision.models.list_models(module=torchvision.models) + _segmentation_nets()
    if architecture in torchvision.models.list_models(module=torchvision.models.detection):
        raise ModelError(DETECTION.format(name=architecture))
    if architecture not in known:
        raise ModelError(
            f"torchvision has no classifier or segmentation net {architecture!r}; did you mean "
            f"{_nearest(architecture, known, 'resnet50')}?"
        )
    entries = torchvision.models.get_model_weights(architecture)
    if wanted and wanted not in entries.__members__:
        raise ModelError(f"{architecture} has no weights {wanted!r}; it has {', '.join(entries.__members__)}")
    return entries[wanted] if wanted else next(iter(entries), None)


def _net(request: Request, architecture: str, entry: Any, wanted: str) -> tuple[nn.Module, tuple[str, ...]]:
    """The architecture with the weights of the request's file, or else with those of the entry; and notes."""
    builder = torchvision.models.get_model_builder(architecture)
    # a segmentation net would fetch its backbone's weights of its own accord
    fixed: dict[str, Any] = {"weights_backbone": None} if architecture in _segmentation_nets() else {}
    given, notes = request.weights, tuple[str, ...]()
    if given is None:
        entry = entry if request.pretrained else None
        return built(lambda: builder(weights=entry, **fixed), request.name), ()
    if any("aux_classifier." in key for key in given.state):
        fixed["aux_loss"] = True
    if architecture in AUXILIARY:
        more, notes = _inception(given, entry, wanted, request.name)
        fixed |= more
        given = replace(given, state={k: v for k, v in given.state.items() if not AUXILIARY_HEAD.search(k)})
    model, chosen = fit(lambda **kw: builder(weights=None, **fixed, **kw), given, request.name)
    return model, notes + chosen


AUXILIARY = ("googlenet", "inception_v3")
"""Torchvision's nets with heads that only training uses, and whose published weights need inputs turned from
ImageNet's statistics to those of the library that they come from."""

AUXILIARY_HEAD = re.compile(r"(^|\.)(aux1|aux2|AuxLogits)\.")


def _inception(
    weights: Checkpoint, entry: Any, wanted: str, name: str
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """How to build such a net for weights of a file, which are published ones if they are named so."""
    published = bool(wanted) or weights.path.name == entry.url.rpartition("/")[2]
    settings = {"aux_logits": False, "init_weights": False, "transform_input": published}
    if published:
        return settings, ()
    told = (
        f"{weights.path.name} is taken as trained on inputs of ImageNet's statistics; weights that come from "
        f"torchvision's own need transform_input: name them {name}:{entry.name}"
    )
    return settings, (told,)


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


def from_file(request: Request) -> Loaded:
    """``path/to/file.py:factory``."""
    if not request.name.rpartition(":")[0].endswith(".py"):
        raise ModelError(
            f"model {request.name!r} is not understood; give torchvision:NAME, such as torchvision:resnet50, "
            "or path/to/file.py:factory"
        )
    return described(request.name, *made_by_factory(request.name, request.weights))


def made_by_factory(name: str, weights: Checkpoint | None) -> tuple[nn.Module, tuple[str, ...]]:
    """What the factory of ``path/to/file.py:factory`` builds, with weights; and what was chosen of them."""
    file, _, factory = name.rpartition(":")
    with _on_path(Path(file).parent):
        build = _function(file, factory)
        return (built(build, name), ()) if weights is None else fit(build, weights, name)


def function_in(file: str, name: str) -> Callable[..., Any]:
    """A function of somebody's file."""
    with _on_path(Path(file).parent):
        return _function(file, name)


def _function(file: str, name: str) -> Callable[..., Any]:
    found = getattr(_module(Path(file)), name, None)
    if not callable(found):
        raise ModelError(f"{file} has no function {name!r}")
    return found  # type: ignore[no-any-return]


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


def _from_hub(request: Request) -> Loaded:
    """``hf:NAME`` or ``hf:path/to/folder``."""
    from whyclass.models.hub_models import from_transformers

    return from_transformers(request.name, request.rest, request.weights, request.pretrained)


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
        notes: tuple[str, ...] = ()
    else:
        model, notes = fit(lambda **kw: timm.create_model(request.rest, **kw), request.weights, request.name)
    subset = infer_imagenet_subset(model)
    info = ImageNetInfo(subset) if subset else None
    names = tuple(info.index_to_description(k) for k in range(info.num_classes())) if info else ()
    return replace(
        described(request.name, model, notes), class_names=names if len(names) == model.num_classes else ()
    )


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
        model, notes = fit(build, request.weights, request.name)
    elif request.pretrained:
        raise WeightsError(
            f"{request.name} has weights for its encoder only, and all else would be random; give the "
            "trained model's file"
        )
    else:
        model, notes = built(build, request.name), ()
    mean, std = _smp_statistics(encoder)
    return Loaded(request.name, model, Preprocessing(mean=mean, std=std), notes=notes)


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
    "hf": _from_hub,
}
"""From the part before the colon to what builds it; anything else is a file."""
