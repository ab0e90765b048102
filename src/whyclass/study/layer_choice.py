"""Which layer to explain: the prediction test at several layers, on a sample of classes and images.

The paper leaves open which layer is best. Deeper layers have larger crops, which alone make the model
predict the class more often; smaller crops say more exactly what it looks for. Among the layers whose
score is as good as the best's, as far as the sample can tell, the one with the smallest crops is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from whyclass.errors import ClassError, SettingsError
from whyclass.grid import crop_size, pooled_shape
from whyclass.models.class_names import resolve
from whyclass.models.split import LayerInfo
from whyclass.pool.images import Pool
from whyclass.records import Average, Candidate, ClassResult, Finding, LayerChoice, Trial
from whyclass.report import paper_tables
from whyclass.settings import Settings, seed_of
from whyclass.store import Store
from whyclass.study import audit
from whyclass.study.class_evidence import subject
from whyclass.study.context import Scene

if TYPE_CHECKING:
    from whyclass.study.study import Study

AUTO = "auto"
"""In place of a layer: the one that is chosen."""

CLASSES, SAMPLE = 8, 1000
"""Classes tested, and images searched for their crops, unless others are asked for."""

ENOUGH = 10
"""A class is drawn among those predicted for so many images, where there are that many classes."""

MOST = 4
"""Layers tried, unless they are given."""

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


# ---------------------------------------------------------------- which layers


def candidates(model: nn.Module, infos: Sequence[LayerInfo], most: int = MOST) -> list[LayerInfo]:
    """The ends of a model's stages: for each size of crop the last layer of it, smallest crops first.

    Layers inside a block, such as a bottleneck of a ResNet, are not considered, since its skip goes around
    them. Layers after a ReLU are preferred to signed ones, then blocks to single operations. No layer has
    fewer than 2 x 2 pooled cells; of many sizes the largest are kept.
    Where there are only one or two sizes (as in a ViT), the longest row of equal blocks gives several
    layers, evenly spaced in depth.

    Parameters
    ----------
    infos
        ``whyclass.split.survey`` of the model.
    """
    able = {info.name: info for info in infos if info.form and not info.problem}
    rows = _rows_of_blocks(model, able)
    modules, units = dict(model.named_modules()), set(_units(model, "", able, rows))
    stages: dict[tuple[int, int], list[LayerInfo]] = {}
    for info in able.values():
        if info.name in units and info.crop and info.form and min(pooled_shape(*info.form.shape[1:])) >= 2:
            stages.setdefault(info.crop, []).append(info)

    def rank(info: LayerInfo) -> tuple[bool, bool, int]:
        block = any(True for _ in modules[info.name].children())
        return not info.signed, block, list(able).index(info.name)

    ends = [max(stages[crop], key=rank) for crop in sorted(stages, key=lambda crop: crop[0] * crop[1])][
        -most:
    ]
    longest = max(rows, key=len, default=[])
    if not longest or len(ends) > 2 or longest[0].crop not in stages:
        return ends
    others = [info for info in ends if info.crop != longest[0].crop]
    assert longest[0].form
    # what follows the last block of a ViT reads its class token alone: its other tokens say nothing
    reached = longest[:-1] if longest[0].form.prefix else longest
    own = _spaced(reached, most - len(others))
    return sorted([*others, *own], key=lambda info: info.crop or (0, 0))


def _rows_of_blocks(model: nn.Module, able: dict[str, LayerInfo]) -> list[list[LayerInfo]]:
    """Modules of one kind and output shape that follow each other in a list, with parts of their own."""
    rows: dict[tuple[str, str, tuple[int, ...]], list[LayerInfo]] = {}
    for path, parent in model.named_modules():
        if isinstance(parent, (nn.Sequential, nn.ModuleList)):
            for name, child in parent.named_children():
                info = able.get(f"{path}.{name}".lstrip("."))
                if info and not isinstance(child, nn.Sequential) and any(True for _ in child.children()):
                    rows.setdefault((path, info.kind, info.shape), []).append(info)
    return [row for row in rows.values() if len(row) > 1]


def _units(
    module: nn.Module, path: str, able: dict[str, LayerInfo], rows: list[list[LayerInfo]]
) -> Iterable[str]:
    """The outermost layers that are no mere containers of others."""
    for name, child in module.named_children():
        own = f"{path}{name}"
        holds = any(row[0].name.startswith(f"{own}.") for row in rows)
        if isinstance(child, nn.Sequential) or own not in able or holds:
            yield from _units(child, f"{own}.", able, rows)
        else:
            yield own


def _spaced(row: Sequence[LayerInfo], most: int) -> list[LayerInfo]:
    """At most so many of a row, evenly spaced, the last one among them."""
    count = min(most, len(row))
    return [row[(number + 1) * len(row) // count - 1] for number in range(count)]


# ---------------------------------------------------------------- which classes and images


def classes_of(scene: Scene, count: int) -> list[int]:
    """Classes drawn with the seed among those predicted for ``ENOUGH`` images, else the most predicted.

    Raises
    ------
    ClassError
        If no image of the pool shows anything but a segmentation net's background.
    """
    found = np.array([k for k in scene.classes() if k != scene.task.background])
    if not found.size:
        raise ClassError(
            "no image of the pool shows a class but the background; needed are images that show others, or "
            "name the classes"
        )
    counts = np.array([scene.index.counting(k).sum() for k in found.tolist()])
    enough = found[counts >= ENOUGH].tolist()
    if len(enough) < count:
        return sorted(found[np.argsort(-counts, kind="stable")[:count]].tolist())
    return sorted(sorted(enough, key=lambda k: seed_of("classes", scene.settings.seed, str(k)))[:count])


def sample_of(scene: Scene, classes: Sequence[int], most: int) -> Pool:
    """The images that the classes are explained by, filled up with others drawn with the seed."""
    index, pool = scene.index, scene.pool
    if len(pool.items) <= most:
        return pool
    own = {int(p) for k in classes for p in subject(scene, k).chosen}
    lots = [seed_of("sample", scene.settings.seed, item.digest) for item in pool.items]
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
    at: Callable[[str, Pool], Study], infos: Sequence[LayerInfo], pool: Pool, asked: Asked
) -> LayerChoice:
    """Test each candidate layer with each number of concepts, and choose one.

    Parameters
    ----------
    at
        A study of a layer and a pool.
    infos
        The candidate layers.
    """
    first = at(max(infos, key=lambda info: info.crop or (0, 0)).name, pool)
    named = () if isinstance(asked.classes, int) else asked.classes
    wanted = sorted({resolve(name, first.loaded.class_names, first.task.classes) for name in named})
    scene = first._scene()
    count = asked.classes if isinstance(asked.classes, int) else len(wanted)
    classes = wanted or classes_of(scene, count)
    sample = sample_of(scene, classes, asked.sample)
    found: list[Candidate] = []
    for number, info in enumerate(infos, 1):
        own = replace(at(info.name, sample)._scene(), store=Store(first.store.folder / FOLDER))
        for concepts in asked.concepts:
            told = f"layer {info.name} ({number} of {len(infos)}), {concepts} concepts"
            found.append(_candidate(own, classes, concepts, told))
    found.sort(key=_area)
    chosen, why = pick(found)
    images = [int(scene.index.counting(k).sum()) for k in classes]
    model = scene.model_info()
    return LayerChoice(
        model=replace(model, layer=chosen.layer, shape=chosen.shape),
        pool=scene.pool_info(),
        sample=len(sample.items),
        names=scene.names_digest,
        candidates=tuple(found),
        chosen=chosen,
        why=why,
        warnings=tuple(_warnings(found, chosen, count, images)),
        settings=audit.settings_of(scene) | {"concepts": chosen.concepts},
        versions=scene.versions,
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


def _candidate(scene: Scene, classes: Sequence[int], concepts: int, told: str) -> Candidate:
    """The prediction test of all classes at a layer, kept class by class."""
    settings = replace(scene.settings, concepts=concepts)
    scene = replace(scene, settings=settings)
    mine = tuple(classes)
    audit.audit(scene, audit.Asked(mine, mine, ("prediction",), 1, False, told))
    files = [audit.finding_file(scene, k) for k in mine]
    results = tuple(paper_tables.result(Finding.load(file), file.name) for file in files)
    return Candidate(
        layer=scene.split.layer,
        shape=scene.split.shape,
        crop=crop_size(scene.index.grid, scene.preprocessing.crop),
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
