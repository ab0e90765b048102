"""Why A and not B: the steps of section 5 of the paper, in their order, in both directions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from whyclass.concepts import hyperplane_training, hyperplanes
from whyclass.concepts.hyperplanes import Accuracy, Cells, Hyperplanes
from whyclass.concepts.nmf import factorise
from whyclass.errors import AttributionError
from whyclass.records import (
    ClassImage,
    Completeness,
    Concept,
    Contrast,
    Crop,
    Explanation,
    Hyperplane,
    Insertion,
    Pairs,
    PairShift,
    PredictionTests,
    Separation,
    Side,
    Sweep,
)
from whyclass.settings import plain
from whyclass.study import contrast_tests, narrowed_masking, plane_trust, shifted_sources, sweeps
from whyclass.study.class_evidence import ClassEvidence, evidence_of
from whyclass.study.context import Context
from whyclass.study.contrast_scores import CONTRASTS
from whyclass.study.contrast_tests import Attempt
from whyclass.study.crop_pictures import Pictures
from whyclass.study.explain import FEW, SEGMENTS, completeness, show
from whyclass.study.optimised_pictures import drawn
from whyclass.study.pair_evidence import evidence_against
from whyclass.study.plane_trust import Plane
from whyclass.study.shifted_sources import Move, Shifted

THUMBNAIL = 128
"""Longer side in pixels of the whole images behind the crops."""

FEWEST_CELLS = 10
"""Fewer cells of a class than this are warned of."""

NEAR_START = 0.5
"""A larger cosine of a normal to its random start is warned of."""

PLACE = "bottom-right"
"""Where the concepts' crops are inserted (paper, section 6.1)."""


def contrast_of(
    context: Context, two: tuple[ClassEvidence, ClassEvidence], alone: tuple[Explanation, Explanation]
) -> Contrast:
    """Contrast two classes, each explained alone already."""
    a, b = two
    planes = fit(context, {a.target: a.cells, b.target: b.cells}, [(a.target, b.target)])
    w, bias = planes.weights[0], float(planes.biases[0])
    trust, fitted = plane_trust.examined(two, planes, fitting_of(context))
    plane = Hyperplane(
        w,
        bias,
        separation(planes.training, 0),
        held_out(planes, 0),
        trust,
        apart=float(planes.apart[0]),
        strength=None if planes.strengths is None else float(planes.strengths[0]),
    )
    outline = (a.target, b.target)  # in the same colours on both sides
    sides = (
        _side(context, a, b, fitted, alone, outline),
        _side(context, b, a, fitted.reversed(), alone[::-1], outline),
    )
    return Contrast(
        model=context.model_info(),
        pool=context.pool_info(),
        size=context.preprocessing.crop,
        a=sides[0],
        b=sides[1],
        hyperplane=plane,
        sources=_sources(context, sides),
        warnings=tuple(_warnings(context, plane, sides)),
        settings=plain(context.settings),
        versions=context.versions,
    )


def pairs_of(context: Context, classes: Sequence[int], shifted: Shifted = shifted_sources.here) -> Pairs:
    """The shifting test of all ordered pairs of classes; all hyperplanes are fitted together.

    The images of one class at a time are in memory, and the cells of no class but those being fitted. What
    a run that was stopped has shifted is in the store.
    """
    scores = [_with_evidence(context, target).score for target in classes]
    asked = [(a, b) for b in classes for a in classes if a != b]
    with context.progress.step("hyperplanes"):
        planes = fit(context, kept_cells(context, classes), asked)
    moves: dict[int, list[Move]] = {b: [] for b in classes}
    for row, (a, b) in enumerate(asked):
        unit = unit_of(context, float(planes.apart[row]))
        moves[b].append((a, planes.weights[row], float(planes.biases[row]), unit))
    tested = shifted_sources.kept_or_made(context, moves, shifted)
    found = [
        PairShift(separation(planes.training, row), held_out(planes, row), one)
        for row, one in enumerate(tested)
    ]
    return Pairs(
        model=context.model_info(),
        pool=context.pool_info(),
        classes=tuple(context.prediction(*named) for named in zip(classes, scores, strict=True)),
        pairs=tuple(found),
        settings=plain(context.settings),
        versions=context.versions,
    )


def _with_evidence(context: Context, target: int) -> ClassEvidence:
    own = evidence_of(context, target)
    assert len(own.evidence.images)  # made here, and kept in the store
    return own


def kept_cells(context: Context, classes: Sequence[int]) -> Mapping[int, Cells]:
    """Cells by class, each read from the store when it is asked for."""
    return _KeptCells(context, classes)


class _KeptCells(Mapping[int, Cells]):
    """Cells by class, each read from the store when it is asked for."""

    def __init__(self, context: Context, classes: Sequence[int]) -> None:
        self._context, self._classes = context, tuple(classes)

    def __getitem__(self, target: int) -> Cells:
        return evidence_of(self._context, target).cells

    def __iter__(self) -> Iterator[int]:
        return iter(self._classes)

    def __len__(self) -> int:
        return len(self._classes)

    def __contains__(self, target: object) -> bool:
        return target in self._classes


def fit(context: Context, cells: Mapping[int, Cells], pairs: list[tuple[int, int]]) -> Hyperplanes:
    """Hyperplanes of pairs of classes, as the settings want them."""
    return hyperplane_training.hyperplanes(cells, pairs, fitting_of(context))


def unit_of(context: Context, apart: float) -> float | None:
    """Length of a step of the shifting test, where mean cells are so far apart along the normal."""
    return apart if context.settings.shift_unit == "distance" else None


def fitting_of(context: Context) -> hyperplane_training.Fitting:
    """How hyperplanes are fitted, as the settings want it."""
    settings = context.settings
    return hyperplane_training.Fitting(
        seed=settings.seed,
        epochs=settings.epochs,
        lr=settings.rate,
        held_out=settings.held_out,
        budget_bytes=int(settings.budget * 2**30),
        device=context.split.example.device,
        plane=settings.plane,
    )


def held_out(planes: Hyperplanes, row: int) -> Separation | None:
    """How well a second fit tells a pair apart on images it has not seen; None where none was held out."""
    return separation(planes.held_out, row) if planes.held_out.cells[row].all() else None


def separation(found: Accuracy, row: int) -> Separation:
    """How well a hyperplane tells a pair apart."""
    cells, images = found.cells[row].tolist(), found.images[row].tolist()
    return Separation(
        plain=float(found.plain[row]),
        balanced=float(found.balanced[row]),
        chance=float(found.chance[row]),
        at_chance=bool(found.at_chance[row]),
        cells=(cells[0], cells[1]),
        images=(images[0], images[1]),
    )


def _side(
    context: Context,
    own: ClassEvidence,
    other: ClassEvidence,
    plane: Plane,
    both: tuple[Explanation, Explanation],
    outline: Sequence[int],
) -> Side:
    """What speaks for ``own`` against ``other``, where the plane's normal points to ``own``.

    ``both`` are explained alone, ``own`` first.
    """
    alone, theirs = both
    by, tests = CONTRASTS[context.settings.contrast_by], context.settings.tests
    weights = by.scores(own, other.target, plane)
    lean = -by.lean(other, own.target, plane.reversed())
    attempt = Attempt(other, own.target, plane.w, plane.b, unit_of(context, plane.apart), lean)
    concepts, images, tested = _concepts(context, own, weights, alone, outline)
    pictured = drawn(own, concepts)
    return Side(
        explanation=alone,
        concepts=pictured.concepts,
        images=images,
        drawn_test=pictured.test,
        drawn_control=pictured.control,
        prediction_test=tested,
        own_side=float((weights > 0).mean()),
        shifting=sweeps.shifting(attempt) if "shifting" in tests else None,
        masking=narrowed_masking.masking(attempt) if "masking" in tests else None,
        insertions=_insertions(context, attempt, concepts, theirs) if "insertion" in tests else (),
        unseen=_unseen(attempt, own, plane) if "shifting" in tests else None,
        completeness=_completeness(context, own, other),
    )


def _completeness(context: Context, own: ClassEvidence, other: ClassEvidence) -> Completeness | None:
    """Of the difference of both logits, where it was attributed."""
    if context.settings.contrast_by == "plane":
        return None
    return completeness(evidence_against(own, [other.target])[0])


def _unseen(attempt: Attempt, own: ClassEvidence, plane: Plane) -> Sweep | None:
    """The shifting test from images that a second plane has not seen, along its normal."""
    if plane.unseen is None:
        return None
    taking = np.arange(len(attempt.source.chosen))[attempt.rows]
    rows = np.intersect1d(taking, plane_trust.unseen_rows(attempt.source))
    if not rows.size:
        return None
    w, b = plane.unseen
    unit = unit_of(attempt.context, hyperplanes.apart(w, mean_cell(own) - mean_cell(attempt.source)))
    return sweeps.shifting(replace(attempt, w=w, b=b, unit=unit, only=rows))


def mean_cell(own: ClassEvidence) -> np.ndarray:
    """Mean (c,) of the cells that speak for a class."""
    return np.asarray(own.cells.vectors.mean(0))


def _concepts(
    context: Context, own: ClassEvidence, weights: np.ndarray, alone: Explanation, outline: Sequence[int]
) -> tuple[tuple[Concept, ...], tuple[ClassImage, ...], PredictionTests | None]:
    with context.progress.step("concepts"):
        try:
            factors = factorise(own.activations, weights, context.settings)
        except AttributionError:  # no cell lies on its side, or those that do are all zero
            return (), (), None
    known, settings = alone.prediction_test, context.settings
    # then random crops of the class are known already
    same = len(factors.concepts) == len(alone.concepts) and settings.pair_crops == 1
    same = same and settings.pair_crop_at == settings.crop_at
    controls = (known.including.control, known.excluding.control if known.excluding else None)
    found = show(context, own, factors, controls if same else (None, None), outline)
    return found.concepts, found.images, found.test


def _insertions(
    context: Context, attempt: Attempt, concepts: Sequence[Concept], theirs: Explanation
) -> tuple[Insertion, ...]:
    """The best crop of each concept, inserted into the other class's images; beside one of ``theirs``."""
    if not concepts:
        return ()
    patches = [_pixels(context, concept.including[0]) for concept in concepts]
    origins = [f"best crop of concept {k + 1}" for k in range(len(concepts))]
    height, width = patches[0].shape[1:]
    box = contrast_tests.placed((height, width), context.preprocessing.crop, PLACE)
    own = _pixels(context, theirs.concepts[0].including[0])
    return contrast_tests.insertions(attempt, patches, origins, box, own)


def _pixels(context: Context, crop: Crop) -> Tensor:
    """A crop of the pool as the model sees it, (C, u, v)."""
    left, top, right, bottom = crop.box
    return context.read([context.position(crop.image.path)])[0].tensor[:, top:bottom, left:right]


def _sources(context: Context, sides: Sequence[Side]) -> tuple[ClassImage, ...]:
    """The whole image of every crop over the whole pool, once each, in pool order."""
    concepts = [concept for side in sides for concept in (*side.explanation.concepts, *side.concepts)]
    paths = {crop.image.path for concept in concepts for crop in concept.including}
    pictures = Pictures(context, [side.explanation.target.index for side in sides])
    with context.progress.step("whole images", len(paths)) as advance:
        found = []
        for position, item in enumerate(context.index.items):
            if item.path in paths:
                found.append(pictures.small(position, THUMBNAIL))
                advance(1)
    return tuple(found)


def _shared(context: Context, side: Side, sides: Sequence[Side]) -> Iterable[str]:
    """What a reader must know of the images that the tests towards a side's class begin from."""
    mine = side.explanation.target
    theirs = next(one.explanation.target for one in sides if one is not side)
    both = context.task.counts(context.index.scores(evidence_of(context, theirs.index).chosen), mine.index)
    if both.all():
        yield (
            f"Every image that shows “{theirs.name}” shows “{mine.name}” too, so the tests towards "
            f"“{mine.name}” begin where it is already."
        )
    elif both.any() and (alone := int((~both).sum())) < FEW:
        yield (
            f"Only {alone} of {both.size} images that show “{theirs.name}” do not show “{mine.name}” too, "
            f"and the tests towards “{mine.name}” rest on so few."
        )


def _warnings(context: Context, plane: Hyperplane, sides: Sequence[Side]) -> Iterable[str]:
    names = [side.explanation.target.name for side in sides]
    if context.task.dense:
        yield SEGMENTS.format(outlines=f"“{names[0]}” in white and of “{names[1]}” in yellow")
    yield from context.warnings
    yield from _unsure(plane, names)
    by = context.settings.contrast_by
    for side, name, other in zip(sides, names, names[::-1], strict=True):
        yield from _shared(context, side, sides)
        if not side.concepts:
            side_of = "lies on its side of the hyperplane" if by == "plane" else "speaks for it"
            yield (
                f"No cell of the images of “{name}” {side_of}: nothing at this layer speaks for it against "
                f"“{other}”."
            )
        elif len(side.concepts) < context.settings.concepts:
            found = len(side.concepts)
            yield f"Only {found} distinct concepts at this layer speak for “{name}” against “{other}”."


def _unsure(plane: Hyperplane, names: Sequence[str]) -> Iterable[str]:
    """What is wrong with a hyperplane between classes of these names."""
    if plane.trust and plane.trust.start is not None and plane.trust.start > NEAR_START:
        yield (
            f"The hyperplane's normal has a cosine of {plane.trust.start:.2f} to its fit's random start: "
            "another seed gives another."
        )
    for name, cells, images in zip(names, plane.training.cells, plane.training.images, strict=True):
        if cells < FEWEST_CELLS or images < 2:
            yield (
                f"The hyperplane rests on {cells} cells of {images} images of “{name}”; so few decide little."
            )
    for measured, seen in (
        (plane.training, "the images it was fitted to"),
        (plane.held_out, "images that it has not seen"),
    ):
        if measured and measured.at_chance:
            yield (
                f"The hyperplane does not tell the two classes apart on {seen} (balanced accuracy "
                f"{measured.balanced:.2f}); at this layer they may be the same."
            )
