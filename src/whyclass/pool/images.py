"""A pool of images: folders, a dataset or a list -> identity, tensor for the model, picture for the eye.

The tensor is made from the picture, in one place, so that what a person sees is what the model saw.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as transforms

from whyclass.errors import DataError, SettingsError
from whyclass.records import Picture

_COMMON = (".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
EXTENSIONS = frozenset((*_COMMON, ".avif", ".jp2", ".pbm", ".pgm", ".ppm"))
"""Files of a folder that count as images."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
INTERPOLATIONS = ("bilinear", "bicubic")
LARGEST = 1_000_000_000
"""Pixels above which a file is reported and skipped rather than decoded (Pillow takes 4 GB for as many)."""

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
        alike = len(self.mean) == len(self.std) > 0 and all(map(math.isfinite, (*self.mean, *self.std)))
        if not alike or min(self.std) <= 0:
            raise SettingsError(
                f"mean {self.mean} and std {self.std} need one number for each channel, as many of both, "
                "std above 0"
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


@dataclass(frozen=True)
class Item:
    """Identity of an image: its path relative to the pool, and a hash of its content."""

    path: str
    digest: str


@dataclass(frozen=True)
class Pool:
    """Images that are there to be read, in a fixed order.

    Attributes
    ----------
    name
        What the user gave, for people.
    items
        Identities in order.
    read
        From a position to the image: a picture of any size, or a tensor ready for the model.
    files
        Whether the images are files, which others may change meanwhile.
    kept
        From a position to the pixels (S, T, C) that the model sees, where all images were decoded before;
        it raises ``DataError`` for one that could not be.
    """

    name: str
    items: tuple[Item, ...]
    read: Callable[[int], Any] = field(repr=False)
    files: bool = False
    kept: Callable[[int], np.ndarray] | None = field(repr=False, default=None)

    @property
    def digest(self) -> str:
        """Hash over all identities, in order."""
        lines = "\n".join(f"{item.digest} {item.path}" for item in self.items)
        return hashlib.blake2b(lines.encode(errors="surrogateescape"), digest_size=16).hexdigest()

    def changed(self, position: int) -> bool:
        """Whether the image at a position is no longer the one that was hashed and, if so, decoded."""
        return self.kept is None and _content_digest(self.read, position) != self.items[position].digest

    def sample(self, position: int, preprocessing: Preprocessing) -> Sample:
        """The image at a position.

        Raises
        ------
        DataError
            If it is broken: names it and says why.
        """
        path = self.items[position].path
        if self.kept is not None:
            return _of_pixels(self.kept(position), preprocessing)
        try:
            return _sample(self.read(position), preprocessing)
        except MemoryError as error:
            raise DataError(f"{path}: too large for the memory of this machine") from error
        except Exception as error:  # decoders, and somebody's dataset, raise anything for a broken image
            raise DataError(f"{path}: {_reason(error)}") from error


def pool(images: Any) -> Pool:
    """A pool from folders, a ``torch`` dataset, or a list.

    Parameters
    ----------
    images
        A folder or several, searched with their subfolders; or a sequence (a map-style dataset
        counts) of pictures, paths, uint8 arrays (H, W, C), or float tensors (C, S, T) that are
        already normalised. Of pairs, such as (image, label), the first part is taken. Pictures and
        paths give one or three channels; a model of other numbers needs arrays or tensors.

    Raises
    ------
    DataError
        If a folder is missing or unreadable, or there is no image.
    """
    if isinstance(images, Pool):
        return images
    if isinstance(images, (str, os.PathLike)):
        return _from_folders([Path(images)])
    if isinstance(images, Sequence) and images and all(isinstance(i, (str, os.PathLike)) for i in images):
        paths = [Path(image) for image in images]
        return _from_files(paths) if all(path.is_file() for path in paths) else _from_folders(paths)
    if hasattr(images, "__getitem__") and hasattr(images, "__len__"):
        return _from_sequence(images)
    raise DataError(
        f"images came as {type(images).__name__}; needed is a folder, several folders, a map-style dataset "
        "or a list of images"
    )


def samples(
    source: Pool, positions: Iterable[int], preprocessing: Preprocessing, workers: int = 2
) -> Iterator[tuple[int, Sample | DataError]]:
    """Each image with its position, in order, decoded ahead by ``workers`` threads; a broken one as error."""

    def load(position: int) -> Sample | DataError:
        try:
            return source.sample(position, preprocessing)
        except DataError as error:
            return error

    queue: list[tuple[int, Future[Sample | DataError]]] = []
    rest = iter(positions)
    with ThreadPoolExecutor(workers) as threads:
        try:
            while True:
                queue += [
                    (p, threads.submit(load, p)) for p in islice(rest, max(0, 16 * workers - len(queue)))
                ]
                if not queue:
                    return
                position, future = queue.pop(0)
                yield position, future.result()
        finally:
            for _, future in queue:
                future.cancel()


def encode(picture: Image.Image, lossless: bool = True, quality: int = 90) -> Picture:
    """A picture as PNG, or as JPEG where small files matter more than exact pixels."""
    out = io.BytesIO()
    if lossless:
        picture.save(out, "PNG", optimize=True)
    else:
        picture.save(out, "JPEG", quality=quality)
    return Picture(out.getvalue(), picture.width, picture.height, "image/png" if lossless else "image/jpeg")


def decode(picture: Picture) -> Image.Image:
    """The pixels of an encoded picture, RGB."""
    return Image.open(io.BytesIO(picture.data)).convert("RGB")


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
        raise DataError(f"{named}: {_reason(error)}") from error
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


def _sample(image: Any, preprocessing: Preprocessing) -> Sample:
    if isinstance(image, Tensor) and image.is_floating_point():
        needed = (preprocessing.channels, *preprocessing.crop)
        if image.shape != needed:
            raise ValueError(f"a tensor of shape {tuple(image.shape)}; needed is {needed}")
        if not image.isfinite().all():
            raise ValueError("the tensor holds NaN or infinity")
        return Sample(image.detach().float().cpu(), preprocessing.undo(image.detach()))
    if isinstance(image, (str, os.PathLike)):
        with _open(Path(image)) as opened:
            return _of_pixels(preprocessing.pixels(opened), preprocessing)
    return _of_pixels(preprocessing.pixels(_picture_or_array(image)), preprocessing)


def _of_pixels(pixels: np.ndarray, preprocessing: Preprocessing) -> Sample:
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
        return [_rgb(image).convert(mode)]
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


def _rgb(image: Image.Image) -> Image.Image:
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


def _from_folders(folders: list[Path]) -> Pool:
    if missing := [folder for folder in folders if not folder.exists()]:
        raise DataError(f"there is no folder or file {missing[0]}; give a folder that holds images")
    if files := [folder for folder in folders if not folder.is_dir()]:
        raise DataError(f"{files[0]} is a file; give the folder that holds the images")
    resolved = [folder.resolve() for folder in folders]
    base = Path(os.path.commonpath(resolved))
    found = {path: path.relative_to(base).as_posix() for folder in resolved for path in _walk(folder)}
    if not found:
        kinds = " ".join(sorted(EXTENSIONS))
        raise DataError(f"no image in {', '.join(map(str, folders))}; looked for {kinds}, with subfolders")
    return _of_files(", ".join(map(str, folders)), sorted(found.items(), key=lambda entry: entry[1]))


def _from_files(paths: list[Path]) -> Pool:
    base = Path(os.path.commonpath([path.resolve().parent for path in paths]))
    return _of_files(
        f"{len(paths)} files", [(p.resolve(), p.resolve().relative_to(base).as_posix()) for p in paths]
    )


def _of_files(name: str, files: list[tuple[Path, str]]) -> Pool:
    with ThreadPoolExecutor(4) as threads:
        digests = list(threads.map(lambda entry: _file_digest(entry[0]), files))
    items = tuple(Item(_printable(path), digest) for (_, path), digest in zip(files, digests, strict=True))
    places = [place for place, _ in files]
    return Pool(name, items, lambda position: places[position], files=True)


def _from_sequence(images: Any) -> Pool:
    if len(images) == 0:
        raise DataError("the list of images is empty")

    def read(position: int) -> Any:
        image = images[position]
        return image[0] if isinstance(image, (tuple, list)) else image

    width = len(str(len(images) - 1))
    digests = (_content_digest(read, position) for position in range(len(images)))
    items = tuple(Item(f"{position:0{width}d}", digest) for position, digest in enumerate(digests))
    return Pool(f"{type(images).__name__} of {len(images)} images", items, read)


def _walk(folder: Path) -> Iterator[Path]:
    """Image files below a folder, links followed once each; an unreadable folder is an error."""

    def fail(error: OSError) -> None:
        raise DataError(f"cannot read folder {error.filename}: {error.strerror}") from error

    seen: set[str] = set()
    for place, folders, files in os.walk(folder, onerror=fail, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else sorted(f for f in folders if not f.startswith("."))
        if real in seen:
            continue
        seen.add(real)
        for file in sorted(files):
            if not file.startswith(".") and os.path.splitext(file)[1].lower() in EXTENSIONS:
                yield Path(place, file)


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:  # reported when it is to be decoded, like any other broken file
        return f"unreadable-{error.errno}"


def _content_digest(read: Callable[[int], Any], position: int) -> str:
    try:
        image = read(position)
        if isinstance(image, (str, os.PathLike)):
            return _file_digest(Path(image))
        if isinstance(image, Tensor):
            image = image.detach().float().cpu().numpy() if image.is_floating_point() else image.cpu().numpy()
        array = np.ascontiguousarray(_rgb(image) if isinstance(image, Image.Image) else image)
    except Exception as error:  # reported when it is to be used, like any other broken image
        return f"unreadable-{type(error).__name__}"
    head = f"{array.dtype} {array.shape} ".encode()
    return hashlib.blake2b(head + array.tobytes(), digest_size=16).hexdigest()


def _printable(path: str) -> str:
    """File names that are no Unicode keep a readable, reversible form."""
    return path.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _reason(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    if "cannot identify" in text:
        return "not an image that can be read (empty, cut off or of an unknown kind)"
    return text.split("\n")[0]
