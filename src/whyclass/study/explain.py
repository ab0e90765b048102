"""Why does the model predict a class: the steps of section 4 of the paper, in their order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from whyclass.concepts.nmf import strongest
from whyclass.pool import nearest_crops
from whyclass.pool.nearest_crops import Place, Query
from whyclass.records import (
    COMPLETENESS_BOUND,
    ClassImage,
    Completeness,
    Concept,
    Control,
    Explanation,
    Factors,
    HeatMap,
    Prediction,
    PredictionTests,
)
from whyclass.settings import plain
from whyclass.study.class_evidence import Subject
from whyclass.study.context import Scene
from whyclass.study.crop_pictures import Pictures
from whyclass.study.optimised_pictures import drawn

WORST = 1e6
"""Relative completeness errors are told up to here."""

SIGNED = {
    "split": "Activations of this layer are signed; positive and negative parts were factorised as channels "
    "of their own, and concepts are directions of both signs.",
    "clip": "Activations of this layer are signed, and their negative part was left out of the concepts.",
    "semi": "Activations of this layer are signed and were factorised as they are (semi-NMF); concepts are "
    "directions of both signs.",
}
"""What a reader must know of a layer with signed activations, by `Settings.signed`."""

SEGMENTS = (
    "The model segments images. It is said to call an image something where that softmax score exceeds one "
    "half at some pixel; a score is the largest over the map (average maximum prediction). Whole images show "
    "the outline of {outlines}."
)
"""What a reader must know of a segmentation net."""

FEW = 10
"""Fewer images than this are warned of."""


@dataclass(frozen=True)
class Shown:
    """Concepts of a class with their pictures, and the prediction test of them."""

    concepts: tuple[Concept, ...]
    images: tuple[ClassImage, ...]
    test: PredictionTests


def explanation(scene: Scene, own: Subject) -> Explanation:
    """Explain a class from its attribution alone."""
    factors = own.factors
    found = show(scene, own, factors)
    pictured = drawn(own, found.concepts)
    return Explanation(
        model=scene.model_info(),
        pool=scene.pool_info(),
        target=scene.prediction(own.target, own.score),
        n_images=len(own.chosen),
        n_predicted=len(own.predicted),
        images=found.images,
        concepts=pictured.concepts,
        drawn_test=pictured.test,
        drawn_control=pictured.control,
        prediction_test=found.test,
        rival=rival(found.test, own.target),
        completeness=completeness(own.evidence.errors),
        warnings=tuple(warnings_of(own, factors)),
        settings=plain(scene.settings),
        versions=scene.versions,
    )


def show(
    scene: Scene,
    own: Subject,
    factors: Factors,
    controls: tuple[Control | None, ...] = (None, None),
    outline: Sequence[int] = (),
) -> Shown:
    """The concepts' nearest crops and heat maps, and the prediction test with and without the class's images.

    ``controls`` are those of both tests, where they are known from as many concepts of the same class. Of a
    segmentation net the classes to ``outline`` are those on whole images; the class itself unless told.
    """
    index, settings = scene.index, scene.settings
    masks = masks_of(scene, own.target)
    with scene.progress.step("crops", len(index.items)) as advance:
        (places,) = nearest_crops.nearest(index, [query(scene, factors, masks)], settings.crops, advance)
    samples = own.samples
    with scene.progress.step("prediction test"):
        pictures = Pictures(
            scene, outline or [own.target], dict(zip(own.chosen.tolist(), samples, strict=True))
        )
        tests = both_tests(pictures, own.target, places, masks, controls)
        rows = strongest(factors.embeddings, settings.examples)
        shown = tuple(pictures.whole(int(own.chosen[row])) for row in rows)
        concepts = _concepts(factors, places, rows, pictures)
    return Shown(concepts, shown, tests)


Places = dict[str, list[list[Place]]]
"""By mask, for each concept, its nearest places."""


def both_tests(
    pictures: Pictures,
    target: int,
    places: Places,
    masks: dict[str, np.ndarray],
    controls: tuple[Control | None, ...] = (None, None),
    lean: bool = False,
) -> PredictionTests:
    """The prediction test of the concepts' best crops within each mask that holds an image."""
    tests = {
        name: pictures.prediction_test(target, [best[0] for best in places[name]], mask, known, lean)
        for (name, mask), known in zip(masks.items(), controls, strict=True)
        if mask.any()
    }
    return PredictionTests(tests["including"], tests.get("excluding"))


def masks_of(scene: Scene, target: int) -> dict[str, np.ndarray]:
    """Which images (N,) crops are drawn from: all, and those that do not count for the class."""
    usable = scene.index.usable
    return {"including": usable, "excluding": usable & ~scene.index.counting(target)}


def query(scene: Scene, factors: Factors, masks: dict[str, np.ndarray]) -> Query:
    """What is searched for a class's concepts."""
    return Query(factors.concepts, masks, scene.clipped)


def _concepts(factors: Factors, places: Places, rows: list[int], pictures: Pictures) -> tuple[Concept, ...]:
    """Each factor with its crops, and its heat maps on the images ``rows``."""

    def concept(k: int) -> Concept:
        maps, largest = factors.embeddings[rows, :, :, k], float(factors.embeddings[..., k].max())
        return Concept(
            vector=factors.concepts[k],
            share=float(factors.shares[k]),
            including=tuple(pictures.crop(place) for place in places["including"][k]),
            excluding=tuple(pictures.crop(place) for place in places["excluding"][k]),
            heat_maps=tuple(HeatMap(values / largest) for values in maps),
        )

    return tuple(concept(k) for k in range(len(factors.concepts)))


def rival(tests: PredictionTests, target: int) -> Prediction | None:
    """The class that won where a test failed, the first of the two that did; None where both passed."""
    failed = (test for test in (tests.including, tests.excluding) if test and not test.predicted)
    # of a segmentation net the class itself may come first and yet be nowhere on the map
    return next((one for test in failed for one in test.top if one.index != target), None)


def completeness(errors: np.ndarray) -> Completeness:
    """Of the errors (n, m) of all noisy copies."""
    # an image whose logit equals the baseline's has nothing to add up to: bounded, as JSON has no infinity
    errors = np.minimum(np.nan_to_num(errors, nan=WORST), WORST)
    return Completeness(int(errors.size), float(errors.mean()), float(errors.max()))


def warnings_of(own: Subject, factors: Factors) -> Iterable[str]:
    """What a reader must see beside an explanation."""
    if own.scene.task.dense:
        yield SEGMENTS.format(outlines=f"“{own.scene.name(own.target)}” in white")
    if (mean := float(own.evidence.errors.mean())) > COMPLETENESS_BOUND:
        yield (
            f"The attribution misses {mean:.1%} of the change it should explain (completeness); "
            "the concepts rest on it and may be off."
        )
    yield from few(len(own.chosen), "this class")
    if own.scene.split.signed:
        yield SIGNED[own.scene.settings.signed]
    if len(factors.concepts) < own.scene.settings.concepts:
        yield f"The images hold only {len(factors.concepts)} distinct concepts at this layer."


def few(count: int, named: str) -> Iterable[str]:
    """A warning where few images are predicted as a class."""
    if count < FEW:
        images = "1 image is" if count == 1 else f"{count} images are"
        yield f"Only {images} predicted as {named}; what is found from so few is unsure."
