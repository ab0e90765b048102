"""Somebody's own way from a picture to the model's input: transforms of torchvision or timm, processors.

Where a `Preprocessing` gives exactly the same, it is taken: its pictures are kept decoded, and undone to the
digit. Else the user's own is called for each picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from whyclass.errors import SettingsError
from whyclass.models import pictures
from whyclass.models.code_digest import digest_of
from whyclass.models.preprocessing import INTERPOLATIONS, Preprocessing, Sample

SAME = 1e-5
"""So near are two tensors that are the same but for the order of sums."""

BEYOND = 0.05
"""By so much of their range may pictures that are undone lie beyond it (resizing rings)."""

REPEATS = 12
"""So often is one picture transformed again: what is flipped half the time passes once in 4,096."""

PROBES = ((180, 120), (120, 200), (157, 157))
"""(width, height) of pictures that a user's transform is tried on."""


@dataclass(frozen=True)
class Own(Preprocessing):
    """A transform of the user's, called for each picture.

    Attributes
    ----------
    function
        From an RGB picture to the tensor (C, S, T).
    facts
        What it is, in a line that two share only where they do the same.
    exact
        Whether ``mean`` and ``std`` undo it; else they only come near, and a picture of the pool is shown as
        it came, resized.
    """

    function: Callable[[Image.Image], Tensor] = field(repr=False, default=torch.as_tensor)
    facts: str = ""
    exact: bool = True

    def sample(self, given: Image.Image | np.ndarray) -> Sample:
        """A picture or an array as the model and the eye see it."""
        if isinstance(given, np.ndarray):
            given = Image.fromarray(given[..., 0] if given.shape[2:] == (1,) else given)
        found = pictures.upright(given)
        picture = found.picture.convert("RGB")
        tensor = self.function(picture)
        if tensor.shape != (needed := (self.channels, *self.crop)):
            raise ValueError(
                f"the preprocessing gave {tuple(tensor.shape)}; needed is {needed} for every picture"
            )
        if not tensor.isfinite().all():
            raise ValueError("the preprocessing gave NaN or infinity")
        eye = self.undo(tensor) if self.exact else picture.resize(self.crop[::-1], Image.Resampling.BILINEAR)
        return Sample(tensor, eye, peak=found.peak, made=True)

    def describe(self) -> str:
        """One line for people and for keys."""
        size = "x".join(map(str, self.crop))
        seen = "" if self.exact else ", which cannot be undone: pictures are shown as they came"
        return f"the user's own ({self.facts}) to {self.channels} x {size}{seen}"


def understood(given: Any) -> Preprocessing:
    """A preprocessing of what a user gives: torchvision's or timm's transforms, or an image processor.

    Raises
    ------
    SettingsError
        If it cannot be called on pictures, gives no tensors of one size, or is random.
    """
    if isinstance(given, Preprocessing):
        return given
    function = _function(given)
    shape = _shape(function, given)
    wide = (int(2.3 * shape[2]) + 1, int(1.7 * shape[1]) + 1)  # ways of making smaller differ
    tried = [_noise(size) for size in (*PROBES, wide)]
    found = [_tensor(function, given, one) for one in tried]
    for plain in _plain(given, shape):
        if all(_agrees(plain, one, tensor) for one, tensor in zip(tried, found, strict=True)):
            return plain
    return _own(given, function, tried, found)


def _shape(function: Callable[[Image.Image], Any], given: Any) -> tuple[int, ...]:
    """Of all tensors, which have to be of one shape, and the same again and again."""
    found = [_tensor(function, given, _noise(size)) for size in PROBES]
    again = [_tensor(function, given, _noise(PROBES[0])) for _ in range(REPEATS)]
    if not all(torch.equal(one, found[0]) for one in again):
        raise SettingsError(
            f"preprocessing {_name(given)} is random; give the transforms of evaluation, without augmentation"
        )
    sizes = sorted({tuple(tensor.shape) for tensor in found})
    if len(sizes) > 1:
        raise SettingsError(
            f"preprocessing {_name(given)} gives images of several sizes, such as {sizes[0]} and "
            f"{sizes[-1]}; end it with a crop or a resize to one size"
        )
    return sizes[0]


def _function(given: Any) -> Callable[[Image.Image], Any]:
    if hasattr(given, "image_mean") or hasattr(given, "image_processor"):
        processor = getattr(given, "image_processor", given)
        return lambda picture: processor(images=picture, return_tensors="pt")["pixel_values"][0]
    if not callable(given):
        raise SettingsError(
            f"preprocessing came as {type(given).__name__}; needed is a Preprocessing, transforms, or an "
            "image processor"
        )
    return given  # type: ignore[no-any-return]


def _tensor(function: Callable[[Image.Image], Any], given: Any, picture: Image.Image) -> Tensor:
    try:
        found: Any = function(picture)
    except Exception as error:  # somebody's transform may raise anything: that is the answer
        raise SettingsError(
            f"preprocessing {_name(given)} failed on an RGB picture: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(found, Tensor) or found.dim() != 3 or not found.is_floating_point():
        what = f"{found.dtype} {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise SettingsError(
            f"preprocessing {_name(given)} gives {what}; needed is a float tensor (channels, height, "
            "width): end it "
            "with ToTensor() and Normalize(...)"
        )
    return found.detach().float().cpu()


def _noise(size: tuple[int, int]) -> Image.Image:
    """A picture of smooth noise, on which ways of resizing differ."""
    rough = np.random.default_rng(0).integers(0, 256, (size[1] // 8 + 1, size[0] // 8 + 1, 3), np.uint8)
    return Image.fromarray(rough).resize(size, Image.Resampling.BICUBIC)


def _plain(given: Any, shape: tuple[int, ...]) -> Iterator[Preprocessing]:
    """Preprocessings that may do the same."""
    mean, std = _statistics(given) or ((0.0,) * shape[0], (1.0,) * shape[0])
    if not len(mean) == len(std) == shape[0] or min(std) <= 0:
        return
    for resize in {None, *_sides(given)}:
        for interpolation in INTERPOLATIONS:
            yield Preprocessing(resize, (shape[1], shape[2]), mean, std, interpolation)


def _agrees(plain: Preprocessing, picture: Image.Image, wanted: Tensor) -> bool:
    found = plain.sample(picture).tensor
    return found.shape == wanted.shape and bool(
        (found - wanted).abs().max() <= SAME * max(1, 1 / min(plain.std))
    )


def _own(
    given: Any, function: Callable[[Image.Image], Any], tried: list[Image.Image], found: list[Tensor]
) -> Own:
    channels, size = found[0].shape[0], (found[0].shape[1], found[0].shape[2])
    known = _statistics(given) or ((0.0,) * channels, (1.0,) * channels)
    exact = len(known[0]) == len(known[1]) == channels and min(known[1]) > 0
    if exact:
        mean, std = (torch.tensor(one).view(-1, 1, 1) for one in known)
        shades = torch.stack(found) * std + mean
        exact = bool(shades.min() > -BEYOND and shades.max() < 1 + BEYOND)
    mean_, std_ = known if exact else _fitted(tried, found)

    def made(picture: Image.Image) -> Tensor:
        return torch.as_tensor(function(picture)).detach().float().cpu()

    facts = f"{_name(given)} {_digest(given)}"
    return Own(None, size, mean_, std_, function=made, facts=facts, exact=exact)


def _digest(given: Any) -> str:
    """Of a processor its configuration, of anything else what it does."""
    if callable(config := getattr(getattr(given, "image_processor", given), "to_dict", None)):
        return digest_of(repr(sorted(config().items(), key=lambda one: one[0])))
    return digest_of(given)


def _fitted(tried: list[Image.Image], found: list[Tensor]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation that come nearest: those that give the tensors the pictures' own."""
    pixels = (
        torch.cat([torch.from_numpy(np.asarray(one).copy()).float().reshape(-1, 3) for one in tried]) / 255
    )
    values = torch.cat([one.flatten(1) for one in found], 1)
    grey = len(values) != 3
    means = pixels.mean().expand(len(values)) if grey else pixels.mean(0)
    spread = pixels.std().expand(len(values)) if grey else pixels.std(0)
    std = spread / values.std(1).clamp(min=1e-3)
    return tuple((means - std * values.mean(1)).tolist()), tuple(std.tolist())


def _parts(given: Any) -> Iterable[Any]:
    """The transforms that others are made of."""
    inner = getattr(given, "transforms", None)
    if isinstance(inner, (list, tuple)):
        for one in inner:
            yield from _parts(one)
    else:
        yield given


def _statistics(given: Any) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and deviation that a transform says it normalises by, the last of several."""
    found = None
    for part in _parts(getattr(given, "image_processor", given)):
        pairs = [(getattr(part, a, None), getattr(part, b, None)) for a, b in NAMED]
        for mean, std in pairs:
            if mean is not None and std is not None and getattr(part, "do_normalize", True):
                found = _floats(mean), _floats(std)
    return found


NAMED = (("mean", "std"), ("image_mean", "image_std"))
"""What transforms and processors call mean and deviation."""


def _floats(given: Any) -> tuple[float, ...]:
    # as written: the nearest float32 of 0.485 is another number
    return tuple(
        round(float(value), 7) for value in torch.as_tensor(given, dtype=torch.float64).flatten().tolist()
    )


def _sides(given: Any) -> Iterator[int]:
    """Pixels to which a transform says that it resizes the shorter side."""
    for part in _parts(getattr(given, "image_processor", given)):
        for size in (getattr(part, "size", None), getattr(part, "resize_size", None)):
            if isinstance(size, Mapping):
                size = size.get("shortest_edge")
            size = getattr(size, "shortest_edge", size)
            if isinstance(size, (list, tuple)) and len(size) == 1:
                size = size[0]
            if isinstance(size, int) and size > 0:
                yield size


def _name(given: Any) -> str:
    return type(given).__name__ if not hasattr(given, "__name__") else str(given.__name__)
