"""One image of a pool, read and proved to be the one that was hashed.

What is read is hashed again after it was decoded, from the same open file: a file that was replaced, cut off
or removed meanwhile stops the pass, and never leaves a row under another image's name. So does what may be
gone a moment later, such as a shortage of memory: only what would come out the same again is skipped.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from io import BufferedReader, BytesIO, FileIO
from typing import Any, cast

import numpy as np
from PIL import Image
from torch import Tensor

from whyclass.errors import DataError
from whyclass.models import pictures
from whyclass.models.preprocessing import Sample, reason_of
from whyclass.pool.remote import RemoteFile

LONGEST_FILE = 64 << 30
"""Bytes of a file above which it is not read: hashing it would take minutes."""

LASTING = frozenset(
    (
        *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP, errno.EINVAL, errno.ENOTDIR, errno.EISDIR),
        *(errno.ENAMETOOLONG, errno.ENXIO, errno.EIO, errno.EFBIG),
    )
)
"""Reasons of the system for which a file is skipped; any other, such as too many open files, may pass."""


UNREADABLE = "unreadable-"
"""Before a reason, where an image has no digest."""


class _PassingError(DataError):
    """What may come out otherwise the next time, and so stops a pass: nothing is kept of it."""


def stops(error: DataError) -> bool:
    """Whether an error is of what may pass or has changed, and not of an image that is broken for good."""
    return isinstance(error, _PassingError)


def file_digest(path: str | os.PathLike[str] | RemoteFile) -> str:
    """Hash of a file's content, or why it cannot be read.

    Raises
    ------
    DataError
        If that is for a reason that may pass.
    """
    try:
        if isinstance(path, RemoteFile):
            return _hashed_bytes(path.read())
        with pictures.open_regular(path) as file:
            return _hashed(file)
    except OSError as error:  # reported when it is to be decoded, like any other broken file
        if error.errno not in LASTING:
            named = path.path if isinstance(path, RemoteFile) else path
            raise _PassingError(f"{named}: {reason_of(error)}; run the same again") from error
        return _unreadable(error)


def content_digest(read: Callable[[], Any]) -> str:
    """Hash of the content of an image of any kind, or why it cannot be read."""
    try:
        return _given_digest(read())
    except DataError:
        raise
    except Exception as error:  # reported when it is to be used, like any other broken image
        return _unreadable(error)


def sample_of_file(
    path: str | os.PathLike[str], name: str, digest: str, sample_of: Callable[[BufferedReader], Sample]
) -> Sample:
    """The image in a file whose content had a digest.

    Raises
    ------
    DataError
        If it is broken, changed, or cannot be read now (`stops` tells which).
    """
    try:
        file = pictures.open_regular(path)
    except OSError as error:
        raise _refused(name, digest, error) from error
    with file:
        try:
            if os.fstat(file.fileno()).st_size > LONGEST_FILE:
                raise OSError(errno.EFBIG, f"more than {LONGEST_FILE >> 30} GiB")
            found = _attempt(name, lambda: sample_of(_rewound(file)))
            now = _hashed(file)
        except OSError as error:
            raise _refused(name, digest, error) from error
    return _unchanged(name, now == digest, found)


def sample_of_remote(
    file: RemoteFile, name: str, digest: str, sample_of: Callable[[BufferedReader], Sample]
) -> Sample:
    """The image in a file that is read whole, as for one of this machine."""
    try:
        data = file.read()
    except OSError as error:
        raise _refused(name, digest, error) from error
    found = _attempt(name, lambda: sample_of(BufferedReader(BytesIO(data))))  # type: ignore[arg-type]
    return _unchanged(name, _hashed_bytes(data) == digest, found)


def _unchanged(name: str, same: bool, found: Any) -> Sample:
    if not same:
        raise _PassingError(
            f"{name} changed since it was first read; run the same again, on a new study of the images"
        )
    return _sound(name, found)


def sample_of_given(
    read: Callable[[], Any], name: str, digest: str, sample_of: Callable[[Any], Sample]
) -> Sample:
    """The image that a dataset or a list gives, whose content had a digest; raises as for a file."""
    image = _attempt(name, read)
    if isinstance(image, Exception):
        if _unreadable(image) != digest:
            raise _PassingError(f"{name}: {reason_of(image)}; it could be read before") from image
        raise DataError(f"{name}: {reason_of(image)}") from image
    if isinstance(image, RemoteFile):
        return sample_of_remote(image, name, digest, sample_of)
    if isinstance(image, (str, os.PathLike)):
        return sample_of_file(image, name, digest, sample_of)
    found = _attempt(name, lambda: sample_of(image))
    if content_digest(lambda: image) != digest:
        raise _PassingError(
            f"{name} changed since it was first read; a dataset must give the same image each time, without "
            "random augmentation"
        )
    return _sound(name, found)


def _sound(name: str, found: Any) -> Sample:
    if isinstance(found, Exception):
        raise DataError(f"{name}: {reason_of(found)}") from found
    return found  # type: ignore[no-any-return]


def _refused(name: str, digest: str, error: OSError) -> DataError:
    """A file that cannot be opened: skipped where it could not be when it was hashed either."""
    if _unreadable(error) == digest:
        return DataError(f"{name}: {reason_of(error)}")
    return _PassingError(f"{name}: {reason_of(error)}; it could be read before, and so nothing of it is kept")


def _attempt(name: str, make: Callable[[], Any]) -> Any:
    """What is made, or the exception; where memory ran short, once more with no other picture decoding."""
    try:
        return make()
    except Exception as error:  # decoders, and somebody's dataset, raise anything for a broken image
        if not _short_of_memory(error):
            return error
    try:
        with pictures.budget.alone():
            return make()
    except Exception as error:  # as above
        if not _short_of_memory(error):
            return error
        if _there_is_memory():
            return ValueError("it asks for far more memory than its picture takes")
        raise _PassingError(
            f"{name}: not enough memory to decode it; free some and run the same again, which goes on here"
        ) from error


def _short_of_memory(error: Exception) -> bool:
    # Pillow's decoders and torch's allocator say it in words
    words = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in words or "can't allocate memory" in words


def _there_is_memory() -> bool:
    """Whether as much as any picture may take is there, so that a shortage is the file's own doing."""
    try:
        np.empty(pictures.budget.size, np.uint8)
    except MemoryError:
        return False
    return True


def _rewound(file: BufferedReader) -> BufferedReader:
    file.seek(0)
    return file


def is_reason(digest: str) -> bool:
    """Whether it stands for why an image cannot be read."""
    return digest.startswith(UNREADABLE)


def _unreadable(error: Exception) -> str:
    return f"{UNREADABLE}{(error.errno if isinstance(error, OSError) else None) or type(error).__name__}"


def _hashed(file: BufferedReader) -> str:
    if os.fstat(file.fileno()).st_size > LONGEST_FILE:
        raise OSError(errno.EFBIG, f"more than {LONGEST_FILE >> 30} GiB")
    raw = cast(FileIO, file.raw)  # not what is buffered of it: that is of before
    raw.seek(0)
    return hashlib.file_digest(raw, _hash).hexdigest()


def _hashed_bytes(data: bytes) -> str:
    found = _hash()
    found.update(data)
    return str(found.hexdigest())


def _hash() -> Any:
    return hashlib.blake2b(digest_size=16)


def _given_digest(image: Any) -> str:
    if isinstance(image, (str, os.PathLike, RemoteFile)):
        return file_digest(image)
    if isinstance(image, Tensor):
        image = image.detach().float().cpu().numpy() if image.is_floating_point() else image.cpu().numpy()
    if isinstance(image, Image.Image):
        need = pictures.cost(image, lambda size: size) + 7 * image.width * image.height  # RGB, and its bytes
        with pictures.budget.of(min(need, pictures.budget.size)):
            image = np.asarray(pictures.upright(image).picture.convert("RGB"))
    array = np.ascontiguousarray(image)
    if array.dtype == object:  # whose bytes are addresses
        return f"{UNREADABLE}{type(image).__name__}"
    found = _hash()
    found.update(f"{array.dtype} {array.shape} ".encode())
    found.update(array.reshape(-1).view(np.uint8))
    return str(found.hexdigest())
