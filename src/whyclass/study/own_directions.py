"""A matrix of the user's own directions, such as the decoder of a sparse autoencoder, read and checked."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from whyclass import files
from whyclass.errors import DataError


@dataclass(frozen=True)
class OwnDirections:
    """Rows (m, c), float32, and the hash of the file's content that results are kept under."""

    rows: np.ndarray = field(repr=False)
    digest: str


def read_directions(path: Path, channels: int) -> OwnDirections:
    """Directions of a layer with so many channels from a ``.safetensors`` or ``.npz`` file of one matrix.

    Raises
    ------
    DataError
        If the file is missing, of another kind, or holds other than one matrix; if its rows are not as long
        as the layer has channels; or if one is zero or not finite.
    """
    if path.suffix not in READERS:
        raise DataError(f"{path}: directions are read from {' or '.join(READERS)}, not from {path.suffix!r}")
    if not path.is_file():
        raise DataError(f"{path}: there is no such file of directions")
    content = files.read(path)
    try:
        arrays = READERS[path.suffix](content)
    except (SafetensorError, zipfile.BadZipFile, ValueError, OSError, EOFError) as error:
        raise DataError(f"{path}: no whole {path.suffix} file of arrays ({error})") from error
    if len(arrays) != 1:
        named = ", ".join(sorted(arrays)[:4]) or "none"
        raise DataError(f"{path} holds {len(arrays)} arrays ({named}); needed is one matrix (k, channels)")
    (rows,) = arrays.values()
    check_directions(rows, channels, str(path))
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    return OwnDirections(np.asarray(rows, np.float32), digest)


def check_directions(rows: np.ndarray, channels: int, named: str) -> None:
    """Refuse what is no set of directions of a layer."""
    if rows.ndim != 2 or not len(rows) or rows.dtype.kind not in "fiu":
        raise DataError(
            f"{named} holds {rows.dtype} of shape {rows.shape}; needed is one matrix (k, channels) of numbers"
        )
    if rows.shape[1] != channels:
        turned = "; it looks transposed" if rows.shape[0] == channels else ""
        raise DataError(
            f"{named} has rows of {rows.shape[1]} numbers, and the layer has {channels} channels: directions "
            f"of another layer?{turned}"
        )
    broken = np.flatnonzero(~np.isfinite(rows).all(1))
    empty = np.flatnonzero(~rows.any(1))
    for wrong, why in ((broken, "not finite"), (empty, "all zero")):
        if wrong.size:
            raise DataError(f"{named}: row {wrong[0]} is {why}, as are {wrong.size - 1} others; leave it out")


def _of_npz(content: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(content)) as archive:
        return {name: archive[name] for name in archive.files}


READERS: dict[str, Callable[[bytes], dict[str, np.ndarray]]] = {
    ".safetensors": load_tensors,
    ".npz": _of_npz,
}
"""How a file's content becomes arrays, by its suffix; neither unpickles anything."""
