"""What `contrasts.py` wrote, as tables with paired intervals over pairs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

DRAWS = 10_000
"""Of the bootstrap over pairs of classes; both directions of a pair are drawn together."""

Row = dict[str, Any]

SHIFT: dict[str, Callable[[Row], float]] = {
    "training": lambda row: row["training"],
    "held out": lambda row: row["held_out"],
    "halves": lambda row: row["halves"],
    "default": lambda row: row["default"],
    "shifted": lambda row: row["shifted"],
    "swap 0.1": lambda row: row["swapped"] and row["shifted"] >= 0.1,
    "swap 0.2": lambda row: row["swapped"] and row["shifted"] >= 0.2,
    "swap 0.5": lambda row: row["swapped"] and row["shifted"] >= 0.5,
    "first": lambda row: np.nan if row["first"] is None else row["first"] * row["unit"],
    "first t": lambda row: np.nan if row["first"] is None else row["first"],
    "random swaps": lambda row: row["random swaps"],
    "others swap": lambda row: row["others swaps"],
}
CROPS: dict[str, Callable[[Row], float]] = {
    "with": lambda row: row["including"],
    "predicted": lambda row: "including" in row["predicted"],
    "without A": lambda row: row["excluding"],
    "predicted without A": lambda row: "excluding" in row["predicted"],
    "without both": lambda row: row["neither"],
    "predicted without both": lambda row: "neither" in row["predicted"],
}


def show(rows: Sequence[Row]) -> None:
    """Every part, layer, set of pairs and way to cut crops by itself; differences to the paper's plane."""
    groups = defaultdict(list)
    for row in rows:
        groups[row["part"], row["layer"], row["pairs"], _cut(row)].append(row)
    for (part, layer, pairs, cut), mine in groups.items():
        columns, base = (SHIFT, "paper") if part == "shift" else (CROPS, "paper, plane")
        variants = list(dict.fromkeys(row["variant"] for row in mine))
        done = [{row["variant"]: row for row in mine if tuple(row["pair"]) == p} for p in _pairs(mine)]
        whole = [one for one in done if len(one) == len(variants)]
        print(f"\n{part}, {layer}, {pairs}{cut}: n = {len(whole)} ordered pairs")
        print("| variant | " + " | ".join(columns) + " |")
        for variant in variants:
            told = [_told(whole, variant, base, of) for of in columns.values()]
            print(f"| {variant} | " + " | ".join(told) + " |")


def _cut(row: Row) -> str:
    """How many crops of each concept, how large, and how far the search leans to the normal."""
    if "count" not in row:
        return ""
    leaning = f", leaning {row['tilt']:g} to the normal" if row["tilt"] else ""
    return f", {row['count']} of each concept, side x {row['size']}{leaning}"


def _pairs(rows: Sequence[Row]) -> list[tuple[int, int]]:
    return list(dict.fromkeys(tuple(row["pair"]) for row in rows))


def _told(found: Sequence[dict[str, Row]], variant: str, base: str, of: Callable[[Row], float]) -> str:
    own = np.array([float(of(one[variant])) for one in found])
    other = np.array([float(of(one[base])) for one in found])
    both = np.isfinite(own) & np.isfinite(other)
    if variant == base or not both.any():
        return f"{np.nanmean(own):.3f}" if np.isfinite(own).any() else "none"
    names = [tuple(sorted(one[variant]["pair"])) for one, keep in zip(found, both, strict=True) if keep]
    groups = [np.flatnonzero([name == mine for name in names]) for mine in dict.fromkeys(names)]
    difference = (own - other)[both]
    sums = np.array([difference[rows].sum() for rows in groups])
    counts = np.array([len(rows) for rows in groups])
    drawn = np.random.default_rng(0).integers(len(groups), size=(DRAWS, len(groups)))
    low, high = np.quantile(sums[drawn].sum(1) / counts[drawn].sum(1), (0.025, 0.975))
    return f"{np.nanmean(own):.3f} ({difference.mean():+.3f} [{low:+.3f}, {high:+.3f}])"
