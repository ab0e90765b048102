"""What `contrasts.py` wrote, as the tables of ``docs/contrasts.md``, with paired intervals over pairs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

DRAWS = 10_000
"""Of the bootstrap over pairs of classes; both directions of a pair are drawn together."""

Row = dict[str, Any]
Told = dict[tuple[int, int], dict[str, Row]]
"""Of each pair that is whole, each variant's row."""

MASKS = {
    "including": "whole pool",
    "excluding": "without A's images",
    "unlabelled": "without those labelled A either",
    "neither": "without A's and B's",
}


def show(rows: Sequence[Row]) -> None:
    """Every part, layer and set of pairs by itself."""
    groups = defaultdict(list)
    for row in rows:
        groups[row["part"], row["layer"], row["pairs"]].append(row)
    for (part, layer, pairs), mine in sorted(groups.items()):
        print(f"\n## {part}, {layer}, {pairs} pairs, {mine[0].get('device', 'cpu')}\n")
        {"shift": _shift, "crops": _crops}[part](mine)


def _whole(rows: Sequence[Row]) -> Told:
    """The pairs of which every variant was tried; of rows written twice the last."""
    found: Told = defaultdict(dict)
    for row in rows:
        found[tuple(row["pair"])][row["variant"]] = row
    every = {row["variant"] for row in rows}
    return {pair: own for pair, own in found.items() if len(own) == len(every)}


def _shift(rows: Sequence[Row]) -> None:
    told = _whole(rows)
    first = next(iter(told.values()))["paper"]
    default = np.mean([own["paper"]["default"] for own in told.values()])
    print(f"{len(told)} ordered pairs, {first.get('n', 'some')} images of the first; from {default:.3f}\n")
    print(
        "| plane | balanced accuracy, own cells | images not seen | shifted | swaps at 0.1 | 0.2 | 0.5 "
        "| halves | first step that swaps: units | length | earlier than paper's | random swap "
        "| other pairs' | reversed | not above random |\n" + "|---" * 15 + "|"
    )
    for variant in dict.fromkeys(row["variant"] for row in rows):
        own = [one[variant] for one in told.values()]
        swaps = [
            sum(row["swapped"] and row["shifted"] >= level for row in own) / len(own)
            for level in (0.1, 0.2, 0.5)
        ]
        firsts = [(row["first"], row["first"] * row["unit"]) for row in own if row["first"] is not None]
        units, length = np.median(firsts, axis=0) if firsts else (np.nan, np.nan)
        controls = [
            _share([row.get(f"{name} swaps") for row in own]) for name in ("random", "others", "reversed")
        ]
        beaten = sum(row["shifted"] <= row.get("random highest", 0) for row in own)
        cells = [
            f"{np.mean([row['training'] for row in own]):.3f}",
            paired(told, variant, "paper", lambda row: row["held_out"]),
            paired(told, variant, "paper", lambda row: row["shifted"]),
            *(f"{share:.1%}" for share in swaps),
            f"{np.mean([row['halves'] for row in own]):.2f}",
            f"{units:.2f}",
            f"{length:.2f}",
            _earlier(told, variant),
            *controls,
            str(beaten),
        ]
        print(f"| {variant} | " + " | ".join(cells) + " |")
    _least(told, "balanced")


def _share(found: Sequence[float | None]) -> str:
    known = [one for one in found if one is not None]
    return f"{np.mean(known):.1%}" if known else "none"


def _earlier(told: Told, variant: str) -> str:
    """In how many pairs a variant swaps at a shorter length than the paper's plane, where both do."""
    both = [
        (own[variant]["first"] * own[variant]["unit"], own["paper"]["first"] * own["paper"]["unit"])
        for own in told.values()
        if own[variant]["first"] is not None and own["paper"]["first"] is not None
    ]
    return f"{sum(mine < theirs for mine, theirs in both)} of {len(both)}"


def _least(told: Told, variant: str) -> None:
    order = sorted(told.items(), key=lambda one: one[1][variant]["shifted"])[:8]
    print(f"\nleast shifted by {variant}: " + ", ".join(f"{p} {o[variant]['shifted']:.2f}" for p, o in order))


def _crops(rows: Sequence[Row]) -> None:
    """By how crops are cut: how many of the pairs are predicted as A, and the mean score."""
    cuts = sorted({(row["count"], row["size"]) for row in rows if not row.get("tilt")})
    groups = {
        cut: _whole([row for row in rows if (row["count"], row["size"]) == cut and not row.get("tilt")])
        for cut in cuts
    }
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    for mask, name in MASKS.items():
        if not all(mask in row for told in groups.values() for own in told.values() for row in own.values()):
            continue
        n = len(next(iter(groups.values())))
        print(f"\n{n} ordered pairs; predicted as A (mean score)\n")
        print(f"| {name} | " + " | ".join(f"{count}, side x {size}" for count, size in cuts) + " |")
        print("|---" * (len(cuts) + 1) + "|")
        for variant in variants:
            cells = [_predicted(groups[cut], variant, mask) for cut in cuts]
            print(f"| {variant} | " + " | ".join(cells) + " |")
        print("\ndifference of the score to each class alone\n")
        for variant in variants:
            if variant != "alone":
                cells = [paired(groups[cut], variant, "alone", itemgetter(mask), bare=True) for cut in cuts]
                print(f"| {variant} | " + " | ".join(cells) + " |")


def _predicted(told: Told, variant: str, mask: str) -> str:
    own = [one[variant] for one in told.values()]
    return f"{sum(mask in row['predicted'] for row in own)} ({np.mean([row[mask] for row in own]):.2f})"


def paired(told: Told, variant: str, base: str, of: Callable[[Row], float], bare: bool = False) -> str:
    """A variant's mean with its difference to another's, and that one's 95 % interval."""
    own = np.array([float(of(one[variant])) for one in told.values()])
    other = np.array([float(of(one[base])) for one in told.values()])
    both = np.isfinite(own) & np.isfinite(other)
    if variant == base or not both.any():
        return f"{np.nanmean(own):.3f}" if np.isfinite(own).any() else "none"
    names = [tuple(sorted(pair)) for pair, keep in zip(told, both, strict=True) if keep]
    low, high = interval((own - other)[both], names)
    difference = f"{(own - other)[both].mean():+.3f} [{low:+.3f}, {high:+.3f}]"
    return difference if bare else f"{np.nanmean(own):.3f} ({difference})"


def interval(difference: np.ndarray, names: Sequence[Any]) -> tuple[float, float]:
    """Of the mean of differences, by drawing again what goes by one name together."""
    groups = [np.flatnonzero([name == mine for name in names]) for mine in dict.fromkeys(names)]
    sums = np.array([difference[rows].sum() for rows in groups])
    counts = np.array([len(rows) for rows in groups])
    drawn = np.random.default_rng(0).integers(len(groups), size=(DRAWS, len(groups)))
    low, high = np.quantile(sums[drawn].sum(1) / counts[drawn].sum(1), (0.025, 0.975))
    return float(low), float(high)
