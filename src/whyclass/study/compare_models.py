"""Two models, or two pools of one: what they call the images, and which concepts came and went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from whyclass.concepts import matching
from whyclass.errors import ClassError, ModelError
from whyclass.models.class_names import resolve
from whyclass.records import (
    ChangedImage,
    ClassComparison,
    ConceptOfModel,
    Finding,
    Match,
    ModelComparison,
    Move,
    Predictions,
)
from whyclass.report import audits_in_store
from whyclass.settings import plain, seed_of
from whyclass.study import audit as study_audit
from whyclass.study.context import Context
from whyclass.study.crop_pictures import Pictures
from whyclass.study.image_tests import permuted
from whyclass.study.study import Study

SAMPLE = 512
"""Images in both pools over which channels and concepts are correlated, at most."""

CORRESPOND = 0.5
"""Channels correspond where those of equal number correlate more than this, in the median."""

NONSENSE = 20
"""Draws of nonsense for each concept: what they reach no match may be below."""

IMAGES, SMALL = 12, 128
"""Changed images that are shown, and their longer side in pixels."""


@dataclass(frozen=True)
class _Both:
    """Both contexts, and the rows of the images that are in both pools."""

    a: Context = field(repr=False)
    b: Context = field(repr=False)
    rows: np.ndarray = field(repr=False)
    other: np.ndarray = field(repr=False)

    @property
    def sample(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows of some of these images, evenly over all of them."""
        step = max(1, -(-len(self.rows) // SAMPLE))
        return self.rows[::step], self.other[::step]

    @property
    def cells(self) -> tuple[np.ndarray, np.ndarray]:
        """Their pooled cells in both, (m, g, c) and (m, h, d), float32."""
        rows, other = self.sample
        return (
            self.a.index.checked_cells[rows].astype(np.float32),
            self.b.index.checked_cells[other].astype(np.float32),
        )


def compare_models(
    study_a: Study, study_b: Study, classes: Sequence[str | int] | None = None
) -> ModelComparison:
    """What changed between two models, or two checkpoints of one, or two pools of one?

    Parameters
    ----------
    study_a, study_b
        Studies of models with the same classes. Their stores may be the same folder.
    classes
        Names or indexes; the default is every class that is predicted for images of both pools. What an
        audit kept of them is used.

    Returns
    -------
    ModelComparison
        Which images they call different things; and for each class which concepts both have, which came and
        which went, and the prediction tests of both.

    Raises
    ------
    ClassError
        If the models' classes differ, a class is unknown, or none is predicted for images of both pools.
    ModelError
        If neither channels correspond nor an image is in both pools, so that nothing can be compared.
    """
    _check(study_a, study_b)
    study_a._check_unchanged()
    study_b._check_unchanged()
    both = _both(study_a.context(), study_b.context())
    chosen, gone, new = _chosen(both, classes)
    measure, channels, warnings = _measure(both)
    for context in (both.a, both.b):
        asked = study_audit.Asked(tuple(chosen), tuple(chosen), ("prediction",), 1, False, "comparison")
        study_audit.audit(context, asked)
    return ModelComparison(
        model=both.a.model_info(),
        pool=both.a.pool_info(),
        other_model=both.b.model_info(),
        other_pool=both.b.pool_info(),
        predictions=_predictions(both),
        measure=measure,
        channels=channels,
        classes=tuple(_class(both, k, measure) for k in chosen),
        gone=gone,
        new=new,
        warnings=(*warnings, *dict.fromkeys((*both.a.warnings, *both.b.warnings))),
        settings=plain(study_a.settings),
        other_settings=plain(study_b.settings),
        versions=both.a.versions,
    )


def _chosen(
    both: _Both, classes: Sequence[str | int] | None
) -> tuple[list[int], tuple[str, ...], tuple[str, ...]]:
    """The classes that are compared, and names of those that only the first pool has, or the second."""
    a = both.a
    here, there = set(a.classes()), set(both.b.classes())
    names, count = a.loaded.class_names, a.task.classes
    shared = here & there
    chosen = shared if classes is None else {resolve(name, names, count) for name in classes}
    if lost := [f"{a.name(k)!r} is" for k in sorted(chosen - shared)] or ["no class is"] * (not chosen):
        raise ClassError(f"{lost[0]} predicted for images of both pools; choose one that is")
    gone, new = (tuple(a.name(k) for k in sorted(only)) for only in (here - there, there - here))
    return sorted(chosen), gone, new


def _check(a: Study, b: Study) -> None:
    mine, theirs = a.task.classes, b.task.classes
    if mine != theirs:
        raise ClassError(f"one model has {mine} classes and the other {theirs}; compare models of the same")
    if a.loaded.class_names and b.loaded.class_names and a.loaded.class_names != b.loaded.class_names:
        both = zip(a.loaded.class_names, b.loaded.class_names, strict=True)
        k, (one, other) = next((k, pair) for k, pair in enumerate(both) if pair[0] != pair[1])
        raise ClassError(f"class {k} is called {one!r} in one model and {other!r} in the other")


def _both(a: Context, b: Context) -> _Both:
    there: dict[str, int] = {}
    for position, item in enumerate(b.index.items):
        if b.index.usable[position]:
            there.setdefault(item.digest, position)
    pairs = [
        (position, there[item.digest])
        for position, item in enumerate(a.index.items)
        if a.index.usable[position] and item.digest in there
    ]
    rows = np.array(pairs, int).reshape(-1, 2)
    return _Both(a, b, rows[:, 0], rows[:, 1])


def _measure(both: _Both) -> tuple[str, float | None, list[str]]:
    """How concepts are compared, the channels' correlation, and what a reader must know of it."""
    a, b = both.a.split.shape, both.b.split.shape
    if both.a.fingerprint == both.b.fingerprint and both.a.split.layer == both.b.split.layer:
        return "cosine", None, []
    if not len(both.rows):
        if a[0] != b[0]:
            raise ModelError(
                f"the layers have {a[0]} and {b[0]} channels, and no image is in both pools, so that nothing "
                "can be compared; give pools that share images"
            )
        return "cosine", None, ["No image is in both pools: whether channels correspond was not checked."]
    if a[0] != b[0] or both.a.index.grid != both.b.index.grid:
        return "co-activation", None, []
    X, Y = both.cells
    found = matching.channels(X.reshape(-1, a[0]), Y.reshape(-1, b[0]))
    return ("cosine" if found > CORRESPOND else "co-activation"), found, []


def _predictions(both: _Both) -> Predictions:
    a, b = both.a, both.b
    mine, theirs = a.index.predicted[both.rows], b.index.predicted[both.other]
    changed = np.flatnonzero(mine != theirs)
    moves = Counter(zip(mine[changed].tolist(), theirs[changed].tolist(), strict=True)).most_common()
    scores = b.index.scores(both.other[changed])
    sure = np.array([scores[i, theirs[row]] for i, row in enumerate(changed)])
    shown = changed[np.argsort(-sure, kind="stable")[:IMAGES]] if len(changed) else changed
    pictures = Pictures(a, [])
    labels = a.labels[both.rows]
    known = labels >= 0
    return Predictions(
        n=len(both.rows),
        changed=len(changed),
        moves=tuple(Move(i, a.name(i), j, a.name(j), n) for (i, j), n in moves),
        images=tuple(_changed(both, int(row), pictures) for row in shown),
        labelled=int(known.sum()),
        right=float((mine[known] == labels[known]).mean()) if known.any() else None,
        other_right=float((theirs[known] == labels[known]).mean()) if known.any() else None,
    )


def _changed(both: _Both, row: int, pictures: Pictures) -> ChangedImage:
    small = pictures.small(int(both.rows[row]), SMALL)
    return ChangedImage(small.image, both.b.source(int(both.other[row])).prediction, small.picture)


def _class(both: _Both, target: int, measure: str) -> ClassComparison:
    a, b = (_finding(context, target) for context in (both.a, both.b))
    mine, theirs = (audits_in_store.result(one, "") for one in (a, b))
    matches, least = _matches(both, a, b, measure) if a.concepts and b.concepts else ([], 0.0)
    return ClassComparison(
        index=target,
        name=both.a.name(target),
        n=a.n_predicted,
        others=b.n_predicted,
        concepts=_concepts(a),
        other_concepts=_concepts(b),
        matches=tuple(Match(i, j, similarity) for i, j, similarity in matches),
        threshold=least,
        including=mine.including,
        excluding=mine.excluding,
        other_including=theirs.including,
        other_excluding=theirs.excluding,
        problem=a.problem or b.problem,
    )


def _finding(context: Context, target: int) -> Finding:
    found = context.kept(Finding, study_audit.finding_file(context, target))
    assert found is not None  # it was made a moment ago
    return found


def _concepts(found: Finding) -> tuple[ConceptOfModel, ...]:
    return tuple(
        ConceptOfModel(k, concept.share, concept.including) for k, concept in enumerate(found.concepts)
    )


def _matches(both: _Both, a: Finding, b: Finding, measure: str) -> tuple[list[tuple[int, int, float]], float]:
    """Pairs of concepts with their similarity, and the least that a pair needs."""
    generator = np.random.default_rng(seed_of("matching", both.a.settings.seed, a.target.name))
    draws = [
        np.concatenate([permuted(vector, 1, generator) for vector in b.vectors]) for _ in range(NONSENSE)
    ]
    if measure == "cosine":
        found = matching.cosines(a.vectors, b.vectors)
        null = np.stack([matching.cosines(a.vectors, drawn).max(1) for drawn in draws])
    else:
        X, Y = both.cells
        same = X.shape[1] == Y.shape[1]
        x = _held(X, a.vectors, same)
        found = matching.correlations(x, _held(Y, b.vectors, same))
        null = np.stack([matching.correlations(x, _held(Y, drawn, same)).max(1) for drawn in draws])
    least = matching.threshold(null)
    return matching.matched(found, least), least


def _held(cells: np.ndarray, vectors: np.ndarray, each: bool) -> np.ndarray:
    """Cosine of cells (m, g, c) with concepts: of each cell, or the highest in each image."""
    cosine = np.asarray(cells @ vectors.T)
    return cosine.reshape(-1, len(vectors)) if each else np.asarray(cosine.max(1))
