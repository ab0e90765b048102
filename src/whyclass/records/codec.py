"""Frozen records to bytes and back: JSON for values, safetensors for arrays, pictures as they are.

One zip file with fixed dates and order, so that the same record gives the same bytes. What is read
back is built from the record's own type hints: nothing is unpickled, nothing is imported by name.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import types
import typing
import zipfile
from functools import cache
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from whyclass.errors import RecordError

T = TypeVar("T")

_VALUES, _ARRAYS = "record.json", "arrays.safetensors"
_LARGEST = 2 << 30
_PLAIN: dict[Any, tuple[type, ...]] = {str: (str,), bool: (bool,), int: (int,), float: (float, int)}


class _Parts:
    """Arrays and blobs met while a record is walked; equal blobs are kept once."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self.blobs: dict[str, bytes] = {}

    def plain(self, value: Any) -> Any:
        if dataclasses.is_dataclass(value):
            return {f.name: self.plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        if isinstance(value, dict):
            return {str(key): self.plain(entry) for key, entry in value.items()}
        if isinstance(value, (tuple, list)):
            return [self.plain(entry) for entry in value]
        if isinstance(value, np.ndarray):
            self.arrays[name := f"a{len(self.arrays):05d}"] = np.asarray(value, order="C")
            return name
        if isinstance(value, bytes):
            self.blobs[name := f"blobs/{hashlib.blake2b(value, digest_size=12).hexdigest()}"] = value
            return name
        return value


def to_json(record: Any) -> Any:
    """The record's plain values, for programs; arrays and pictures are left out as names."""
    return _Parts().plain(record)


def encode(record: Any, key: str = "") -> bytes:
    """Bytes of a frozen record, the same each time; with the key that it is kept under, if any."""
    parts = _Parts()
    values = {"kind": type(record).__name__, "record": parts.plain(record)} | ({"key": key} if key else {})
    files = {_VALUES: json.dumps(values, indent=1, allow_nan=True).encode()}
    files[_ARRAYS] = save_arrays(parts.arrays)
    files.update(sorted(parts.blobs.items()))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
    return out.getvalue()


def decode(kind: type[T], data: bytes, version: int, keys: tuple[str, ...] = ()) -> T:
    """The record of type ``kind`` that was encoded; with ``keys``, only one that was kept under one of them.

    Raises
    ------
    RecordError
        If the bytes are damaged, of another kind of record, of another format version, or of another key.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > _LARGEST:
                raise RecordError("the record is larger than 2 GiB; it is no record of whyclass")
            values = json.loads(archive.read(_VALUES), parse_constant=_number, parse_float=_number)
            found = (values["kind"], values["record"]["format"])
            if found != (kind.__name__, version):
                raise RecordError(
                    f"this is a {found[0]} of format {found[1]}; "
                    f"needed is a {kind.__name__} of format {version}"
                )
            if keys and values.get("key", "") not in keys:
                raise RecordError("this is not the record that belongs here: it does not hold its key")
            arrays = load_arrays(archive.read(_ARRAYS))
            built = _build(kind, values["record"], arrays, archive)
    except RecordError:
        raise
    except Exception as error:  # damage makes zip, JSON and safetensors raise nearly anything
        raise RecordError(f"this is no whole record of whyclass: {error or type(error).__name__}") from error
    return built  # type: ignore[no-any-return]


def _build(hint: Any, value: Any, arrays: dict[str, np.ndarray], archive: zipfile.ZipFile) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        inner = next(arg for arg in args if arg is not type(None))
        return None if value is None else _build(inner, value, arrays, archive)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        hints = _hints(hint, value)
        return hint(**{name: _build(hints[name], value[name], arrays, archive) for name in value})
    if origin is tuple:
        _check_list(value)
        kinds = [args[0]] * len(value) if args[-1] is Ellipsis else args
        return tuple(_build(k, entry, arrays, archive) for k, entry in zip(kinds, value, strict=True))
    if origin is dict:
        _check_named(args[1], value)
    return _leaf(hint, value, arrays, archive)


def _check_list(value: Any) -> None:
    if type(value) is not list:
        raise ValueError(f"{value!r} is no list")


def _check_named(hint: Any, value: Any) -> None:
    if type(value) is not dict or not all(_is(hint, one) for one in value.values()):
        raise ValueError(f"a {type(value).__name__} is no set of named values, or holds others")


def _is(hint: Any, value: Any) -> bool:
    return hint not in _PLAIN or type(value) in _PLAIN[hint]


def _number(text: str) -> float:
    """A number of JSON; no record holds one that is not finite, and no program could read it."""
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text[:20]} is no finite number")
    return value


def _leaf(hint: Any, value: Any, arrays: dict[str, np.ndarray], archive: zipfile.ZipFile) -> Any:
    if hint is np.ndarray:
        return arrays[value]
    if hint is bytes:
        return archive.read(value)
    if not _is(hint, value):
        raise ValueError(f"{value!r} is no {hint.__name__}")
    return value


def _hints(kind: type, value: Any) -> dict[str, Any]:
    """The types of a record's fields; ``value`` must hold all that are needed and no other."""
    hints, needed = _known(kind)
    if not needed <= value.keys() <= hints.keys():
        wrong = sorted((needed - set(value)) | (set(value) - set(hints)))
        raise ValueError(f"{kind.__name__} has fields {wrong} too many or too few")
    return hints


@cache  # a store has thousands of the same few kinds
def _known(kind: type) -> tuple[dict[str, Any], frozenset[str]]:
    """The types of a kind's fields, and the names of those that a record must hold."""
    fields, found = dataclasses.fields(kind), typing.get_type_hints(kind)
    # a field that came later has a default, and records from before it lack it
    needed = frozenset(field.name for field in fields if field.default is dataclasses.MISSING)
    return {field.name: found[field.name] for field in fields}, needed


def blob(data: IO[bytes] | Path, name: str) -> bytes:
    """The bytes in an encoded record that have this hash, without reading the rest.

    Raises
    ------
    RecordError
        If the record is damaged, or has none such.
    """
    try:
        with zipfile.ZipFile(data) as archive:
            return archive.read(f"blobs/{name}")
    except Exception as error:  # damage makes zip raise nearly anything
        raise RecordError("the record has no such picture") from error
