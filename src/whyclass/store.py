"""What a run leaves on disk: one folder for one model, everything in it under the key of what made it.

A result is served only to the same model, layer, pool and settings. Rows of an unfinished pass over
the pool are kept and continued.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from whyclass import files
from whyclass.errors import StoreError
from whyclass.records import SUFFIX, Record

MARK = "whyclass.json"
LOG = "log.txt"
MADE_BY = "made_by.json"
FORMAT = 1

MODELS, SHORT = "models", 16
"""Folder in a store for other models' stores, and letters of a weights' hash that name one."""

SUM = "sum"
"""Under this a note holds the hash of all else in it."""

OUTCOME = ("classes", "skipped", "items", "ranges")
"""What a finished pass notes beside the facts that its key is made of."""


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
    mark
        The file by which it is known, where the store was opened by it.
    """

    folder: Path
    mark: Path | None = field(default=None, compare=False, repr=False)

    def part(self, name: str) -> Store:
        """A folder of it with results of the same kinds."""
        return replace(self, folder=self.folder / name)

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

    def note(self, kind: str, name: str) -> Path:
        """File of a note, which is JSON and no result."""
        return self.folder / kind / f"{name}.json"

    def notes(self, kind: str) -> list[Path]:
        """Files of all notes of a kind, in the order of their names."""
        return sorted((self.folder / kind).glob("*.json"))

    def drop_note(self, kind: str, name: str) -> None:
        """Remove a note that is needed no more."""
        self.note(kind, name).unlink(missing_ok=True)

    def keep(self, record: Record, file: Path) -> None:
        """Save a record under its key, which it holds as a proof of what it is of."""
        self.check()
        record.save(file, key=key_in(file))

    def check(self) -> None:
        """Refuse to go on where the store was removed meanwhile.

        Raises
        ------
        StoreError
            If it was.
        """
        if self.mark is not None and not self.mark.exists():
            raise StoreError(f"the store {self.folder} was removed while it was in use; run the same again")

    def log(self, line: str) -> None:
        """Add a line to the store's log; a store that can only be read has none."""
        if os.access(self.folder, os.W_OK):
            files.append(self.folder / LOG, line)

    def page(self, name: str, key: str) -> Path:
        """File of a page: a readable name made safe for any file system, and the key's start."""
        return self.folder / "pages" / f"{safe_name(name, 'class')}-{key[:8]}.html"


def key_in(file: Path) -> str:
    """What a record proves: its kind's folder, and its key."""
    return f"{file.parent.name}/{file.stem}"


def safe_name(name: str, otherwise: str) -> str:
    """A name for any file system, of ASCII letters, digits and hyphens; ``otherwise`` where it has none."""
    return "".join(c if c.isalnum() and c.isascii() else "-" for c in name)[:60].strip("-") or otherwise


def open_store(folder: str | Path, model: str, weights: str) -> Store:
    """Open or make the store of a model.

    A folder holds several models: what is of another one than the first lies in a store of its own in it.

    Parameters
    ----------
    folder
        A new or empty folder, or a store of whatever model.
    model, weights
        The model's name, and the fingerprint of its weights.

    Raises
    ------
    StoreError
        If the folder holds something else, or cannot be written.
    """
    folder = Path(folder)
    mark = folder / MARK
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder} is a file; give a folder for the store")
    if not mark.exists() and _free(folder):
        files.write(
            mark, json.dumps({"format": FORMAT, "model": model, "weights": weights}, indent=1).encode()
        )
    if owner(mark).get("weights") != weights:
        if folder.parent.name == MODELS:
            raise StoreError(f"store {folder} belongs to another model; give the folder that it lies in")
        return open_store(folder / MODELS / weights[:SHORT], model, weights)
    if os.access(folder, os.W_OK):
        files.sweep(folder)
    elif not any(folder.glob("index/*/meta.json")):  # a finished one can be read
        raise StoreError(f"store {folder} cannot be written to; choose a folder that you may write to")
    return Store(folder, mark)


def find_store(folder: str | Path) -> Store:
    """The store in a folder, of whatever model.

    Raises
    ------
    StoreError
        If there is none.
    """
    folder = Path(folder)
    if not _is_file(folder / MARK):
        raise StoreError(
            f"{folder} is no store of whyclass; give the folder that an audit was given as --store"
        )
    owner(folder / MARK)
    return Store(folder, folder / MARK)


def stores_in(folder: str | Path) -> list[Store]:
    """The store in a folder, and those of other models that it holds.

    Raises
    ------
    StoreError
        If there is none.
    """
    first = find_store(folder)
    others = sorted(place.parent for place in (first.folder / MODELS).glob(f"*/{MARK}"))
    return [first, *map(find_store, others)]


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


def owner(mark: Path) -> dict[str, Any]:
    """What a store's mark says: its format, its model and the fingerprint of its weights.

    Raises
    ------
    StoreError
        If it is damaged, or of another version.
    """
    try:
        found = json.loads(files.read(mark))
    except ValueError as error:
        raise StoreError(
            f"{mark} is damaged; give another folder for the store, or delete this one"
        ) from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise StoreError(f"{mark} is of another version of whyclass; give another folder for the store")
    return found


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
        files.write(self.folder / "progress.json", _noted({"done": done, "state": state}, None))


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
        kept = _proved(json.loads(files.read(folder / "progress.json")))
        return Pass(folder, int(kept["done"]), dict(kept["state"]))
    except (StoreError, ValueError, KeyError, TypeError):
        return Pass(folder, 0, {})


def finish(store: Store, key: str, work: Pass, meta: dict[str, Any], kind: str = "index") -> None:
    """Make a finished pass the result under its key, in one step."""
    store.check()
    files.write(work.folder / "meta.json", _noted(meta, 1))
    (work.folder / "progress.json").unlink(missing_ok=True)
    try:
        work.folder.rename(store.rows(kind, key))
    except OSError as error:
        if not store.rows(kind, key).exists():  # else another run finished the same first
            raise StoreError(f"cannot finish {store.rows(kind, key)}: {error.strerror}") from error
        shutil.rmtree(work.folder, ignore_errors=True)


def drop_unfinished(store: Store, kind: str, key: str) -> None:
    """Remove what is left of passes under other keys that no process works on any more."""
    for folder in (store.folder / kind).glob("*.partial"):
        other = folder.name.removesuffix(".partial")
        if other != key and files.free(store.folder / kind / f"{other}.lock"):
            shutil.rmtree(folder, ignore_errors=True)


def remember(folder: Path, options: dict[str, Any]) -> None:
    """Keep the options of the command line that a store was last opened with, where it can be written to."""
    if remembered(folder) != options and os.access(folder, os.W_OK):
        files.write(folder / MADE_BY, json.dumps(options, indent=1).encode())


def remembered(folder: Path) -> dict[str, Any]:
    """These options; none where the store was made otherwise, or there is none."""
    try:
        kept = json.loads((folder / MADE_BY).read_bytes())
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def read_meta(folder: Path) -> dict[str, Any] | None:
    """What a finished index says of itself; None where there is none or it is damaged."""
    try:
        return _proved(json.loads((folder / "meta.json").read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _noted(values: dict[str, Any], indent: int | None) -> bytes:
    """A note with its own hash."""
    return json.dumps({**values, SUM: key_of(**values)}, indent=indent).encode()


def _proved(note: Any) -> dict[str, Any]:
    """A note without its hash; one that is damaged is a ``ValueError``."""
    values = {name: value for name, value in dict(note).items() if name != SUM}
    if dict(note).get(SUM) != key_of(**values):
        raise ValueError("the note is not what was written")
    return values


def facts_of(meta: dict[str, Any]) -> dict[str, Any]:
    """Those that the key of a finished pass is made of."""
    return {name: value for name, value in meta.items() if name not in OUTCOME}


def damaged(store: Store, kind: str, key: str) -> None:
    """Remove a finished pass that is not what it was."""
    shutil.rmtree(store.rows(kind, key), ignore_errors=True)


def other_indexes(store: Store, key: str) -> list[tuple[Path, dict[str, Any]]]:
    """The store's other finished indexes: their folders, and what they say of themselves."""
    folders = sorted((store.folder / "index").glob("*")) if (store.folder / "index").exists() else []
    others = [folder for folder in folders if folder.name != key and not folder.name.endswith(".partial")]
    return [(folder, meta) for folder in others if (meta := read_meta(folder)) is not None]


@contextmanager
def locked(
    store: Store, key: str, kind: str = "index", tell: Callable[[str], None] = lambda line: None
) -> Iterator[None]:
    """Only one process at a time makes what is kept under a key; the lock dies with its process.

    ``tell`` is told which process is waited for.
    """
    folder = store.folder / kind
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = files.locked(folder / f"{key}.lock", tell)
        lock.__enter__()
    except OSError as error:
        raise StoreError(f"cannot write to {folder}: {error.strerror}") from error
    try:
        yield
    finally:
        lock.__exit__(None, None, None)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long for any file, or with a null character
        return False
