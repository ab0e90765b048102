"""The pool of a result in words: how many images, what was passed over, and what to mind of their values."""

from __future__ import annotations

from typing import Any

from whyclass.records import PoolInfo
from whyclass.report import words

PICTURES = frozenset(
    (
        *(".arw", ".cr2", ".cr3", ".dcm", ".dib", ".dng", ".exr", ".hdr", ".heic", ".heif", ".hif", ".ico"),
        *(".j2k", ".jpe", ".jpx", ".jxl", ".nef", ".npy", ".orf", ".pcx", ".pnm", ".psd", ".raf", ".rw2"),
        *(".svg", ".tga", "without an ending"),
    )
)
"""Endings of files that may well be pictures, though they are not read."""


def size_line(pool: PoolInfo) -> str:
    """``3,925 images, 2 skipped, 7 files left out (5 .heic, 2 .txt)``."""
    skipped = f", {words.count(len(pool.skipped))} skipped" if pool.skipped else ""
    return f"{words.count(pool.size)} images{skipped}{_left_out(pool, ', ')}"


def besides(pool: PoolInfo) -> str:
    """What follows the number of images on a page."""
    skipped = f"; {words.count(len(pool.skipped))} skipped" if pool.skipped else ""
    return skipped + _left_out(pool, "; ")


def cautions(pool: PoolInfo) -> list[str]:
    """What a reader of any result on these images must know."""
    found = list(pool.warnings)
    if unread := [one for one in pool.left_out if one.ending in PICTURES]:
        kinds = ", ".join(f"{words.count(one.n)} {one.ending}" for one in unread)
        found.append(
            f"files that may be pictures are left out of the pool ({kinds}): convert them to JPEG or PNG, or "
            "give them such an ending"
        )
    return found


def as_object(pool: PoolInfo) -> dict[str, Any]:
    """The pool for programs."""
    return {
        "size": pool.size,
        "digest": pool.digest,
        "left_out": {one.ending: one.n for one in pool.left_out},
        "warnings": cautions(pool),
    }


def _left_out(pool: PoolInfo, before: str) -> str:
    if not pool.left_out:
        return ""
    total = sum(one.n for one in pool.left_out)
    kinds = ", ".join(f"{words.count(one.n)} {one.ending}" for one in pool.left_out)
    return f"{before}{words.count(total)} {'file' if total == 1 else 'files'} left out ({kinds})"
