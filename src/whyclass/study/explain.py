"""Why does the model predict a class: the steps of section 4 of the paper, in their order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from whyclass.attribution.smoothgrad import completeness_error, relative
from whyclass.concepts.nmf import strongest
from whyclass.grid import Box
from whyclass.pool.nearest_crops import Place, Query
from whyclass.records import (
    COMPLETENESS_BOUND,
    ClassImage,
    Completeness,
    Concept,
    Control,
    Evidence,
    EvidenceAgainst,
    Explanation,
    Factors,
    Fit,
    HeatMap,
    Prediction,
    PredictionTests,
    Refits,
)
from whyclass.settings import plain
from whyclass.study import searching
from whyclass.study.class_evidence import ClassEvidence
from whyclass.study.comparisons import of_explanation
from whyclass.study.context import Context
from whyclass.study.crop_pictures import Pictures
from whyclass.study.optimised_pictures import drawn
from whyclass.study.prediction_test_and_control import Controls, Places, Tester, masks_of
from whyclass.study.trust import Checked, Searched, checks_of, judged

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
    refits: Refits | None = None


def explanation(context: Context, own: ClassEvidence) -> Explanation:
    """Explain a class from its attribution alone."""
    factors = own.factors
    checked = checks_of(own, of_explanation(context.settings))
    found = show(context, own, factors, checked=checked)
    pictured = drawn(own, found.concepts)
    return Explanation(
        model=context.model_info(),
        pool=context.pool_info(),
        target=context.prediction(own.target, own.score),
        n_images=len(own.chosen),
        n_predicted=len(own.predicted),
        images=found.images,
        concepts=pictured.concepts,
        drawn_test=pictured.test,
        drawn_control=pictured.control,
        prediction_test=found.test,
        rival=rival(found.test, own.target),
        completeness=completeness(own.evidence),
        refits=found.refits,
        fit=Fit(factors.residual, factors.converged),
        warnings=(*warnings_of(own, factors), *repeated(found.concepts)),
        settings=plain(context.settings),
        versions=context.versions,
    )


def show(
    context: Context,
    own: ClassEvidence,
    factors: Factors,
    controls: tuple[Control | None, ...] = (None, None),
    outline: Sequence[int] = (),
    checked: Checked | None = None,
) -> Shown:
    """The concepts' nearest crops and heat maps, and the prediction test with and without the class's images.

    ``controls`` are those of both tests, where they are known from as many concepts of the same class. Of a
    segmentation net the classes to ``outline`` are those on whole images; the class itself unless told. Of a
    contrast they are both its classes, and one more test is without images of either.
    ``checked`` is searched in the same pass over the pool, and tells what the concepts are worth.
    """
    index, settings = context.index, context.settings
    masks = masks_of(context, own.target, [k for k in outline if k != own.target])
    with context.progress.step("crops", len(index.items)) as advance:
        asked = [query(context, factors, masks), *(checked.queries(context, masks) if checked else ())]
        places, *others = searching.nearest(context, asked, settings.crops, advance)
    samples = own.samples
    with context.progress.step("prediction test"):
        pictures = Pictures(
            context, outline or [own.target], dict(zip(own.chosen.tolist(), samples, strict=True))
        )
        tester = _tester(pictures, outline)
        tests = tester.both(own.target, places, masks, controls)
        rows = strongest(factors.embeddings, settings.examples)
        shown = tuple(pictures.whole(int(own.chosen[row])) for row in rows)
        concepts = _concepts(factors, places, rows, pictures, tester.each)
    if checked is None:
        return Shown(concepts, shown, tests)
    with context.progress.step("nulls"):
        worth = judged(own, concepts, tests, checked, Searched(tester, masks, places, others))
    return Shown(worth.concepts, shown, worth.tests, worth.refits)


def _tester(pictures: Pictures, outline: Sequence[int]) -> Tester:
    """What tests a class; or a contrast, whose classes are both outlined, in crops of its own size.

    A contrast has up to eight such tests, each of larger images, and asks only for a rank of one in ten: as
    many draws as its other controls have are enough for that.
    """
    context, settings = pictures.context, pictures.context.settings
    if not outline:
        return Tester(pictures, Controls(context))
    drawn = min(settings.null_crops, settings.controls)
    cut = replace(context, settings=replace(settings, crop_at=settings.pair_crop_at, null_crops=drawn))
    return Tester(pictures.of(cut), Controls(cut), each=settings.pair_crops)


def query(context: Context, factors: Factors, masks: dict[str, np.ndarray]) -> Query:
    """What is searched for a class's concepts."""
    return Query(factors.concepts, masks, context.clipped)


def _concepts(
    factors: Factors, places: Places, rows: list[int], pictures: Pictures, each: int
) -> tuple[Concept, ...]:
    """Each factor with its crops, ``each`` of them for a further test, and its heat maps on some images."""

    def concept(k: int) -> Concept:
        maps, largest = factors.embeddings[rows, :, :, k], float(factors.embeddings[..., k].max())
        return Concept(
            vector=factors.concepts[k],
            share=float(factors.shares[k]),
            including=tuple(pictures.crop(place) for place in places["including"][k]),
            excluding=tuple(pictures.crop(place) for place in places["excluding"][k]),
            unlabelled=tuple(
                pictures.crop(p) for best in _besides(places, "unlabelled") for p in best[k][:each]
            ),
            neither=tuple(pictures.crop(p) for best in _besides(places, "neither") for p in best[k][:each]),
            heat_maps=tuple(HeatMap(values / largest) for values in maps),
        )

    return tuple(concept(k) for k in range(len(factors.concepts)))


def _besides(places: Places, mask: str) -> Iterable[list[list[Place]]]:
    """By concept, the nearest places within a mask that is not always asked, where it holds an image."""
    return [places[mask]] if places.get(mask, [[]])[0] else []


def rival(tests: PredictionTests, target: int) -> Prediction | None:
    """The class that won where a test failed, the first of the two that did; None where both passed."""
    failed = (test for test in (tests.including, tests.excluding) if test and not test.predicted)
    # of a segmentation net the class itself may come first and yet be nowhere on the map
    return next((one for test in failed for one in test.top if one.index != target), None)


def completeness(evidence: Evidence | EvidenceAgainst) -> Completeness:
    """Of all noisy copies."""
    missed, changes = evidence.missed, evidence.changes
    # an image whose logit equals the baseline's has nothing to add up to: bounded, as JSON has no infinity
    found = np.array([completeness_error(missed, changes), relative(missed, changes).max()])
    total, worst = np.minimum(np.nan_to_num(found, nan=WORST), WORST).tolist()
    return Completeness(int(missed.size), total, worst, missed.shape[1])


def warnings_of(own: ClassEvidence, factors: Factors) -> Iterable[str]:
    """What a reader must see beside an explanation."""
    if own.context.task.dense:
        yield SEGMENTS.format(outlines=f"“{own.context.name(own.target)}” in white")
    yield from own.context.warnings
    if (mean := completeness(own.evidence).mean) > COMPLETENESS_BOUND:
        suspects = ", ".join(own.evidence.unruled)
        yield (
            f"The attribution misses {mean:.1%} of the change it should explain (completeness); "
            "the concepts rest on it and may be off."
            + (
                f" Operations of the model without a rule, the first to suspect: {suspects}."
                if suspects
                else ""
            )
        )
    yield from few(len(own.chosen), len(own.predicted), "this class")
    if own.context.split.signed:
        yield SIGNED[own.context.settings.signed]
    if len(factors.concepts) < own.context.settings.concepts:
        yield f"The images hold only {len(factors.concepts)} distinct concepts at this layer."


def repeated(concepts: Sequence[Concept]) -> Iterable[str]:
    """A warning where several concepts have the same best crop in the test that decides."""
    own, without = all(one.excluding for one in concepts), " without images predicted as the class"
    sharing: dict[tuple[str, Box], list[str]] = {}
    for number, concept in enumerate(concepts, 1):
        best = (concept.excluding if own else concept.including)[0]
        sharing.setdefault((best.image.path, best.box), []).append(str(number))
    several = [f"{', '.join(some[:-1])} and {some[-1]}" for some in sharing.values() if len(some) > 1]
    if several:
        yield (
            f"The best crop{without if own else ''} is the same for concepts {'; for '.join(several)}: the "
            f"test shows {len(sharing)} different crops, not {len(concepts)}."
        )


def few(used: int, predicted: int, named: str) -> Iterable[str]:
    """A warning where few images are predicted as a class, or few of them were used."""
    if predicted < FEW:
        images = "1 image is" if predicted == 1 else f"{predicted} images are"
        yield f"Only {images} predicted as {named}; what is found from so few is unsure."
    elif used < FEW:
        was = "was" if used == 1 else "were"
        yield (
            f"Only {used} of the {predicted} images predicted as {named} {was} used; what is found from so "
            "few is unsure."
        )
