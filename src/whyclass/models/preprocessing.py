"""Decoding and normalising: from a file, picture or array to the tensor that the model sees.

The tensor is made from the picture, in one place, so that what a person sees is what the model saw."""

from __future__ import annotations

import math
import os
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as transforms

from whyclass.errors import DataError, SettingsError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
INTERPOLATIONS = ("bilinear", "bicubic")
LARGEST = 1_000_000_000
"""Pixels above which a file is reported and skipped rather than decoded (Pillow takes 4 GB for as many)."""

LONGEST = 16384
"""Pixels of a side of the model's input at most: an image of this alone takes 3 GB."""

SMALLEST = 1e-6
"""Least standard deviation of a channel, in units of 1 = white."""

MODES = {1: "L", 3: "RGB"}
"""Channels that a picture can give, with Pillow's name of such pictures; other numbers come as arrays."""

_open_lock = threading.Lock()


@dataclass(frozen=True)
class Preprocessing:
    """From a picture to the model's input.

    As many numbers as ``mean`` and ``std`` hold, so many channels has the input. One makes pictures grey
    (ITU-R 601, of 8 bits: files of 16 are scaled to them); three are RGB; any other number takes uint8
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
        if (self.resize is not None and self.resize < 1) or min(self.crop) < 1:
            raise SettingsError(f"resize {self.resize} and crop {self.crop} must be at least 1 pixel")
        if max(self.crop) > LONGEST:
            raise SettingsError(f"crop is {self.crop}; needed are at most {LONGEST} pixels")
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
        return _stacked([self._fitted(picture) for picture in _planes(image, self.channels)])

    def _fitted(self, picture: Image.Image) -> Image.Image:
        if self.resize is not None:
            mode = InterpolationMode(self.interpolation)
            picture = transforms.resize(picture, _shorter_side(picture.size, self.resize), mode)
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
    came as a tensor, which the picture only shows and cannot make again.
    """

    tensor: Tensor
    picture: Image.Image
    pixels: np.ndarray | None = None


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
        opened = _open(Path(image)) if isinstance(image, (str, os.PathLike)) else _picture_or_array(image)
        pixels = _stacked(_planes(opened, channels))
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
        with _open(Path(image)) as opened:
            return sample_of_pixels(preprocessing.pixels(opened), preprocessing)
    return sample_of_pixels(preprocessing.pixels(_picture_or_array(image)), preprocessing)


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
        return image
    if isinstance(image, Image.Image):
        return image
    raise TypeError(f"an image came as {type(image).__name__}")


def _planes(image: Image.Image | np.ndarray, channels: int) -> list[Image.Image]:
    """Pictures of 8 bits that hold the channels: one, grey or RGB, or else a grey one for each channel."""
    if mode := MODES.get(channels):
        if isinstance(image, np.ndarray):
            image = Image.fromarray(image[..., 0] if image.shape[2:] == (1,) else image)
        return [upright_rgb(image).convert(mode)]
    if isinstance(image, Image.Image):
        raise TypeError(
            f"a picture gives 1 or 3 channels and the model takes {channels}; give uint8 arrays "
            f"(H, W, {channels}) or normalised float tensors, as a dataset or a list"
        )
    if image.ndim != 3 or image.shape[2] != channels:
        raise ValueError(f"an array of shape {image.shape}; needed is (H, W, {channels})")
    return [Image.fromarray(np.ascontiguousarray(image[..., channel])) for channel in range(channels)]


def _stacked(planes: Sequence[Image.Image]) -> np.ndarray:
    """Their pixels (H, W, C)."""
    return np.dstack([np.asarray(plane) for plane in planes])


def _open(path: Path) -> Image.Image:
    """Open with Pillow's guard against huge images lifted to ``LARGEST``; only the header is read here."""
    with _open_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = Image.open(path)
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    if image.width * image.height > LARGEST:
        size = f"{image.width} x {image.height}"
        image.close()
        raise ValueError(f"{size} pixels are more than the limit of {LARGEST:,}")
    if image.format == "JPEG" and image.width * image.height > 50_000_000:
        image.draft("RGB", (2048, 2048))  # decodes at a fraction of the size, still far above the model's
    return image


def upright_rgb(image: Image.Image) -> Image.Image:
    """First frame, upright, 8 bits, RGB."""
    try:
        image.seek(0)
        upright = ImageOps.exif_transpose(image)
    except EOFError:
        upright = image
    if upright.mode.startswith("I"):  # 16 bits; Pillow would clip at 255 instead of scaling
        values = np.asarray(upright).astype(np.int64)
        return Image.fromarray((values.clip(0, 65535) >> 8).astype(np.uint8)).convert("RGB")
    if upright.mode == "F":
        raise ValueError("32-bit float pixels have no agreed range; convert it to 8 or 16 bits")
    if upright.mode in ("P", "PA"):  # transparency kept in the palette needs the detour
        upright = upright.convert("RGBA")
    return upright.convert("RGB")


def _shorter_side(size: tuple[int, int], side: int) -> list[int]:
    """(height, width) with the shorter side at ``side``; the longer one is bounded for extreme strips."""
    width, height = size
    short = min(width, height)
    longest = 64 * side  # a 1 x 100,000 strip would otherwise grow to gigabytes before its centre is cut
    return [min(longest, side * height // short), min(longest, side * width // short)]


def reason_of(error: BaseException) -> str:
    """Why an image could not be read, in one line."""
    text = str(error) or type(error).__name__
    if "cannot identify" in text:
        return "not an image that can be read (empty, cut off or of an unknown kind)"
    return text.split("\n")[0]
