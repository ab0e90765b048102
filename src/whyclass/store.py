"""What a run leaves on disk: one folder for one model, everything in it under the key of what made it.

A result is served only to the same model, layer, pool and settings. Rows of an unfinished pass over
the pool are kept and continued.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from whyclass import files
from whyclass.errors import StoreError
from whyclass.records import SUFFIX

MARK = "whyclass.json"
LOG = "log.txt"
POOL = "pool.json"
FORMAT = 1


def key_of(**parts: Any) -> str:
    """Short hash of everything a result depends on; equal parts give equal keys."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=10).hexdigest()


@dataclass(frozen=True)
class Store:
    """A folder of results of one model.

    Attributes
    ----------
    folder
        Where it lies.
    """

    folder: Path

    def index(self, key: str) -> Path:
        """Folder of the finished index under a key."""
        return self.rows("index", key)

    def rows(self, kind: str, key: str) -> Path:
        """Folder of a finished pass over the pool: ``"index"``, or ``"frames"``."""
        return self.folder / kind / key

    def record(self, kind: str, key: str) -> Path:
        """File of a record under a key."""
        return self.folder / kind / f"{key}{SUFFIX}"

    def records(self, kind: str) -> list[Path]:
        """Files of all records of a kind, in the order of their names."""
        return sorted((self.folder / kind).glob(f"*{SUFFIX}"))

    def drop(self, kind: str, key: str) -> None:
        """Remove a record that is needed no more."""
        self.record(kind, key).unlink(missing_ok=True)

    def log(self, line: str) -> None:
        """Add a line to the store's log."""
        files.append(self.folder / LOG, line)

    def page(self, name: str, key: str) -> Path:
        """File of a page: a readable name made safe for any file system, and the key's start."""
        return self.folder / "pages" / f"{safe_name(name, 'class')}-{key[:8]}.html"


def safe_name(name: str, otherwise: str) -> str:
    """A name for any file system, of ASCII letters, digits and hyphens; ``otherwise`` where it has none."""
    return "".join(c if c.isalnum() and c.isascii() else "-" for c in name)[:60].strip("-") or otherwise


def open_store(folder: str | Path, model: str, weights: str) -> Store:
    """Open or make the store of a model.

    Parameters
    ----------
    folder
        A new or empty folder, or a store of the same model.
    model, weights
        The model's name, and the fingerprint of its weights.

    Raises
    ------
    StoreError
        If the folder holds something else, belongs to another model, or cannot be written.
    """
    folder = Path(folder)
    mark = folder / MARK
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder} is a file; give a folder for the store")
    if not mark.exists() and _free(folder):
        files.write(
            mark, json.dumps({"format": FORMAT, "model": model, "weights": weights}, indent=1).encode()
        )
    owner = _owner(mark)
    if owner.get("weights") != weights:
        raise StoreError(
            f"store {folder} belongs to another model: {owner.get('model')} with weights "
            f"{str(owner.get('weights'))[:12]}, and this is {model} with weights {weights[:12]}; "
            "choose another folder (a factory without a weights file may give new weights at each call)"
        )
    if not os.access(folder, os.W_OK):
        raise StoreError(f"store {folder} cannot be written to; choose a folder that you may write to")
    return Store(folder)


def find_store(folder: str | Path) -> Store:
    """The store in a folder, of whatever model.

    Raises
    ------
    StoreError
        If there is none.
    """
    folder = Path(folder)
    if not (folder / MARK).is_file():
        raise StoreError(
            f"{folder} is no store of whyclass; give the folder that an audit was given as --store"
        )
    _owner(folder / MARK)
    return Store(folder)


def _free(folder: Path) -> bool:
    """Whether the folder can become a store; False where another run has just made it one."""
    try:
        others = [entry.name for entry in folder.iterdir()] if folder.exists() else []
    except OSError as error:
        raise StoreError(f"cannot read {folder}: {error.strerror}") from error
    others = [name for name in others if not (name.startswith(f".{MARK}.") and name.endswith(".tmp"))]
    if others and MARK not in others:
        raise StoreError(
            f"{folder} is not empty and no store of whyclass (it holds {sorted(others)[0]!r}); "
            "give a new or empty folder"
        )
    return not others


def _owner(mark: Path) -> dict[str, Any]:
    try:
        owner = json.loads(files.read(mark))
    except ValueError as error:
        raise StoreError(
            f"{mark} is damaged; give another folder for the store, or delete this one"
        ) from error
    if not isinstance(owner, dict) or owner.get("format") != FORMAT:
        raise StoreError(f"{mark} is of another version of whyclass; give another folder for the store")
    return owner


class Rows:
    """Rows of numbers appended to a file, readable back as a memory-mapped array.

    Written with plain writes, so that a full disk is an error rather than a crash.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: str) -> None:
        self.path, self.shape, self.dtype = path, shape, np.dtype(dtype)
        self.row_bytes = int(np.prod(shape)) * self.dtype.itemsize

    def hold(self, count: int) -> bool:
        """Whether the first ``count`` rows are on disk."""
        return not count or (self.path.is_file() and self.path.stat().st_size >= count * self.row_bytes)

    def append(self, start: int, rows: np.ndarray) -> None:
        """Write ``rows`` from row ``start`` on; whatever an interrupted run left behind it is cut off."""
        data = np.ascontiguousarray(rows, self.dtype)
        try:
            with self.path.open("r+b" if self.path.exists() else "wb") as file:
                file.truncate(start * self.row_bytes)
                file.seek(start * self.row_bytes)
                file.write(data.tobytes())
                file.flush()
                os.fsync(file.fileno())  # the note that these rows are there must not outlive them
        except OSError as error:
            raise StoreError(
                f"cannot write {self.path}: {error.strerror}; make space or choose another folder, "
                "then run the same again: it continues"
            ) from error

    def read(self, count: int) -> np.ndarray:
        """All ``count`` rows, memory-mapped, read-only."""
        if not self.path.is_file() or self.path.stat().st_size != count * self.row_bytes:
            raise StoreError(f"{self.path} is damaged; delete its folder and run again")
        return np.memmap(self.path, self.dtype, "r", shape=(count, *self.shape))


@dataclass(frozen=True)
class Pass:
    """A pass over the pool under way: its folder and how far it came.

    ``done`` counts positions of the pool whose rows are on disk; ``state`` is what else the pass
    keeps, plain JSON values.
    """

    folder: Path
    done: int
    state: dict[str, Any]

    def keep(self, done: int, state: dict[str, Any]) -> None:
        """Note that everything before position ``done`` is on disk."""
        files.write(self.folder / "progress.json", json.dumps({"done": done, "state": state}).encode())


def resume(store: Store, key: str, kind: str = "index") -> Pass:
    """The unfinished pass under a key, or a new one at position 0."""
    folder = store.rows(kind, f"{key}.partial")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"cannot make {folder}: {error.strerror}; choose another folder for the store"
        ) from error
    try:
        kept = json.loads(files.read(folder / "progress.json"))
        return Pass(folder, int(kept["done"]), dict(kept["state"]))
    except (StoreError, ValueError, KeyError, TypeError):
        return Pass(folder, 0, {})


def finish(store: Store, key: str, work: Pass, meta: dict[str, Any], kind: str = "index") -> None:
    """Make a finished pass the result under its key, in one step."""
    files.write(work.folder / "meta.json", json.dumps(meta, indent=1).encode())
    (work.folder / "progress.json").unlink(missing_ok=True)
    try:
        work.folder.rename(store.rows(kind, key))
    except OSError as error:
        if not store.rows(kind, key).exists():  # else another run finished the same first
            raise StoreError(f"cannot finish {store.rows(kind, key)}: {error.strerror}") from error
        shutil.rmtree(work.folder, ignore_errors=True)


@dataclass(frozen=True)
class Merged:
    """How many results were taken, were there already, and were there with other bytes."""

    taken: int
    same: int
    different: int


def merge_into(store: Store, other: Store) -> Merged:
    """Take every result of another store of the same model that is not there yet.

    Nothing is overwritten; what was cut off on the way is taken when it is run again.

    Raises
    ------
    StoreError
        If the stores are of different models, or one cannot be read or written.
    """
    mine, theirs = _owner(store.folder / MARK), _owner(other.folder / MARK)
    if mine.get("weights") != theirs.get("weights"):
        raise StoreError(
            f"{other.folder} is of {theirs.get('model')} and {store.folder} of {mine.get('model')}, with "
            "other weights; only stores of one model can be merged"
        )
    counts = {"taken": 0, "same": 0, "different": 0}
    for file in sorted(other.folder.glob(f"*/*{SUFFIX}")):
        counts[_take_file(file, store.folder / file.relative_to(other.folder))] += 1
    for mark in sorted(other.folder.glob("*/*/meta.json")):
        if mark.parent.suffix != ".partial":
            counts[_take_folder(mark.parent, store.folder / mark.parent.relative_to(other.folder))] += 1
    return Merged(**counts)


def _take_file(source: Path, target: Path) -> str:
    data = files.read(source)
    if target.exists():
        return "same" if files.read(target) == data else "different"
    files.write(target, data)
    return "taken"


def _take_folder(source: Path, target: Path) -> str:
    if target.exists():
        return "same"
    coming = target.with_name(f"{target.name}.coming")
    try:
        shutil.rmtree(coming, ignore_errors=True)
        shutil.copytree(source, coming)
        for file in coming.iterdir():
            files.sync(file)
        coming.rename(target)
    except OSError as error:
        shutil.rmtree(coming, ignore_errors=True)
        raise StoreError(f"cannot write {target}: {error}; make space, then merge again") from error
    return "taken"


def drop_unfinished(store: Store, kind: str, key: str) -> None:
    """Remove what is left of passes under other keys that no process works on any more."""
    for folder in (store.folder / kind).glob("*.partial"):
        other = folder.name.removesuffix(".partial")
        if other != key and files.free(store.folder / kind / f"{other}.lock"):
            shutil.rmtree(folder, ignore_errors=True)


def last_pool(store: Store) -> dict[str, str] | None:
    """Content hashes by path of the pool that was audited last; None where there was none."""
    try:
        kept = json.loads((store.folder / POOL).read_bytes())
    except (OSError, ValueError):
        return None
    return kept if isinstance(kept, dict) else None


def keep_pool(store: Store, items: dict[str, str]) -> None:
    """Remember a pool as the last one."""
    if last_pool(store) != items:
        files.write(store.folder / POOL, json.dumps(items, indent=0).encode())


def read_meta(folder: Path) -> dict[str, Any] | None:
    """What a finished index says of itself; None where there is none or it is damaged."""
    try:
        meta = json.loads((folder / "meta.json").read_bytes())
    except (OSError, ValueError):
        return None
    return meta if isinstance(meta, dict) else None


def other_indexes(store: Store, key: str) -> list[dict[str, Any]]:
    """What the store's other finished indexes say of themselves."""
    folders = sorted((store.folder / "index").glob("*")) if (store.folder / "index").exists() else []
    metas = [read_meta(f) for f in folders if f.name != key and not f.name.endswith(".partial")]
    return [meta for meta in metas if meta is not None]


@contextmanager
def locked(store: Store, key: str, kind: str = "index") -> Iterator[None]:
    """Only one process at a time makes what is kept under a key; the lock dies with its process."""
    folder = store.folder / kind
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / f"{key}.lock").open("a")
    except OSError as error:
        raise StoreError(f"cannot write to {folder}: {error.strerror}") from error
    with file:
        try:
            import fcntl
        except ImportError:  # not a POSIX system: two runs at once are then the user's own care
            yield
            return
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
