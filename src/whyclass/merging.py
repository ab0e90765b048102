"""Results of one store taken into another of the same model, each checked for being what it says.

A store may come from another machine, and is no more trusted than any other file from there: nothing is
taken but regular files of known names, whose content proves the key that they lie under.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from whyclass import files
from whyclass.errors import RecordError, StoreError
from whyclass.records import (
    FORMAT,
    SUFFIX,
    Comparisons,
    ConceptBasis,
    Contrast,
    Evidence,
    EvidenceAgainst,
    Explanation,
    Factors,
    Finding,
    LayerChoice,
    MethodResult,
    Pairs,
    Planes,
    Record,
    Shifts,
    SourceShifts,
    codec,
)
from whyclass.store import MARK, Store, facts_of, key_in, key_of, owner, read_meta

RECORDS: dict[str, type[Record]] = {
    "bases": ConceptBasis,
    "choices": LayerChoice,
    "comparisons": Comparisons,
    "contrasts": Contrast,
    "evidence": Evidence,
    "evidence_against": EvidenceAgainst,
    "explanations": Explanation,
    "factors": Factors,
    "findings": Finding,
    "methods": MethodResult,
    "pairs": Pairs,
    "planes": Planes,
    "shifts": Shifts,
    "sources": SourceShifts,
}
"""Folders of records, and the kind that lies in each."""

ROWS = {"index": ("cells.f16", "logits.f32", "scores.f32", "items.jsonl"), "frames": ("pixels.u8",)}
"""Folders of finished passes over the pool, and what one may hold: rows with their checksums, and names."""

UNFINISHED = (".lock", ".partial", ".coming")
"""Ends of names of what is no result yet."""

LARGEST = 4 << 30
"""Bytes of a record that is read; those of passes are copied, not read."""


@dataclass(frozen=True)
class Merged:
    """How many results were taken, were there already, and were there with other bytes.

    ``refused`` names what was left out since it is no whole result, and why.
    """

    taken: int
    same: int
    different: int
    refused: tuple[str, ...] = ()


def merge_into(store: Store, other: Store) -> Merged:
    """Take every result of another store of the same model that is not there yet.

    Nothing is overwritten; what was cut off on the way is taken when it is run again. What is no regular
    file, is damaged, or lies under a key that it was not made for, is left out and named.

    Raises
    ------
    StoreError
        If the stores are of different models, or one cannot be read or written.
    """
    mine, theirs = owner(store.folder / MARK), owner(other.folder / MARK)
    if mine.get("weights") != theirs.get("weights"):
        raise StoreError(
            f"{other.folder} is of {theirs.get('model')} and {store.folder} of {mine.get('model')}, with "
            "other weights; only stores of one model can be merged"
        )
    counts = {"taken": 0, "same": 0, "different": 0}
    refused: list[str] = []
    for source, take in _offered(other.folder):
        name = source.relative_to(other.folder)
        try:
            counts[take(source, store.folder / name)] += 1
        except RecordError as error:
            refused.append(f"{name}: {error}")
    return Merged(**counts, refused=tuple(refused))


def _offered(folder: Path) -> Iterator[tuple[Path, Callable[[Path, Path], str]]]:
    """What lies where results lie, and how it is taken."""
    for kind in (*RECORDS, *ROWS):
        place, record = folder / kind, kind in RECORDS
        entries = sorted(place.iterdir()) if place.is_dir() and not place.is_symlink() else []
        for entry in entries:
            if entry.suffix == SUFFIX if record else entry.suffix not in UNFINISHED:
                yield entry, _take_record if record else _take_pass


def _take_record(source: Path, target: Path) -> str:
    _check_regular(source)
    if source.stat().st_size > LARGEST:
        raise RecordError("it is too large for a record")
    data = files.read(source)
    codec.decode(RECORDS[source.parent.name], data, FORMAT, (key_in(source),))
    if target.exists():
        return "same" if files.read(target) == data else "different"
    files.write(target, data)
    return "taken"


def _take_pass(source: Path, target: Path) -> str:
    """A folder; its rows have checksums of their own, which are read where they are used."""
    _check_pass(source)
    if target.exists():
        return "same"
    coming = target.with_name(f"{target.name}.coming")
    try:
        shutil.rmtree(coming, ignore_errors=True)
        coming.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, coming, symlinks=True)
        for file in coming.iterdir():
            _check_regular(file)
            files.sync(file)
        coming.rename(target)
    except OSError as error:
        shutil.rmtree(coming, ignore_errors=True)
        raise StoreError(f"cannot write {target}: {error}; make space, then merge again") from error
    return "taken"


def _check_pass(source: Path) -> None:
    """Refuse what is no folder of a finished pass under its own key."""
    if source.is_symlink() or not source.is_dir():
        raise RecordError("it is no folder")
    for file in sorted(source.iterdir()):
        if file.name != "meta.json" and file.name.removesuffix(".crc") not in ROWS[source.parent.name]:
            raise RecordError(f"it holds {file.name!r}, which is no part of it")
        _check_regular(file)
    meta = read_meta(source)
    if meta is None or key_of(**facts_of(meta)) != source.name:
        raise RecordError("what it says of itself is damaged, or of something else")


def _check_regular(file: Path) -> None:
    """Refuse links, pipes and devices: a link would be read through, and a pipe waited for."""
    if file.is_symlink() or not file.is_file():
        raise RecordError("it is a link, or no regular file")
