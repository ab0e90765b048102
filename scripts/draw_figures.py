"""Draw the figures of ``docs/how-it-works.md`` from the planted world.

``PYTHONPATH=src python scripts/draw_figures.py [FOLDER]``, by default into ``docs/figures``. Half a minute
of one core. The same records give the same bytes under the same matplotlib.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

import whyclass
from whyclass.planted import nets, world
from whyclass.planted.demo import loaded
from whyclass.records import Contrast, Explanation, Picture
from whyclass.study.class_arrays import ClassArrays

PLACE = Path(__file__).resolve().parent.parent / "docs" / "figures"
TARGET, OTHER = world.TWINS
COLOURS, DPI = 256, 100
ACCENT, AGAINST, QUIET = "#14558f", "#a5222a", "#8b96a2"

SETTINGS: dict[str, Any] = {
    "images": 20,
    "copies": 5,
    "starts": 4,
    "precision": "float32",
    "controls": 10,
    "examples": 4,
    "tests": ("shifting",),
    "plane_starts": 0,
    "plane_bootstraps": 0,
    "plane_permutations": 0,
    "null_cells": 0,
    "null_scores": 0,
    "fillings": 0,
    "refits": 0,
}


@dataclass(frozen=True)
class Found:
    """What is drawn: the twins explained and contrasted, and the folder of their pictures."""

    photos: Path
    explanation: Explanation
    contrast: Contrast
    arrays: ClassArrays


def found(folder: Path, n_per_class: int = 30, **changes: Any) -> Found:
    """Explain and contrast the twins of a pool that is written into a folder."""
    photos = world.write_pool(folder / "photos", n_per_class)
    settings = whyclass.Settings(**SETTINGS | changes)
    study = whyclass.Study(loaded(), world.LAYER, photos, folder / "store", settings, progress=False)
    return Found(photos, study.explain(TARGET), study.contrast(TARGET, OTHER), study.arrays(TARGET))


def _grid(rows: int, columns: int, width: float, height: float, **given: Any) -> tuple[Figure, np.ndarray]:
    """A figure of bare axes, each of so many inches."""
    figure = Figure((columns * width, rows * height + 0.2), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **given)
    for one in axes.flat:
        one.set_xticks([])
        one.set_yticks([])
        one.spines[:].set_visible(False)
    return figure, axes


def _pixels(picture: Picture) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture.data)).convert("RGB"))


def _heat(axis: Any, pixels: np.ndarray, values: np.ndarray) -> None:
    """Values of 0 to 1 over a picture in grey."""
    extent = (0, pixels.shape[1], pixels.shape[0], 0)
    axis.imshow(pixels.mean(2), cmap="gray", vmin=0, vmax=255, extent=extent)
    axis.imshow(values, cmap="inferno", vmin=0, vmax=1, alpha=0.2 + 0.7 * values, extent=extent)


def _read(given: Found, path: str) -> np.ndarray:
    return np.asarray(Image.open(given.photos / path).convert("RGB"))


def attribution(given: Found) -> Figure:
    """Pictures of the class, and what every cell adds to its logit."""
    n = min(5, len(given.arrays.paths))
    figure, axes = _grid(2, n, 1.2, 1.2)
    for column in range(n):
        pixels, scores = _read(given, given.arrays.paths[column]), given.arrays.scores[column]
        axes[0, column].imshow(pixels)
        _heat(axes[1, column], pixels, scores / scores.max())
    return figure


@torch.no_grad()
def filtered(given: Found) -> Figure:
    """The strongest channels of one picture, as they are and times the scores."""
    pixels, scores = _read(given, given.arrays.paths[0]), given.arrays.scores[0]
    net = nets.planted_net()
    maps = net.stage3(net.stage2(net.stage1(nets.as_input([pixels]))))[0].numpy()
    kept = maps * scores
    strongest = np.argsort(-maps.sum((1, 2)), kind="stable")[:6]
    figure, axes = _grid(2, 7, 1.05, 1.1)
    axes[0, 0].imshow(pixels)
    _heat(axes[1, 0], pixels, scores / scores.max())
    axes[0, 0].set_title("picture, scores", fontsize=7)
    for column, channel in enumerate(strongest, 1):
        for row, shown in enumerate((maps, kept)):
            axes[row, column].imshow(
                shown[channel], cmap="inferno", vmin=0, vmax=max(shown[channel].max(), 1e-9)
            )
        axes[0, column].set_title(f"channel {channel}", fontsize=7)
    axes[0, 1].set_ylabel("activation", fontsize=7)
    axes[1, 1].set_ylabel("times score", fontsize=7)
    return figure


def concepts(given: Found) -> Figure:
    """Where each concept is active in pictures of the class."""
    images, made = given.explanation.images[:3], given.explanation.concepts
    figure, axes = _grid(len(images), 1 + len(made), 1.1, 1.15)
    for row, image in enumerate(images):
        pixels = _pixels(image.picture)
        axes[row, 0].imshow(pixels)
        for column, concept in enumerate(made, 1):
            _heat(axes[row, column], pixels, np.clip(concept.heat_maps[row].values, 0, 1))
    for column, concept in enumerate(made, 1):
        axes[0, column].set_title(f"concept {column}: {concept.share:.0%}", fontsize=7)
    return figure


def crops(given: Found) -> Figure:
    """The nearest crops of each concept: of the whole pool, and of pictures called something else."""
    made, n = given.explanation.concepts, 4
    figure, axes = _grid(len(made), 2 * n + 1, 0.7, 0.72)
    for number, (row, concept) in enumerate(zip(axes, made, strict=True), 1):
        for first, nearest in ((0, concept.including), (n + 1, concept.excluding)):
            for axis, crop in zip(row[first : first + n], nearest, strict=False):
                axis.imshow(_pixels(crop.picture))
        row[0].set_ylabel(f"{number}", fontsize=8, rotation=0, labelpad=8, va="center")
    for axis, title in ((axes[0, 0], "all pictures"), (axes[0, n + 1], "pictures called something else")):
        # it is wider than its column, which shall not grow
        axis.text(0, 1.12, title, fontsize=8, transform=axis.transAxes).set_in_layout(False)
    return figure


def stitched(given: Found) -> Figure:
    """Both test pictures, what the model says of them, and what random crops reach."""
    tests = given.explanation.prediction_test
    asked = [
        ("crops from all pictures", tests.including),
        ("from pictures called something else", tests.excluding),
    ]
    shown = [(title, test) for title, test in asked if test is not None]
    figure = Figure((6.4, 1.9 * len(shown) + 0.3), layout="constrained")
    axes = figure.subplots(len(shown), 2, width_ratios=(1, 2.2), squeeze=False)
    for (picture, bars), (title, test) in zip(axes, shown, strict=True):
        picture.imshow(_pixels(test.picture))
        picture.set_axis_off()
        names = [one.name for one in test.top[:4]]
        bars.barh(names, [one.score for one in test.top[:4]], color=ACCENT, height=0.6)
        if test.control is not None:
            said = f"random crops for {TARGET}: mean, 95 % of {test.control.n}"
            ends = [[test.control.mean - test.control.low], [test.control.high - test.control.mean]]
            bars.errorbar([test.control.mean], [len(names)], xerr=ends, fmt="o", color=QUIET, label=said)
            bars.legend(fontsize=7, frameon=False, loc="lower right")
        bars.invert_yaxis()
        bars.set_xlim(0, 1.02)
        bars.tick_params(labelsize=8)
        bars.set_title(title, fontsize=8, loc="left")
    return figure


def shifting(given: Found) -> Figure:
    """Cells of the other class, moved along the hyperplane's normal: scores of both, and controls."""
    sweep = given.contrast.a.shifting
    assert sweep is not None
    at = [step.at for step in sweep.steps]
    figure = Figure((5.6, 2.5), layout="constrained")
    axis = figure.subplots()
    axis.plot(at, [step.target for step in sweep.steps], color=ACCENT, label=TARGET)
    axis.plot(at, [step.source for step in sweep.steps], "--", color=AGAINST, label=OTHER)
    if sweep.random is not None:
        said = f"{TARGET}, along {sweep.random.n} random directions"
        axis.fill_between(at, sweep.random.low, sweep.random.high, color=QUIET, alpha=0.35, label=said)
    axis.plot(at, sweep.reversed.mean, ":", color=QUIET, label=f"{TARGET}, the other way")
    axis.set_xlim(0, 6)
    axis.set_ylim(-0.02, 1.02)
    axis.set_xlabel(f"{OTHER}s moved, in distances between both classes' mean cells", fontsize=8)
    axis.set_ylabel("mean score", fontsize=8)
    axis.tick_params(labelsize=7)
    axis.legend(fontsize=7, frameon=False, loc="center right")
    return figure


FIGURES: dict[str, Callable[[Found], Figure]] = {
    "attribution": attribution,
    "filtered-activations": filtered,
    "concepts": concepts,
    "crops": crops,
    "stitched-test": stitched,
    "shifting": shifting,
}
"""By name what draws each."""


def encoded(figure: Figure) -> bytes:
    """A small PNG: of few colours, without a date or a version."""
    made = io.BytesIO()
    figure.savefig(made, dpi=DPI, metadata={"Software": None})
    picture = Image.open(made).convert("RGB").quantize(COLOURS, dither=Image.Dither.FLOYDSTEINBERG)
    saved = io.BytesIO()
    picture.save(saved, "PNG", optimize=True)
    return saved.getvalue()


def draw(given: Found, folder: Path, names: Sequence[str] = tuple(FIGURES)) -> list[Path]:
    """Draw figures into a folder; gives their files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{name}.png" for name in names]
    for file in files:
        file.write_bytes(encoded(FIGURES[file.stem](given)))
    return files


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        for file in draw(found(Path(work)), Path(sys.argv[1]) if sys.argv[1:] else PLACE):
            print(f"{file.name}: {file.stat().st_size / 1e3:.0f} kB")
