"""Image classifiers of the transformers library, by name or from a folder; the extra ``transformers``."""

from __future__ import annotations

import re
from typing import Any

from torch import nn

from whyclass.errors import ModelError, SettingsError
from whyclass.models.described import Loaded
from whyclass.models.preprocessing import Preprocessing
from whyclass.models.readings import Reading
from whyclass.models.refusals import DETECTION
from whyclass.models.transforms import understood
from whyclass.models.weights import built, fit

UNNAMED = re.compile(r"LABEL_\d+")
"""What a configuration calls classes that nobody named."""

TASKS = {"multi_label_classification": "multilabel", "regression": "regression"}
"""Kinds of reading by what a configuration says of the problem."""


def from_transformers(name: str, place: str, weights: Any = None, pretrained: bool = True) -> Loaded:
    """A classifier with its image processor, its classes' names and its task.

    Parameters
    ----------
    name, place
        The whole name, and what the hub or the disk knows it as.
    weights
        A checkpoint to take instead of the published weights.
    pretrained
        Whether these are taken otherwise.

    Raises
    ------
    ModelError
        If the library is missing, knows no such model, or it is no image classifier.
    WeightsError
        If the checkpoint does not fit.
    """
    try:
        from transformers import AutoConfig, AutoModelForImageClassification
    except ImportError as error:
        raise ModelError(
            f"{name} needs the transformers library: pip install 'whyclass[transformers]'"
        ) from error
    config = _config(AutoConfig, name, place)
    if any("ObjectDetection" in kind for kind in config.architectures or ()):
        raise ModelError(DETECTION.format(name=name))

    def fresh(num_classes: int | None = None) -> nn.Module:
        if num_classes is not None:
            config.num_labels = num_classes
        return AutoModelForImageClassification.from_config(config)  # type: ignore[no-any-return]

    def published() -> nn.Module:
        return AutoModelForImageClassification.from_pretrained(place)  # type: ignore[no-any-return]

    way = published if pretrained else fresh
    model, notes = (built(way, name), ()) if weights is None else fit(fresh, weights, name)
    preprocessing, told = _preprocessing(place, config)
    reading = Reading(TASKS.get(config.problem_type or "", "softmax"))
    return Loaded(name, model, preprocessing, _names(config), notes + told, reading)


def _names(config: Any) -> tuple[str, ...]:
    """Of the classes; none where nobody named them."""
    names = tuple(str(config.id2label[k]) for k in range(config.num_labels)) if config.id2label else ()
    return () if all(map(UNNAMED.fullmatch, names)) else names


def _config(kind: Any, name: str, place: str) -> Any:
    try:
        return kind.from_pretrained(place)
    except Exception as error:  # of the network, the disk or the library
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ModelError(f"{name} could not be found: {reason}") from error


def _preprocessing(place: str, config: Any) -> tuple[Preprocessing, tuple[str, ...]]:
    """Of the model's image processor; where it has none, ImageNet's, and a note of that."""
    from transformers import AutoImageProcessor

    try:
        return understood(AutoImageProcessor.from_pretrained(place)), ()
    except SettingsError:
        raise
    except Exception:  # no such file, or one of another kind
        side = config.image_size if isinstance(getattr(config, "image_size", None), int) else 224
        told = (
            "it comes without an image processor, so its images are normalised as ImageNet's, "
            f"{side} x {side}"
        )
        return Preprocessing(int(side / 0.875), (side, side)), (told,)
