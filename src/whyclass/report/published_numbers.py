"""The paper's published numbers: its rows of tables 1 to 3."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Value:
    """A mean or a share with what belongs to it.

    Attributes
    ----------
    value
        A mean, or a share from 0 to 1.
    low, high
        95 % interval, where ``value`` was measured here on three classes or sources; of a share of classes
        Wilson's.
    runs
        Standard deviation over runs, where there are several.
    spread
        Standard deviation over classes or pairs, of a mean.
    """

    value: float
    low: float | None = None
    high: float | None = None
    runs: float | None = None
    spread: float | None = None


ALIKE = 0.9
"""Share of classes that have to be called as ImageNet's."""


def are_imagenets(named: Iterable[tuple[int, str]]) -> bool:
    """Whether classes, by index and name, are of ImageNet's 1,000; of none that is not known.

    Nine of ten have to be called as there, up to their first synonym: lists of names differ in a few.
    """
    lines = Path(__file__).with_name("imagenet_names.txt").read_text(encoding="utf-8").splitlines()
    known = {index: _plain(name) for index, name in enumerate(lines)}
    same = [known.get(index) == _plain(name) for index, name in named]
    return bool(same) and sum(same) >= ALIKE * len(same)


def _plain(name: str) -> str:
    return name.split(",")[0].casefold().replace("_", " ").replace("-", " ").strip()


def architecture(name: str) -> str:
    """``resnet50`` of ``torchvision:resnet50:WEIGHTS`` and of ``nets/own.py:ResNet_50``."""
    parts = name.split(":")
    word = parts[1] if parts[0] == "torchvision" and len(parts) > 1 else parts[-1]
    return word.lower().replace("-", "").replace("_", "")


def _printed(mean: float, spread: float, *shares: float) -> tuple[Value, ...]:
    return (Value(mean, spread=spread), *(Value(share / 100) for share in shares))


def _with_runs(*numbers: tuple[float, ...]) -> tuple[Value, ...]:
    """From (mean, over runs, over pairs) twice, and (share, over runs) three times."""
    means, shares = numbers[:2], numbers[2:]
    return (
        *(Value(mean, runs=runs, spread=spread) for mean, runs, spread in means),  # type: ignore[misc]
        *(Value(share / 100, runs=runs / 100) for share, runs in shares),  # type: ignore[misc]
    )


PAPER_PREDICTIONS: dict[int, list[tuple[str, str, tuple[Value, ...]]]] = {
    1: [
        ("ResNet50 Robust", "layer3.5", _printed(0.178, 0.311, 22.0, 30.3, 23.4, 16.0)),
        ("ResNet50", "layer3.5", _printed(0.539, 0.437, 56.3, 67.4, 62.2, 54.0)),
        ("ResNet34", "layer3.5", _printed(0.300, 0.375, 34.3, 46.6, 40.6, 28.0)),
        ("ResNet50 Robust", "layer4.2", _printed(0.415, 0.341, 72.8, 74.9, 63.0, 36.4)),
        ("ResNet50", "layer4.2", _printed(0.898, 0.216, 94.1, 98.3, 97.1, 92.1)),
        ("ResNet34", "layer4.2", _printed(0.852, 0.244, 92.5, 97.8, 95.7, 88.4)),
    ],
    2: [
        ("ResNet50 Robust", "layer3.5", _printed(0.103, 0.229, 14.0, 19.4, 15.1, 7.7)),
        ("ResNet50", "layer3.5", _printed(0.284, 0.389, 30.0, 40.0, 35.4, 27.3)),
        ("ResNet34", "layer3.5", _printed(0.175, 0.300, 20.0, 30.1, 24.6, 15.4)),
        ("ResNet50 Robust", "layer4.2", _printed(0.190, 0.229, 42.9, 48.9, 32.2, 11.3)),
        ("ResNet50", "layer4.2", _printed(0.619, 0.358, 71.0, 86.0, 79.0, 62.6)),
        ("ResNet34", "layer4.2", _printed(0.547, 0.354, 65.4, 83.7, 74.3, 55.4)),
    ],
}
"""Tables 1 and 2 of the paper: model, layer, values."""

PAPER_SHIFTS: list[tuple[str, str, tuple[Value, ...]]] = [
    (
        "ResNet50 Robust",
        "layer3.5",
        _with_runs((0.001, 0.0, 0.004), (0.637, 0.004, 0.392), (79.5, 0.2), (73.9, 0.3), (60.4, 0.4)),
    ),
    (
        "ResNet34",
        "layer3.5",
        _with_runs((0.0, 0.0, 0.003), (0.263, 0.004, 0.382), (29.1, 0.3), (27.4, 0.3), (23.1, 0.4)),
    ),
    (
        "ResNet50",
        "layer3.5",
        _with_runs((0.0, 0.0, 0.002), (0.335, 0.005, 0.411), (34.3, 0.6), (32.8, 0.5), (29.5, 0.6)),
    ),
]
"""Table 3 of the paper, its models of ImageNet."""
