"""Files in an object store, or wherever else fsspec reads (extra ``remote``): found, and read whole.

Nothing is kept of where a file was read: workers of a cluster read what they need themselves, with the
credentials that their own machine has.
"""

from __future__ import annotations

import errno
import io
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import unquote

from whyclass.addresses import holds_password
from whyclass.errors import DataError

WEB = ("http", "https")
"""Where a name in an address is written with signs of per cent."""

LONGEST = 2 << 30
"""Bytes of a file above which it is not read: all of it is held."""

THREADS = 16
"""Files that are read at a time when all are hashed: each is waited for longer than it is worked on."""

ATTEMPTS, PAUSE = 3, 0.5
"""A file whose reading fails for what may pass is asked for so often, first after so many seconds."""

_GONE = (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR)
"""Reasons that another attempt does not change."""


@dataclass(frozen=True)
class Bucket:
    """A file system of fsspec, by an address in it. It holds nothing that cannot be sent."""

    url: str

    @property
    def system(self) -> Any:
        """The file system, opened once in each process."""
        return _opened(self.url, os.getpid())[0]

    @property
    def path(self) -> str:
        """Of the address, as the file system has it."""
        return str(_opened(self.url, os.getpid())[1]).rstrip("/")

    @property
    def web(self) -> bool:
        """Whether its names are addresses."""
        spoken = self.system.protocol
        return bool({*WEB} & {*((spoken,) if isinstance(spoken, str) else spoken)})


@cache
def _opened(url: str, process: int) -> tuple[Any, str, threading.Lock]:
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise DataError(f"{url} needs the fsspec library: pip install 'whyclass[remote]'") from error
    try:
        system, path = url_to_fs(url)
    except ImportError as error:
        raise DataError(f"{url} needs another library beside fsspec: {_line(error)}") from error
    except ValueError as error:
        raise DataError(f"{url}: {_line(error)}; give an address that fsspec knows, or a folder") from error
    except Exception as error:  # of whichever library reads it
        raise DataError(f"{url} cannot be opened: {_line(error)}") from error
    return system, path, threading.Lock()


@dataclass(frozen=True)
class RemoteFile:
    """A file by its path in a file system.

    ``long`` is one that has more than ``LONGEST`` bytes.
    """

    bucket: Bucket
    path: str
    long: bool = False

    @property
    def name(self) -> str:
        """The last part of the path."""
        return unquote(self.path.rpartition("/")[2]) if self.bucket.web else self.path.rpartition("/")[2]

    def read(self) -> bytes:
        """All of it.

        Raises
        ------
        OSError
            If it cannot be read: with ``ENOENT``, ``EACCES`` or ``EFBIG`` where that lasts.
        """
        if self.long:
            raise OSError(errno.EFBIG, f"more than {LONGEST >> 30} GiB")
        for attempt in range(ATTEMPTS):
            try:
                return self._once()
            except OSError as error:
                if error.errno in _GONE or attempt == ATTEMPTS - 1:
                    raise
            time.sleep(PAUSE * 2**attempt)
        raise AssertionError

    def _once(self) -> bytes:
        system, _, lock = _opened(self.bucket.url, os.getpid())
        try:
            if system.async_impl:
                return bytes(system.cat_file(self.path))
            with lock:  # others promise nothing to several threads
                return bytes(system.cat_file(self.path))
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory") from error
        except PermissionError as error:
            raise PermissionError(errno.EACCES, "Permission denied") from error
        except IsADirectoryError as error:
            raise IsADirectoryError(errno.EISDIR, "Is a directory") from error
        except Exception as error:  # of whichever library reads it
            raise OSError(errno.ECONNABORTED, _line(error)) from error

    def open(self) -> io.BufferedReader:
        """Its bytes as an open file."""
        return io.BufferedReader(io.BytesIO(self.read()))  # type: ignore[arg-type]


@dataclass(frozen=True)
class RemoteFolder:
    """The folder that all files of a pool lie in, and which of them are too long to be read."""

    bucket: Bucket
    path: str
    long: frozenset[str] = field(default=frozenset(), repr=False)

    def file(self, place: str) -> RemoteFile:
        """A file by its path below the folder."""
        return RemoteFile(self.bucket, f"{self.path}/{place}" if self.path else place, place in self.long)

    def plain(self, place: str) -> str:
        """A path below the folder as people write it."""
        return unquote(place) if self.bucket.web else place

    def label(self, place: str) -> str:
        """The name of the folder that a file lies in."""
        return self.plain(self.file(place).path.rpartition("/")[0].rpartition("/")[2])


@dataclass(frozen=True)
class Listed:
    """Files of whatever kind, by their paths below the folder that all lie in.

    ``marks`` are of contents: while one is the same, so is what the file holds. Not every store gives any.
    """

    folder: RemoteFolder
    places: tuple[str, ...] = field(repr=False)
    marks: Mapping[str, str] = field(repr=False)


def of_folders(urls: Sequence[str]) -> Listed:
    """All files below addresses, in no order.

    Raises
    ------
    DataError
        If there is nothing, or it cannot be reached, or addresses are of several stores.
    """
    buckets = _of_one_store(urls)
    every = {path: told for bucket in buckets for path, told in _below(bucket)}
    if files := [bucket.url for bucket in buckets if bucket.path in every]:
        raise DataError(f"{files[0]} is a file; give the folder that holds the images")
    return _listed(buckets[0], [bucket.path for bucket in buckets], every)


def of_files(urls: Sequence[str]) -> Listed:
    """Files that are addressed one by one, in their order; nobody asks whether they are there."""
    buckets = _of_one_store(urls)
    paths = [bucket.path for bucket in buckets]
    return _listed(buckets[0], [_above(path) for path in paths], {path: {} for path in paths})


def matching(pattern: str) -> Listed:
    """Files that fit a pattern such as ``s3://bucket/photos/**/*.jpg``, in order.

    Raises
    ------
    DataError
        If there are none, or the store cannot be reached.
    """
    bucket = Bucket(checked(pattern))
    every = _reached(pattern, lambda: bucket.system.glob(bucket.path, detail=True))
    hidden = "/." in bucket.path  # as for paths here, unless it is asked for
    fitting = {
        path: told
        for path, told in sorted(every.items())
        if told["type"] == "file" and (hidden or "/." not in path)
    }
    if not fitting:
        raise DataError(f"no file fits {pattern}; give a pattern such as s3://bucket/photos/**/*.jpg")
    return _listed(bucket, [_above(path) for path in fitting], fitting)


def is_pattern(url: str) -> bool:
    """Whether an address is a pattern; a web server has none."""
    return any(sign in url for sign in ("*", "[")) and url.partition(":")[0].lower() not in WEB


def checked(url: str) -> str:
    """An address that may stand in results.

    Raises
    ------
    DataError
        If it holds a password.
    """
    if holds_password(url):
        raise DataError(
            "an address of images holds a password, and results name the pool; leave it to the environment "
            "or to fsspec's configuration"
        )
    return url


def _of_one_store(urls: Sequence[str]) -> list[Bucket]:
    buckets = [Bucket(checked(url)) for url in urls]
    first, *others = [(type(one.system), one.system.storage_options) for one in buckets]
    if any(one != first for one in others):
        raise DataError(f"{urls[0]} and what was given beside it are of several stores; give one's alone")
    return buckets


def _listed(bucket: Bucket, above: Sequence[str], every: dict[str, Any]) -> Listed:
    base = _common(above)
    start = len(base) + 1 if base else 0
    long = frozenset(path[start:] for path, told in every.items() if int(told.get("size") or 0) > LONGEST)
    marks = {path[start:]: mark for path, told in every.items() if (mark := _mark(told))}
    return Listed(RemoteFolder(bucket, base, long), tuple(path[start:] for path in every), marks)


def _below(bucket: Bucket) -> Iterator[tuple[str, Any]]:
    """Paths of all files below an address, and what is told of each."""
    system, path = bucket.system, bucket.path

    def every() -> list[tuple[str, Any]]:
        return list(_walked(system, path) if bucket.web else system.find(path, detail=True).items())

    for name, told in _reached(bucket.url, every):
        if not name.endswith("/"):  # some stores hold folders as empty files
            yield name, told


def _walked(system: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Of a web server, whose listings are links: those that lead down, each folder by itself."""
    left = [path]
    while left:
        folder = left.pop().rstrip("/") + "/"
        for told in system.ls(folder, detail=True):
            name = str(told["name"])
            if not name.startswith(folder) or name == folder or {*"?#"} & {*name[len(folder) :]}:
                continue
            if told["type"] == "directory":
                left.append(name)
            else:
                yield name, told


def _reached(url: str, ask: Callable[[], Any]) -> Any:
    """What a store answers; its errors as ours."""
    try:
        return ask()
    except FileNotFoundError as error:
        raise DataError(f"there is no folder or file {url}; give a folder that holds images") from error
    except DataError:
        raise
    except Exception as error:  # of whichever library reads it
        raise DataError(
            f"{url} cannot be listed: {_line(error)}; check the address, the network, and that this machine "
            "may read it"
        ) from error


def _mark(told: Any) -> str:
    """What changes with a file's content, as the store has it; empty where it says nothing."""
    given = next((told[name] for name in ("ETag", "etag", "md5Hash") if told.get(name)), None)
    return "" if given is None else f"{given} {told.get('size')}"


def _above(path: str) -> str:
    return path.rpartition("/")[0]


def _common(paths: Iterable[str]) -> str:
    """The folder that all paths lie in or are."""
    parts = [path.split("/") for path in paths]
    same = next((n for n, level in enumerate(zip(*parts, strict=False)) if len(set(level)) > 1), None)
    return "/".join(parts[0][: min(map(len, parts)) if same is None else same])


def _line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
