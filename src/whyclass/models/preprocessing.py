"""Decoding and normalising: from a file, picture or array to the tensor that the model sees.

The tensor is made from the picture, in one place, so that what a person sees is what the model saw."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from io import BufferedReader
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as transforms

from whyclass.errors import DataError, SettingsError
from whyclass.models import pictures

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
INTERPOLATIONS = ("bilinear", "bicubic")
LONGEST_SIDE = 8192
"""Pixels to a side that may be asked for: no model sees more, and a square of so many fits the budget."""

SMALLEST = 1e-6
"""Least standard deviation of a channel, in units of 1 = white."""

MODES = {1: "L", 3: "RGB"}
"""Channels that a picture can give, with Pillow's name of such pictures; other numbers come as arrays."""


def _check_sides(resize: int | None, crop: tuple[int, int]) -> None:
    if (resize is not None and resize < 1) or min(crop) < 1:
        raise SettingsError(f"resize {resize} and crop {crop} must be at least 1 pixel")
    if max(resize or 1, *crop) > LONGEST_SIDE:
        raise SettingsError(f"resize {resize} and crop {crop} must be at most {LONGEST_SIDE} pixels")


@dataclass(frozen=True)
class Preprocessing:
    """From a picture to the model's input.

    As many numbers as ``mean`` and ``std`` hold, so many channels has the input. One makes pictures grey
    (ITU-R 601, of 8 bits: files of 12 or 16 are scaled to them); three are RGB; any other number takes uint8
    arrays (H, W, C) or tensors instead of pictures, whose channels are resized each by itself.

    Attributes
    ----------
    resize
        The shorter side is resized to so many pixels; None leaves the size as it is.
    crop
        (height, width) of the centre crop.
    mean, std
        Of each channel, in units of 1 = white.
    interpolation
        ``"bilinear"`` or ``"bicubic"``, antialiased.
    """

    resize: int | None = 256
    crop: tuple[int, int] = (224, 224)
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        """Refuse sizes and deviations that no image can have."""
        _check_sides(self.resize, self.crop)
        alike = len(self.mean) == len(self.std) > 0 and all(map(math.isfinite, (*self.mean, *self.std)))
        if not alike or min(self.std) <= 0:
            raise SettingsError(
                f"mean {self.mean} and std {self.std} need one number for each channel, as many of both, "
                "std above 0"
            )
        if min(self.std) < SMALLEST or max(map(abs, self.mean)) > 1 / SMALLEST:
            raise SettingsError(
                f"mean {self.mean} and std {self.std} are in units of 1 = white; needed are std of at least "
                f"{SMALLEST:g} and mean within {1 / SMALLEST:g}, else pixels run over"
            )
        if self.interpolation not in INTERPOLATIONS:
            raise SettingsError(
                f"interpolation is {self.interpolation!r}; choose one of {', '.join(INTERPOLATIONS)}"
            )

    @property
    def channels(self) -> int:
        """Of the model's input."""
        return len(self.mean)

    def pixels(self, image: Image.Image | np.ndarray) -> np.ndarray:
        """What the model sees, uint8 (S, T, C), of a picture or an array (H, W, C): resized and cropped.

        Raises
        ------
        ValueError
            If an array has other channels than the model.
        TypeError
            If a picture came for a model that takes neither one channel nor three.
        """
        return self._measured(image)[0]

    def sample(self, given: Image.Image | np.ndarray) -> Sample:
        """A picture or an array (H, W, C) as the model and the eye see it; raises as ``pixels`` does."""
        pixels, peak = self._measured(given)
        return replace(sample_of_pixels(pixels, self), peak=peak)

    def _measured(self, image: Image.Image | np.ndarray) -> tuple[np.ndarray, float | None]:
        """The pixels, and the picture's peak (`pictures.Upright`)."""
        planes, peak = _planes(image, self.channels)
        return _stacked([self._fitted(plane) for plane in planes], self.channels), peak

    def resized(self, size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) of a picture of ``size`` before its centre is cut."""
        return size if self.resize is None else _resized(size, self.resize)

    def _fitted(self, picture: Image.Image) -> Image.Image:
        if self.resize is not None:
            mode, (width, height) = InterpolationMode(self.interpolation), self.resized(picture.size)
            picture = transforms.resize(picture, [height, width], mode)
        return transforms.center_crop(picture, list(self.crop))

    def tensor(self, pixels: np.ndarray) -> Tensor:
        """Normalised float32 tensor (C, S, T) of uint8 pixels (S, T, C) of any size."""
        values = torch.from_numpy(np.array(pixels)).permute(2, 0, 1).float() / 255
        if len(values) != self.channels:
            raise ValueError(f"pixels of {len(values)} channels; needed are {self.channels}")
        return transforms.normalize(values, list(self.mean), list(self.std))

    def constant(self, kind: str) -> Tensor:
        """The baseline image (1, C, S, T): ``"ones"`` in normalised space, or a ``"white"`` picture."""
        ones = torch.ones(1, self.channels, *self.crop)
        return transforms.normalize(ones, list(self.mean), list(self.std)) if kind == "white" else ones

    def undo(self, tensor: Tensor) -> Image.Image:
        """The picture of a normalised tensor (C, S, T) for the eye, rounded and clipped to 0..255."""
        mean, std = torch.tensor(self.mean).view(-1, 1, 1), torch.tensor(self.std).view(-1, 1, 1)
        pixels = ((tensor.cpu().float() * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
        return shown(pixels.permute(1, 2, 0).numpy())

    def describe(self) -> str:
        """One line for people and for keys."""
        size = "as is" if self.resize is None else f"shorter side {self.resize} ({self.interpolation})"
        crop = "x".join(map(str, self.crop))
        return f"resize {size}, centre crop {crop}, mean {list(self.mean)}, std {list(self.std)}"


@dataclass(frozen=True)
class Sample:
    """One image as the model and the eye see it.

    ``tensor`` is (C, S, T), normalised, and ``pixels`` what it was made of, uint8 (S, T, C); None where it
    came as a tensor, which the picture only shows and cannot make again. ``peak`` is the highest value as a
    share of the range, where the picture holds more than 8 bits; ``window`` by which values a DICOM picture
    is shown. ``made`` says that a transform of the user's made the tensor of a picture.
    """

    tensor: Tensor
    picture: Image.Image
    pixels: np.ndarray | None = None
    peak: float | None = None
    window: str = ""
    made: bool = False


def shown(pixels: np.ndarray) -> Image.Image:
    """An RGB picture of uint8 pixels (S, T, C): the first three channels, or of fewer the first, as grey."""
    grey = pixels.shape[2] < 3
    picture = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if grey else pixels[..., :3]))
    return picture.convert("RGB") if grey else picture


def as_patch(image: Any, part: tuple[int, int, int, int] | None = None, channels: int = 3) -> np.ndarray:
    """Pixels (u, v, C) to be inserted into images, at their own size: an image, or a part of it.

    Parameters
    ----------
    image
        A path, a picture, or a uint8 array (H, W, C).
    part
        (x, y, width, height) in its pixels.

    Raises
    ------
    DataError
        If it cannot be read as an image of so many channels, or the part does not lie within it.
    """
    named = f"patch {image}" if isinstance(image, (str, os.PathLike)) else "the patch"
    try:
        with ExitStack() as hold:
            if isinstance(image, (str, os.PathLike)):
                image = pictures.opened(hold.enter_context(pictures.open_regular(image)))
            given = _picture_or_array(image)
            hold.enter_context(_part(given, lambda size: size))
            pixels = _stacked(_planes(given, channels)[0], channels)
    except Exception as error:  # decoders raise anything for a broken image
        raise DataError(f"{named}: {reason_of(error)}") from error
    if part is None:
        return pixels
    x, y, width, height = part
    inside = 0 <= x < x + width <= pixels.shape[1] and 0 <= y < y + height <= pixels.shape[0]
    if not inside:
        raise DataError(
            f"{named} is {pixels.shape[1]} x {pixels.shape[0]} pixels; the part {x},{y},{width},{height} "
            "(x, y, width, height) does not lie within it"
        )
    return pixels[y : y + height, x : x + width]


def sample_of(image: Any, preprocessing: Preprocessing) -> Sample:
    """An image of any kind that a pool may hold, as the model and the eye see it."""
    if isinstance(image, Tensor) and image.is_floating_point():
        needed = (preprocessing.channels, *preprocessing.crop)
        if image.shape != needed:
            raise ValueError(f"a tensor of shape {tuple(image.shape)}; needed is {needed}")
        if not image.isfinite().all():
            raise ValueError("the tensor holds NaN or infinity")
        return Sample(image.detach().float().cpu(), preprocessing.undo(image.detach()))
    if isinstance(image, (str, os.PathLike)):
        with pictures.open_regular(image) as file:
            return sample_of(file, preprocessing)
    with ExitStack() as hold:
        return _sample_within(image, preprocessing, hold)


def _sample_within(image: Any, preprocessing: Preprocessing, hold: ExitStack) -> Sample:
    """A part of the budget is held until the caller, by then rid of the picture, ends it."""
    if isinstance(image, BufferedReader):
        image = pictures.opened(image, max(pictures.FINE, 2 * (preprocessing.resize or 1)))
    given = _picture_or_array(image)
    hold.enter_context(_part(given, preprocessing.resized))
    window = str(given.info.get(pictures.WINDOW, "")) if isinstance(given, Image.Image) else ""
    return replace(preprocessing.sample(given), window=window)


def _part(
    given: Image.Image | np.ndarray, resize: Callable[[tuple[int, int]], tuple[int, int]]
) -> AbstractContextManager[None]:
    """A part of the budget of decoding, as large as the picture needs; an array is there already."""
    return (
        pictures.budget.of(pictures.cost(given, resize)) if isinstance(given, Image.Image) else nullcontext()
    )


def sample_of_pixels(pixels: np.ndarray, preprocessing: Preprocessing) -> Sample:
    """Pixels (S, T, C) of the model's size, as the model and the eye see them."""
    return Sample(preprocessing.tensor(pixels), shown(pixels), pixels)


def _picture_or_array(image: Any) -> Image.Image | np.ndarray:
    if isinstance(image, Tensor):
        image = image.permute(1, 2, 0).cpu().numpy() if image.dim() == 3 else image.cpu().numpy()
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8:
            raise ValueError(
                f"an array of {image.dtype}; needed is uint8 (H, W, channels) or a normalised float tensor"
            )
        if not image.size or image.ndim not in (2, 3):
            raise ValueError(f"an array of shape {image.shape}; needed is (H, W, channels), each at least 1")
        return image
    if isinstance(image, Image.Image):
        return image
    raise TypeError(f"an image came as {type(image).__name__}")


def _planes(image: Image.Image | np.ndarray, channels: int) -> tuple[list[Image.Image], float | None]:
    """Pictures of 8 bits that hold the channels: one, grey or RGB, or else a grey one for each; the peak."""
    if mode := MODES.get(channels):
        if isinstance(image, np.ndarray):
            image = Image.fromarray(image[..., 0] if image.shape[2:] == (1,) else image)
        found = pictures.upright(image)
        # a grey one gets its three channels when it is small
        picture = found.picture
        return [picture if picture.mode in ("L", mode) else picture.convert(mode)], found.peak
    if isinstance(image, Image.Image):
        raise TypeError(
            f"a picture gives 1 or 3 channels and the model takes {channels}; give uint8 arrays "
            f"(H, W, {channels}) or normalised float tensors, as a dataset or a list"
        )
    if image.ndim != 3 or image.shape[2] != channels:
        raise ValueError(f"an array of shape {image.shape}; needed is (H, W, {channels})")
    return [Image.fromarray(np.ascontiguousarray(image[..., channel])) for channel in range(channels)], None


def _stacked(planes: Sequence[Image.Image], channels: int) -> np.ndarray:
    """Their pixels (H, W, C); of one grey picture as often as there are channels."""
    stacked = np.dstack([np.asarray(plane) for plane in planes])
    return stacked if stacked.shape[2] == channels else np.repeat(stacked, channels, axis=2)


def _resized(size: tuple[int, int], side: int) -> tuple[int, int]:
    """(width, height) with the shorter side at ``side``; the longer one is bounded for extreme strips."""
    width, height = size
    short = max(1, min(width, height))
    longest = 64 * side  # a 1 x 100,000 strip would otherwise grow to gigabytes before its centre is cut
    return min(longest, side * width // short), min(longest, side * height // short)


def reason_of(error: BaseException) -> str:
    """Why an image could not be read, in one line."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    if "cannot identify" in text:
        return "not an image that can be read (empty, cut off or of an unknown kind)"
    return text.split("\n")[0]
