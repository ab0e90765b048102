"""Records as figures of matplotlib, for papers: lines and text are vectors, and scales are shared."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from whyclass.errors import RecordError
from whyclass.plain_text import clean
from whyclass.records import (
    Audit,
    Contrast,
    Crop,
    Explanation,
    HeatMap,
    ImageExplanation,
    ImageSide,
    Pairs,
    Picture,
    Record,
    SpuriousFeatures,
)
from whyclass.report.image_text import ordered, sides, widest

CROPS, IMAGES, MOST = 5, 3, 20
"""Crops and images that are drawn of each concept, and features of a table."""

TICKS = 7
"""Steps of a test that are numbered, at most: more would run into each other."""

LONGEST = 24
"""Characters of a name."""

ACCENT, OTHER, QUIET = "#14558f", "#a5222a", "#8b96a2"
"""Colours of what is told, of what speaks against it, and of what is random."""

HEAT = "inferno"
"""Colours of heat maps: as light as high, also in print."""


def figure(found: Record) -> Any:
    """The record as a ``matplotlib.figure.Figure``.

    Raises
    ------
    RecordError
        If there is no figure of such a record, or matplotlib is missing.
    """
    if type(found) not in FIGURES:
        raise RecordError(f"there is no figure of a {type(found).__name__}")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RecordError("a figure needs matplotlib: pip install 'whyclass[plot]'") from error
    made = Figure(layout="constrained")
    FIGURES[type(found)](made, found)
    return made


def _name(text: str) -> str:
    """A name as it is drawn: cut where it is long, and a dollar sign starts no formula."""
    return (text if len(text := clean(text)) <= LONGEST else f"{text[: LONGEST - 1]}…").replace("$", r"\$")


def _pixels(picture: Picture) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture.data)).convert("RGB"))


def _bare(axes: Any, title: str = "") -> Any:
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)
    if title:
        axes.set_title(title, fontsize=8)
    return axes


def _heat(axes: Any, picture: Picture, heat: HeatMap) -> Any:
    """A heat map, 0 to 1, over the picture in grey."""
    pixels = _pixels(picture)
    extent = (0, pixels.shape[1], pixels.shape[0], 0)
    axes.imshow(pixels.mean(2), cmap="gray", vmin=0, vmax=255, extent=extent)
    values = np.clip(heat.values, 0, 1)
    return axes.imshow(values, cmap=HEAT, vmin=0, vmax=1, alpha=0.25 + 0.6 * values, extent=extent)


def _crops(grid: Any, crops: Sequence[Crop]) -> None:
    for axes, crop in zip(grid, crops, strict=False):
        axes.imshow(_pixels(crop.picture))
        axes.set_xlabel(f"{crop.cosine:.2f}", fontsize=7)


def _explanation(made: Any, found: Explanation) -> None:
    images = found.images[:IMAGES]
    columns = CROPS + len(images)
    made.set_size_inches(1.1 * columns, 1.25 * len(found.concepts) + 0.5)
    grid = made.subplots(len(found.concepts), columns, squeeze=False)
    shown = None
    for number, (concept, row) in enumerate(zip(found.concepts, grid, strict=True), 1):
        for axes in row:
            _bare(axes)
        row[0].set_ylabel(f"{number}: {concept.share:.0%}", fontsize=8)
        _crops(row[:CROPS], concept.including)
        for axes, image, heat in zip(row[CROPS:], images, concept.heat_maps, strict=False):
            shown = _heat(axes, image.picture, heat)
    if shown is not None:
        made.colorbar(shown, ax=grid[:, CROPS:], fraction=0.03, label="part of the largest")
    made.suptitle(f"Concepts of “{_name(found.target.name)}”, nearest crops with their cosines", fontsize=10)


def _image(made: Any, found: ImageExplanation) -> None:
    both = sides(found)
    columns = 1 + max(len(side.concepts) for side in both)
    made.set_size_inches(1.15 * columns, 2.7 * len(both))
    grid = made.subplots(2 * len(both), columns, height_ratios=(1, 1.2) * len(both), squeeze=False)
    for axes in grid.flat:
        _bare(axes)
    for number, side in enumerate(both):
        shown = _image_side(grid[2 * number], grid[2 * number + 1], found, side)
    made.colorbar(shown, ax=grid[:, 1:], fraction=0.02, label="part of the largest in the class's images")


def _image_side(top: Any, below: Any, found: ImageExplanation, side: ImageSide) -> Any:
    """One class: the picture, and of each concept a heat map and the bar of its contribution."""
    _bare(top[0], f"“{_name(side.target.name)}” {side.target.score:.2f}").imshow(_pixels(found.picture))
    _bare(below[0], "contribution\n(logits)")
    shown = None
    for axes, bars, concept in zip(top[1:], below[1:], ordered(side), strict=False):
        shown = _heat(_bare(axes, f"concept {concept.number + 1}"), found.picture, concept.heat_map)
        colour = ACCENT if concept.contribution >= 0 else OTHER
        _bare(bars, f"{concept.contribution:+.2f}").bar([0], [concept.contribution], color=colour, width=0.5)
        bars.set_ylim(-widest(found), widest(found))
        bars.set_xlim(-1, 1)
        bars.axhline(0, color=QUIET, linewidth=0.6)
    return shown


def _contrast(made: Any, found: Contrast) -> None:
    tests = [(side, sweep) for side in (found.a, found.b) for sweep in (side.shifting, side.masking) if sweep]
    if not tests:
        raise RecordError("this Contrast has no shifting or masking test to draw")
    made.set_size_inches(3.2 * len(tests), 2.8)
    grid = made.subplots(1, len(tests), sharey=True, squeeze=False)[0]
    for axes, (side, sweep) in zip(grid, tests, strict=True):
        steps = [str(round(step.at, 2)) for step in sweep.steps]
        target, source = sweep.target.name, sweep.source.name
        axes.plot(steps, [step.target for step in sweep.steps], color=ACCENT, label=_name(target))
        axes.plot(steps, [step.source for step in sweep.steps], "--", color=OTHER, label=_name(source))
        axes.set_title("shifted" if sweep is side.shifting else "masked", fontsize=9)
        axes.set_ylim(-0.02, 1.02)
        axes.tick_params(labelsize=7)
        axes.set_xticks(range(0, len(steps), -(-len(steps) // TICKS)))
        axes.legend(fontsize=7, frameon=False)
    grid[0].set_ylabel("mean score", fontsize=8)


def _audit(made: Any, found: Audit) -> None:
    made.set_size_inches(6.4, 3.2)
    axes = made.subplots()
    drawn = {"whole pool": ("including", ACCENT), "without its images": ("excluding", OTHER)}
    for label, (name, colour) in drawn.items():
        scores = sorted((trial.score for one in found.classes if (trial := getattr(one, name))), reverse=True)
        if scores:
            axes.step(
                np.linspace(0, 1, len(scores)), scores, color=colour, label=f"{label}, n = {len(scores)}"
            )
    axes.set_xlabel("share of classes, sorted", fontsize=8)
    axes.set_ylabel("score in the prediction test", fontsize=8)
    axes.set_ylim(-0.02, 1.02)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, frameon=False)


def _pairs(made: Any, found: Pairs) -> None:
    names = [one.name for one in found.classes]
    place = {one.index: i for i, one in enumerate(found.classes)}
    table = np.full((len(names), len(names)), np.nan)
    for pair in found.pairs:
        sweep = pair.shifting
        table[place[sweep.source.index], place[sweep.target.index]] = sweep.steps[sweep.best].target
    side = 1.6 + 0.45 * len(names)
    made.set_size_inches(side + 1, side)
    axes = made.subplots()
    shown = axes.imshow(table, cmap="cividis", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), [_name(name) for name in names], rotation=60, ha="right", fontsize=7)
    axes.set_yticks(range(len(names)), [_name(name) for name in names], fontsize=7)
    axes.set_xlabel("shifted towards", fontsize=8)
    axes.set_ylabel("images of", fontsize=8)
    made.colorbar(shown, ax=axes, fraction=0.046, label="highest mean score")


def _spurious(made: Any, found: SpuriousFeatures) -> None:
    rows = found.features[:MOST]
    made.set_size_inches(6.4, 0.8 + 0.28 * max(1, len(rows)))
    axes = made.subplots()
    places = np.arange(len(rows))
    axes.barh(places, [one.raised for one in rows], color=ACCENT, label="concept")
    axes.plot(
        [one.random for one in rows], places, "|", color=OTHER, markersize=10, label="random directions"
    )
    labels = [f"{_name(one.target.name)}, concept {one.number + 1}" for one in rows]
    axes.set_yticks(places, labels, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("raises the class's score in images without it", fontsize=8)
    axes.legend(fontsize=8, frameon=False)


FIGURES: dict[type[Record], Callable[[Any, Any], None]] = {
    Explanation: _explanation,
    ImageExplanation: _image,
    Contrast: _contrast,
    Audit: _audit,
    Pairs: _pairs,
    SpuriousFeatures: _spurious,
}
"""What draws each kind of record into a new figure."""
