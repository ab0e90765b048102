"""Numbers and names in words, safe to print."""

from __future__ import annotations

import math

from whyclass.plain_text import clean as clean
from whyclass.records import Explanation, PredictionTest

_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def score(value: float) -> str:
    """A score or a cosine with two digits: ``0.93``."""
    return f"{value:.2f}"


def score_of(test: PredictionTest) -> str:
    """The class's score; of a segmentation net with the mean over the map beside it."""
    return score(test.score) + ("" if test.share is None else f" (mean over the map {score(test.share)})")


TASKS = {
    "classification": "an image is of its best class",
    "segmentation": "scores are the largest over the map",
    "binary classification": "two classes, one logit between them",
    "multi-label classification": "each class has a score of its own, and counts above one half",
    "regression": "a number's high and low side, each a score that counts above one half",
    "zero-shot classification": "an embedding against a matrix of classes, scores are shares of one",
    "a number of the user's own": "its high and low side, each a score that counts above one half",
}
"""What a score means, by a model's task."""


def task(name: str) -> str:
    """What a model does, and what a score of it means."""
    return f"{name}: {TASKS[name]}" if name in TASKS else name


def between(low: float | None, high: float | None, digits: int = 2) -> str:
    """An interval: ``0.10 to 0.20``, or that there is none."""
    if low is None or high is None:
        return "none of so few"
    return f"{low:.{digits}f} to {high:.{digits}f}"


def copies(setting: int | str) -> str:
    """How many noisy copies a setting asks for."""
    return "as many noisy copies as it takes" if setting == "auto" else f"{setting} noisy copies of each"


def percent(value: float) -> str:
    """A share as a percentage: ``31%``; one more digit below one per cent."""
    return f"{100 * value:.1f}%" if 0 < value < 0.00995 else f"{100 * value:.0f}%"


def error(value: float) -> str:
    """A relative error: ``24%`` when it matters, ``1.8 × 10⁻⁶`` when it is small."""
    if not math.isfinite(value):
        return "an unknown amount"
    if value == 0 or value >= 0.01:
        return percent(value)
    digits, power = f"{value:.1e}".split("e")
    return f"{digits}\u00a0×\u00a010{str(int(power)).translate(_RAISED)}"


def count(value: int) -> str:
    """A whole number with thousands marked: ``50,000``."""
    return f"{value:,}"


def shape(value: tuple[int, ...]) -> str:
    """Sizes joined as ``2048 × 7 × 7``."""
    return " × ".join(str(size) for size in value)


def word(value: int) -> str:
    """A small number in words, a large one in digits."""
    return _WORDS[value] if value < len(_WORDS) else count(value)


def plural(value: int, noun: str) -> str:
    """``six crops``, ``one crop``."""
    return f"{word(value)} {noun}" if value == 1 else f"{word(value)} {noun}s"


def quoted(explanation: Explanation) -> str:
    """The class's name in quotation marks."""
    return f"“{explanation.target.name}”"
