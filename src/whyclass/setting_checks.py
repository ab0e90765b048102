"""What numbers a setting may be: clear errors before long work."""

from __future__ import annotations

import math
from typing import Any

from whyclass.errors import SettingsError

MOST: dict[str, float] = {
    "images": 10**6,
    "copies": 10**5,
    "concepts": 1000,
    "starts": 10**4,
    "iterations": 10**7,
    "crops": 10**4,
    "pair_crops": 10**4,
    "pool": 10**4,
    "control_images": 10**6,
    "epochs": 10**7,
    "picture_steps": 10**6,
    "rate": 100.0,
    "finer": 1000,
    "budget": 2.0**20,
    "controls": 10**5,
    "examples": 10**4,
    "seed": 2**63 - 1,
    "noise": 1000.0,
    "tolerance": 1.0,
    **dict.fromkeys(("null_crops", "null_cells", "null_scores", "audit_nulls", "fillings", "refits"), 10**5),
    **dict.fromkeys(("plane_starts", "plane_bootstraps", "plane_permutations"), 10**5),
}
"""Far above what any run needs, and far below where memory or the numbers themselves run over."""

STEPS, FARTHEST = 1000, 1e6
"""Steps of the shifting test at most, and the largest."""

SHORT = 60
"""Characters of a wrong value that a message tells."""


def told(value: Any) -> str:
    """A wrong value in a message: cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no whole number of more than 4300 digits
        return "a number of thousands of digits"
    return text if len(text) <= SHORT else f"{text[:SHORT]}…"


def check(settings: Any, name: str, kind: type, least: float) -> None:
    """Refuse a number that is none, or below ``least``, or above what any run needs."""
    value = getattr(settings, name)
    whole = isinstance(value, int) and not isinstance(value, bool)
    if (
        not (whole or (kind is float and isinstance(value, float)))
        or not value >= least
        or value == float("inf")
    ):
        raise SettingsError(f"{name} is {told(value)}; needed is a {kind.__name__} of at least {least}")
    if value > MOST.get(name, math.inf):
        raise SettingsError(f"{name} is {told(value)}; needed is at most {MOST[name]:,}")


def check_steps(shifts: Any) -> None:
    """Refuse steps of the shifting test that do not rise from 0."""
    numbers = isinstance(shifts, tuple) and all(isinstance(step, (int, float)) for step in shifts)
    good = numbers and len(shifts) > 1 and all(abs(step) < math.inf for step in shifts)
    if not good or shifts[0] != 0 or list(shifts) != sorted(set(shifts)):
        raise SettingsError(
            f"shifts is {told(shifts)}; needed are two or more rising numbers, the first one 0"
        )
    if len(shifts) > STEPS or shifts[-1] > FARTHEST:
        raise SettingsError(f"shifts is {told(shifts)}; needed are at most {STEPS} steps up to {FARTHEST:g}")
