"""Loaders and iterable datasets: gone through once, and held."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    default_collate,
    default_convert,
)

from whyclass.errors import DataError
from whyclass.pool.dataset_rows import file_of, image_of, label_of

HELD = 2 << 30
"""Bytes that images which can be read only once may take."""


def is_loader(images: Any) -> bool:
    """Whether it is a ``DataLoader``."""
    return isinstance(images, DataLoader)


def is_mapped(images: Any) -> bool:
    """Whether images can be read by their position, again and again."""
    once = isinstance(images, (DataLoader, IterableDataset))  # both of which have the methods' names
    return not once and hasattr(images, "__getitem__") and hasattr(images, "__len__")


def behind(images: Any) -> Any:
    """The dataset of a loader that only reads all of it, shuffles and stacks; anything else as it is."""
    return images.dataset if is_loader(images) and _plain(images) else images


def _plain(loader: Any) -> bool:
    stacks = loader.collate_fn in (default_collate, default_convert)
    usual = type(loader.batch_sampler) in (BatchSampler, type(None))
    drawn = type(loader.sampler) in (SequentialSampler, RandomSampler)
    if not (stacks and usual and drawn and is_mapped(loader.dataset)):
        return False
    return len(loader.sampler) == len(loader.dataset) and not getattr(loader.sampler, "replacement", False)


def read_once(images: Any) -> tuple[list[Any], list[Any], list[str | None], str]:
    """Images, labels and files of what can be gone through only once, and its name; all are held in memory.

    Raises
    ------
    DataError
        If they take more than ``HELD``.
    """
    held: list[Any] = []
    labels: list[Any] = []
    files: list[str | None] = []
    size = 0
    rows = _unbatched(images) if is_loader(images) else iter(images)
    for row in rows:
        image = _kept(image_of(row), images)
        size += _bytes(image)
        if size > HELD:
            raise DataError(
                f"{_kind(images)} holds more than {HELD >> 30} GiB of images, and can be read only once; "
                "write "
                "them to files, or give a dataset that has a length and takes an index"
            )
        held.append(image)
        labels.append(label_of(row))
        files.append(file_of(row))
    return held, labels, files, f"{_kind(images)} of {len(held)} images"


def _kind(images: Any) -> str:
    return type(images.dataset if is_loader(images) else images).__name__


def _unbatched(loader: Any) -> Iterator[Any]:
    """Rows of a loader's batches."""
    for batch in loader:
        if loader.batch_size is None and loader.batch_sampler is None:
            yield batch
            continue
        yield from _rows_of(batch)


def _rows_of(batch: Any) -> Iterator[Any]:
    if isinstance(batch, Mapping):
        count = len(next(iter(batch.values())))
        for row in range(count):
            yield {name: values[row] for name, values in batch.items() if hasattr(values, "__getitem__")}
    elif isinstance(batch, (tuple, list)):
        yield from zip(*batch, strict=False)
    else:
        yield from batch


def _kept(image: Any, images: Any) -> Any:
    """A copy: a dataset may give the same memory again and again."""
    if isinstance(image, Tensor):
        return image.detach().cpu().clone()
    if isinstance(image, np.ndarray):
        return np.array(image)
    if isinstance(image, (Image.Image, str, os.PathLike)):
        return image
    raise DataError(
        f"images came as {_kind(images)} of {type(image).__name__}; needed are pictures, arrays, tensors or "
        "paths"
    )


def _bytes(image: Any) -> int:
    if isinstance(image, Tensor):
        return image.numel() * image.element_size()
    if isinstance(image, np.ndarray):
        return image.nbytes
    return image.width * image.height * len(image.getbands()) if isinstance(image, Image.Image) else 0
