"""Which layer to explain: the prediction test at several layers, on a sample of classes and images.

The paper leaves open which layer is best. Deeper layers have larger crops, which alone make the model
predict the class more often; smaller crops say more exactly what it looks for. Among the layers whose
score is as good as the best's, as far as the sample can tell, the one with the smallest crops is taken.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from whyclass.errors import ClassError, LayerError, SettingsError
from whyclass.grid import crop_size
from whyclass.models import described
from whyclass.models.class_names import resolve
from whyclass.models.layer_info import LayerInfo
from whyclass.models.preprocessing import Preprocessing
from whyclass.models.setup import example_of, opened, versions
from whyclass.models.split import split, survey
from whyclass.models.weights import fingerprint as fingerprint_of
from whyclass.pool import images as pool_images
from whyclass.pool.images import Pool
from whyclass.progress import Progress
from whyclass.progress_bars import shown
from whyclass.records import FORMAT, Average, Candidate, ClassResult, Finding, LayerChoice, Trial
from whyclass.report import audits_in_store, paper_tables
from whyclass.settings import CHOICE_CLASSES, CHOICE_SAMPLE, OF_NO_FINDING, Settings, plain, seed_of
from whyclass.store import Store, key_of
from whyclass.study import audit, layer_candidates
from whyclass.study.class_evidence import evidence_of
from whyclass.study.context import Context, OpenedModel, kept

AUTO = "auto"
"""In place of a layer: the one that is chosen."""

ENOUGH = 10
"""A class is drawn among those predicted for so many images, where there are that many classes."""

CHEAP: dict[str, Any] = {"images": 16, "copies": 8}
"""Settings at which a choice is made where they are at their defaults."""

SHOWN_ONLY: dict[str, Any] = {"crops": 1, "examples": 0}
"""Settings that only decide what is shown of an explanation."""

RESAMPLED = 2000
"""Draws of the bootstrap."""

FOLDER = "choosing"
"""Of the store: results on the sample, apart from those of audits."""


@dataclass(frozen=True)
class Asked:
    """What a choice is made of.

    Attributes
    ----------
    layers
        Module paths; none for those that ``candidates`` gives.
    classes
        How many are drawn, or their names or indexes.
    concepts
        Numbers of concepts, each tried at each layer.
    sample
        So many images are searched for crops, or all that the classes are explained by, where these are more.
    """

    layers: tuple[str, ...]
    classes: int | tuple[str | int, ...]
    concepts: tuple[int, ...]
    sample: int

    def __post_init__(self) -> None:
        """Refuse what no choice can be made of."""
        several = self.classes if isinstance(self.classes, int) else len(self.classes)
        if several < 1 or isinstance(self.classes, bool):
            raise SettingsError(f"classes is {self.classes!r}; needed is 1 or more, or names of classes")
        if self.sample < 1:
            raise SettingsError(f"sample is {self.sample!r}; needed is 1 image or more")
        for count in self.concepts:
            Settings(concepts=count)  # which refuses what no number of concepts can be


def cheap(settings: Settings) -> Settings:
    """The settings of a choice: what is costly and was not changed is reduced."""
    changed = {name for name in CHEAP if getattr(settings, name) != getattr(Settings(), name)}
    found = {name: value for name, value in CHEAP.items() if name not in changed} | SHOWN_ONLY
    return replace(settings, **found)


# ---------------------------------------------------------------- which classes and images


def classes_of(context: Context, count: int) -> list[int]:
    """Classes drawn with the seed among those predicted for ``ENOUGH`` images, else the most predicted.

    Raises
    ------
    ClassError
        If no image of the pool shows anything but a segmentation net's background.
    """
    found = np.array([k for k in context.classes() if k != context.task.background])
    if not found.size:
        raise ClassError(
            "no image of the pool shows a class but the background; needed are images that show others, or "
            "name the classes"
        )
    counts = np.array([context.index.counting(k).sum() for k in found.tolist()])
    enough = found[counts >= ENOUGH].tolist()
    if len(enough) < count:
        return sorted(found[np.argsort(-counts, kind="stable")[:count]].tolist())
    return sorted(sorted(enough, key=lambda k: seed_of("classes", context.settings.seed, str(k)))[:count])


def sample_of(context: Context, classes: Sequence[int], most: int) -> Pool:
    """The images that the classes are explained by, filled up with others drawn with the seed."""
    index, pool = context.index, context.pool
    if len(pool.items) <= most:
        return pool
    own = {int(p) for k in classes for p in evidence_of(context, k).chosen}
    lots = [seed_of("sample", context.settings.seed, item.digest) for item in pool.items]
    others = [p for p in np.argsort(lots, kind="stable").tolist() if index.usable[p] and p not in own]
    kept = sorted([*own, *others[: max(0, most - len(own))]])
    return replace(
        pool,
        name=f"{len(kept)} images of {pool.name}",
        items=tuple(pool.items[p] for p in kept),
        read=lambda position: pool.read(kept[position]),
        kept=None,
    )


# ---------------------------------------------------------------- the choice


def choose(
    at: Callable[[str, Pool], OpenedModel], infos: Sequence[LayerInfo], pool: Pool, asked: Asked
) -> LayerChoice:
    """Test each candidate layer with each number of concepts, and choose one.

    Parameters
    ----------
    at
        A model opened at a layer, with a pool.
    infos
        The candidate layers.
    """
    first = at(max(infos, key=lambda info: info.crop or (0, 0)).name, pool)
    named = () if isinstance(asked.classes, int) else asked.classes
    wanted = sorted({resolve(name, first.loaded.class_names, first.task.classes) for name in named})
    context = first.context()
    count = asked.classes if isinstance(asked.classes, int) else len(wanted)
    classes = wanted or classes_of(context, count)
    sample = sample_of(context, classes, asked.sample)
    found: list[Candidate] = []
    for number, info in enumerate(infos, 1):
        own = replace(at(info.name, sample).context(), store=Store(first.store.folder / FOLDER))
        for concepts in asked.concepts:
            told = f"layer {info.name} ({number} of {len(infos)}), {concepts} concepts"
            found.append(_candidate(own, classes, concepts, told))
    found.sort(key=_area)
    chosen, why = pick(found)
    images = [int(context.index.counting(k).sum()) for k in classes]
    model = context.model_info()
    return LayerChoice(
        model=replace(model, layer=chosen.layer, shape=chosen.shape),
        pool=context.pool_info(),
        sample=len(sample.items),
        names=context.names_digest,
        candidates=tuple(found),
        chosen=chosen,
        why=why,
        warnings=tuple(_warnings(found, chosen, count, images)),
        settings=audit.settings_of(context) | {"concepts": chosen.concepts},
        versions=context.versions,
    )


def pick(found: Sequence[Candidate]) -> tuple[Candidate, str]:
    """The one-standard-error rule (Breiman et al. 1984) over candidates, with the reason in words.

    Of those that random crops do not equal, the smallest crops whose mean score lies within one standard
    error of the best one's; of these the fewest concepts, then the highest score. The score is that of
    the test without the class's images, where there is one. Where random crops equal all, the best.
    """
    able = [one for one in found if _decisive(one).above is not False]
    best = max(able or found, key=lambda one: _decisive(one).score)
    top, of = _decisive(best), f"of {len(found)} candidate{'s' if len(found) > 1 else ''} "
    if not able:
        return best, f"{of}none does better than random crops, and {_named(best)} scores best, {_told(best)}"
    near = [one for one in able if _decisive(one).score >= top.score - top.error]
    chosen = min(near, key=lambda one: (_area(one), one.concepts, -_decisive(one).score))
    if chosen is best:
        smaller = any(_area(one) < _area(best) for one in found)
        rest = f", and no smaller crops come within one standard error of it ({top.error:.2f})"
        return chosen, f"{of}{_named(chosen)} scores best, {_told(chosen)}{rest if smaller else ''}"
    has = "smallest crops" if chosen.crop != best.crop else "fewest concepts"
    return chosen, (
        f"{of}{_named(chosen)} has the {has} that score within one standard error ({top.error:.2f}) of the "
        f"best: {_told(chosen)}, and {_named(best)} {top.score:.2f}"
    )


def _area(one: Candidate) -> int:
    return one.crop[0] * one.crop[1]


def _decisive(one: Candidate) -> Average:
    return one.excluding or one.including


def _named(one: Candidate) -> str:
    height, width = one.crop
    side = f"{height} px" if height == width else f"{height} x {width} px"
    return f"{one.layer} with {one.concepts} concepts (crops of {side})"


def _told(one: Candidate) -> str:
    which = "without the class's images" if one.excluding else "with the class's images"
    return f"{_decisive(one).score:.2f} {which}"


def _candidate(context: Context, classes: Sequence[int], concepts: int, told: str) -> Candidate:
    """The prediction test of all classes at a layer, kept class by class."""
    settings = replace(context.settings, concepts=concepts)
    context = replace(context, settings=settings)
    mine = tuple(classes)
    audit.audit(context, audit.Asked(mine, mine, ("prediction",), 1, False, told))
    files = [audit.finding_file(context, k) for k in mine]
    results = tuple(audits_in_store.result(Finding.load(file), file.name) for file in files)
    return Candidate(
        layer=context.split.layer,
        shape=context.split.shape,
        crop=crop_size(context.index.grid, context.preprocessing.crop),
        concepts=concepts,
        including=averaged([one.including for one in results], settings.seed),
        excluding=_without(results, settings.seed),
        classes=results,
    )


def _without(results: Sequence[ClassResult], seed: int) -> Average | None:
    """Of the test without the class's images; a class to which all images belong has none."""
    tests = [one.excluding for one in results if one.excluding or one.problem]
    return averaged(tests, seed) if any(tests) else None


def averaged(tests: Sequence[Trial | None], seed: int) -> Average:
    """A test over classes; None is a class that could not be explained."""
    scores = np.array([test.score if test else 0.0 for test in tests])
    share = paper_tables.share([bool(test and test.predicted) for test in tests])
    draws = np.random.default_rng(seed_of("bootstrap", seed, "")).integers(
        len(scores), size=(RESAMPLED, len(scores))
    )
    low, high = (float(bound) for bound in np.quantile(scores[draws].mean(1), (0.025, 0.975)))
    controls = [test.control for test in tests if test and test.control]
    control = float(np.mean([one.mean for one in controls])) if controls else None
    called = float(np.mean([one.predicted for one in controls])) if controls else None
    assert share.low is not None
    assert share.high is not None
    return Average(
        n=len(scores),
        score=float(scores.mean()),
        low=low,
        high=high,
        error=float(scores.std(ddof=1) / len(scores) ** 0.5) if len(scores) > 1 else 0.0,
        predicted=share.value,
        predicted_low=share.low,
        predicted_high=share.high,
        control=control,
        control_predicted=called,
        above=None if control is None or called is None else low > control and share.low > called,
    )


def _warnings(
    found: Sequence[Candidate], chosen: Candidate, wanted: int, images: Sequence[int]
) -> Iterable[str]:
    """What a reader must see beside a choice; ``images`` of the whole pool are predicted as each class."""
    if all(_decisive(one).above is False for one in found):
        yield (
            "At no candidate layer do the concepts' crops do better than random crops. The model may not "
            "be trained, or these images may not be what it knows; do not trust explanations of it here."
        )
    if any(_decisive(one).above is None for one in found):
        yield "There were no random crops to compare with, so it is not known whether any crops would do."
    if chosen.excluding is None:
        yield "No class leaves an image that is not predicted as it, so the weaker test decided."
    if len(chosen.classes) < wanted:
        yield f"Only {len(chosen.classes)} of {wanted} classes are predicted for an image of the pool."
    if few := sum(count < ENOUGH for count in images):
        yield (
            f"{few} of {len(chosen.classes)} classes are predicted for fewer than {ENOUGH} images; what "
            "is found from so few is unsure."
        )
    for one in found:
        if lost := sum(bool(each.problem) for each in one.classes):
            yield (
                f"{_named(one)}: {lost} of {len(one.classes)} classes could not be explained and count as 0."
            )


def choose_layer(
    model: str | nn.Module | described.Loaded,
    images: Any,
    store: str | Path | None = None,
    settings: Settings | None = None,
    *,
    layers: Sequence[str] = (),
    classes: int | Sequence[str | int] = CHOICE_CLASSES,
    concepts: Sequence[int] = (),
    sample: int = CHOICE_SAMPLE,
    weights: str | Path | None = None,
    class_names: str | Path | Iterable[str] | None = None,
    preprocessing: Preprocessing | None = None,
    device: str = "auto",
    progress: Progress | bool | None = None,
) -> LayerChoice:
    """At which layer should a model be explained? The prediction test at several, on a sample of classes.

    Chosen is the layer with the smallest crops whose mean score without the class's images lies within one
    standard error of the best one's, among those that do better than random crops. Each class's result is
    kept as soon as it is there: the same call goes on where a run was stopped.

    Parameters
    ----------
    layers
        Module paths of the candidates; the default are the ends of the model's stages, at most four.
    classes
        How many are drawn with the seed among those predicted for at least ten images, or their names
        or indexes. A class that says that there is nothing (a segmentation net's background) is not drawn.
    concepts
        Numbers of concepts to try at each layer; the default is the settings' own.
    sample
        Crops come from so many images, drawn with the seed: from all that the classes are explained by,
        even where these alone are more, filled up with others. One pass over the whole pool, at one of the
        layers, finds what each image is predicted as.
    settings
        As for ``Study``, but ``images`` is 16 and ``copies`` 8 where they are at their defaults.
    model, images, store, weights, class_names, preprocessing, device, progress
        As for ``Study``.

    Raises
    ------
    LayerError
        If a layer does not exist or cannot be explained, or none of the model can.
    ClassError
        If a class is unknown, or predicted for no image of the pool.
    WhyclassError
        Of another kind as for ``Study``.
    """
    progress, settings = shown(progress), cheap(settings or Settings())
    given = classes if isinstance(classes, int) else tuple(classes)
    asked = Asked(
        tuple(dict.fromkeys(layers)), given, tuple(dict.fromkeys(concepts)) or (settings.concepts,), sample
    )
    with progress.step("load"):
        loaded = opened(model, weights, class_names, preprocessing, device)
        pool = pool_images.pool(images)
    if store is None:
        with tempfile.TemporaryDirectory(prefix="whyclass-") as folder:
            return _chosen(loaded, pool, folder, settings, asked, progress)
    return _chosen(loaded, pool, store, settings, asked, progress)


def _chosen(
    loaded: described.Loaded,
    pool: pool_images.Pool,
    folder: str | Path,
    settings: Settings,
    asked: Asked,
    progress: Progress,
) -> LayerChoice:
    """The choice from the store, or made and kept."""
    fingerprint, example = fingerprint_of(loaded.model), example_of(loaded)
    key = key_of(
        model=loaded.name,
        weights=fingerprint,
        names=list(loaded.class_names),
        pool=[pool.name, pool.digest],
        preprocessing=loaded.preprocessing.describe(),
        settings=plain(settings, (*OF_NO_FINDING, "concepts")),
        asked=dataclasses.asdict(asked),
        versions=versions() | {"device": example.device.type},
        format=FORMAT,
    )
    file = Store(Path(folder)).record("choices", key)
    if (found := kept(LayerChoice, file, progress)) is not None:
        return found

    def at(layer: str, own: pool_images.Pool) -> OpenedModel:
        # beside the pool's own index, one of a sample would look like that of a pool that has changed
        place = folder if own is pool else Path(folder, FOLDER, own.digest)
        with progress.step("load"):
            return OpenedModel(loaded, layer, own, place, settings, progress)

    with progress.step("load"):
        infos = _candidates(loaded, example, asked)
    made = choose(at, infos, pool, asked)
    made.save(file)
    return made


def _candidates(loaded: described.Loaded, example: Tensor, asked: Asked) -> list[LayerInfo]:
    """The layers asked for, or those that stand for the model's stages."""
    infos = survey(loaded.model, example)
    by_name = {info.name: info for info in infos}
    for layer in asked.layers:
        if layer not in by_name or by_name[layer].problem:
            split(loaded.model, layer, example)  # says what is wrong with it, and what could be meant
    found = [by_name[layer] for layer in asked.layers] or layer_candidates.candidates(loaded.model, infos)
    if not found:
        raise LayerError(
            f"{loaded.name} has no layer to choose with a grid of 4 x 4 cells or more; name candidates "
            "yourself ('whyclass layers --all' lists every layer with what is wrong with it)"
        )
    return found
