"""Why A and not B: the steps of section 5 of the paper, in their order, in both directions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from torch import Tensor

from whyclass.concepts import hyperplane_training
from whyclass.concepts.hyperplane_training import Accuracy, Cells, Hyperplanes
from whyclass.concepts.nmf import factorise
from whyclass.errors import AttributionError
from whyclass.records import (
    ClassImage,
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
)
from whyclass.settings import plain
from whyclass.study import contrast_tests
from whyclass.study.class_evidence import Subject, subject
from whyclass.study.context import Scene
from whyclass.study.contrast_tests import Duel
from whyclass.study.crop_pictures import Pictures
from whyclass.study.explain import FEW, SEGMENTS, show
from whyclass.study.optimised_pictures import drawn

THUMBNAIL = 128
"""Longer side in pixels of the whole images behind the crops."""

FEWEST_CELLS = 10
"""Fewer cells of a class than this are warned of."""

PLACE = "bottom-right"
"""Where the concepts' crops are inserted (paper, section 6.1)."""


def contrast_of(
    scene: Scene, two: tuple[Subject, Subject], alone: tuple[Explanation, Explanation]
) -> Contrast:
    """Contrast two classes, each explained alone already."""
    a, b = two
    planes = fit(scene, {a.target: a.cells, b.target: b.cells}, [(a.target, b.target)])
    w, bias = planes.weights[0], float(planes.biases[0])
    plane = Hyperplane(w, bias, separation(planes.training, 0), held_out(planes, 0))
    outline = (a.target, b.target)  # in the same colours on both sides
    sides = (
        _side(scene, a, b, (w, bias), alone[0], outline),
        _side(scene, b, a, (-w, -bias), alone[1], outline),
    )
    return Contrast(
        model=scene.model_info(),
        pool=scene.pool_info(),
        size=scene.preprocessing.crop,
        a=sides[0],
        b=sides[1],
        hyperplane=plane,
        sources=_sources(scene, sides),
        warnings=tuple(_warnings(scene, plane, sides)),
        settings=plain(scene.settings),
        versions=scene.versions,
    )


def pairs_of(scene: Scene, classes: Sequence[int]) -> Pairs:
    """The shifting test of all ordered pairs of classes; all hyperplanes are fitted together.

    The images of one class at a time are in memory, and the cells of no class but those being fitted.
    """
    scores = [_with_evidence(scene, target).score for target in classes]
    asked = [(a, b) for b in classes for a in classes if a != b]
    with scene.progress.step("hyperplanes"):
        planes = fit(scene, kept_cells(scene, classes), asked)
    found, source = [], subject(scene, classes[0])
    for row, (a, b) in enumerate(asked):
        source = source if source.target == b else subject(scene, b)
        duel = Duel(source, a, planes.weights[row], float(planes.biases[row]))
        tested = contrast_tests.shifting(duel)
        found.append(PairShift(separation(planes.training, row), held_out(planes, row), tested))
    return Pairs(
        model=scene.model_info(),
        pool=scene.pool_info(),
        classes=tuple(scene.prediction(*named) for named in zip(classes, scores, strict=True)),
        pairs=tuple(found),
        settings=plain(scene.settings),
        versions=scene.versions,
    )


def _with_evidence(scene: Scene, target: int) -> Subject:
    own = subject(scene, target)
    assert len(own.evidence.images)  # made here, and kept in the store
    return own


def kept_cells(scene: Scene, classes: Sequence[int]) -> Mapping[int, Cells]:
    """Cells by class, each read from the store when it is asked for."""
    return _KeptCells(scene, classes)


class _KeptCells(Mapping[int, Cells]):
    """Cells by class, each read from the store when it is asked for."""

    def __init__(self, scene: Scene, classes: Sequence[int]) -> None:
        self._scene, self._classes = scene, tuple(classes)

    def __getitem__(self, target: int) -> Cells:
        return subject(self._scene, target).cells

    def __iter__(self) -> Iterator[int]:
        return iter(self._classes)

    def __len__(self) -> int:
        return len(self._classes)

    def __contains__(self, target: object) -> bool:
        return target in self._classes


def fit(scene: Scene, cells: Mapping[int, Cells], pairs: list[tuple[int, int]]) -> Hyperplanes:
    """Hyperplanes of pairs of classes, as the settings want them."""
    settings = scene.settings
    return hyperplane_training.hyperplanes(
        cells,
        pairs,
        settings.seed,
        epochs=settings.epochs,
        lr=settings.rate,
        held_out=settings.held_out,
        budget_bytes=int(settings.budget * 2**30),
        device=scene.split.example.device,
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
    scene: Scene,
    own: Subject,
    other: Subject,
    plane: tuple[np.ndarray, float],
    alone: Explanation,
    outline: Sequence[int],
) -> Side:
    """What speaks for ``own`` against ``other``, where the plane's normal points to ``own``."""
    w, b = plane
    weights = hyperplane_training.against(own.activations, w, b)
    tests = scene.settings.tests
    duel = Duel(other, own.target, w, b)
    concepts, images, tested = _concepts(scene, own, weights, alone, outline)
    pictured = drawn(own, concepts)
    return Side(
        explanation=alone,
        concepts=pictured.concepts,
        images=images,
        drawn_test=pictured.test,
        drawn_control=pictured.control,
        prediction_test=tested,
        own_side=float((weights > 0).mean()),
        shifting=contrast_tests.shifting(duel) if "shifting" in tests else None,
        masking=contrast_tests.masking(duel) if "masking" in tests else None,
        insertions=_insertions(scene, duel, concepts) if "insertion" in tests else (),
    )


def _concepts(
    scene: Scene, own: Subject, weights: np.ndarray, alone: Explanation, outline: Sequence[int]
) -> tuple[tuple[Concept, ...], tuple[ClassImage, ...], PredictionTests | None]:
    with scene.progress.step("concepts"):
        try:
            factors = factorise(own.activations, weights, scene.settings)
        except AttributionError:  # no cell lies on its side, or those that do are all zero
            return (), (), None
    known = alone.prediction_test
    same = len(factors.concepts) == len(alone.concepts)  # then random crops of the class are known already
    controls = (known.including.control, known.excluding.control if known.excluding else None)
    found = show(scene, own, factors, controls if same else (None, None), outline)
    return found.concepts, found.images, found.test


def _insertions(scene: Scene, duel: Duel, concepts: Sequence[Concept]) -> tuple[Insertion, ...]:
    """The best crop of each concept, inserted into the other class's images."""
    if not concepts:
        return ()
    patches = [_pixels(scene, concept.including[0]) for concept in concepts]
    origins = [f"best crop of concept {k + 1}" for k in range(len(concepts))]
    height, width = patches[0].shape[1:]
    box = contrast_tests.placed((height, width), scene.preprocessing.crop, PLACE)
    return contrast_tests.insertions(duel, patches, origins, box)


def _pixels(scene: Scene, crop: Crop) -> Tensor:
    """A crop of the pool as the model sees it, (C, u, v)."""
    left, top, right, bottom = crop.box
    return scene.read([scene.position(crop.image.path)])[0].tensor[:, top:bottom, left:right]


def _sources(scene: Scene, sides: Sequence[Side]) -> tuple[ClassImage, ...]:
    """The whole image of every crop over the whole pool, once each, in pool order."""
    concepts = [concept for side in sides for concept in (*side.explanation.concepts, *side.concepts)]
    paths = {crop.image.path for concept in concepts for crop in concept.including}
    pictures = Pictures(scene, [side.explanation.target.index for side in sides])
    with scene.progress.step("whole images", len(paths)) as advance:
        found = []
        for position, item in enumerate(scene.index.items):
            if item.path in paths:
                found.append(pictures.small(position, THUMBNAIL))
                advance(1)
    return tuple(found)


def _shared(scene: Scene, side: Side, sides: Sequence[Side]) -> Iterable[str]:
    """What a reader must know of the images that the tests towards a side's class begin from."""
    mine = side.explanation.target
    theirs = next(one.explanation.target for one in sides if one is not side)
    both = scene.task.counts(scene.index.scores(subject(scene, theirs.index).chosen), mine.index)
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


def _warnings(scene: Scene, plane: Hyperplane, sides: Sequence[Side]) -> Iterable[str]:
    names = [side.explanation.target.name for side in sides]
    if scene.task.dense:
        yield SEGMENTS.format(outlines=f"“{names[0]}” in white and of “{names[1]}” in yellow")
    for name, cells, images in zip(names, plane.training.cells, plane.training.images, strict=True):
        if cells < FEWEST_CELLS or images < 2:
            yield (
                f"The hyperplane rests on {cells} cells of {images} images of “{name}”; so few decide little."
            )
    if (measured := plane.held_out or plane.training).at_chance:
        seen = "images that it has not seen" if plane.held_out else "the images it was fitted to"
        yield (
            f"The hyperplane does not tell the two classes apart on {seen} (balanced accuracy "
            f"{measured.balanced:.2f}); at this layer they may be the same."
        )
    for side, name, other in zip(sides, names, names[::-1], strict=True):
        yield from _shared(scene, side, sides)
        if not side.concepts:
            yield (
                f"No cell of the images of “{name}” lies on its side of the hyperplane: nothing at this "
                f"layer speaks for it against “{other}”."
            )
        elif len(side.concepts) < scene.settings.concepts:
            found = len(side.concepts)
            yield f"Only {found} distinct concepts at this layer speak for “{name}” against “{other}”."
