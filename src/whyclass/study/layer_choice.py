"""Which layer to explain: the prediction test at several layers, on a sample of classes and images.

The paper leaves open which layer is best. Deeper layers have larger crops, which alone make the model
predict the class more often; smaller crops say more exactly what it looks for. Among the layers whose
score is as good as the best's, as far as the sample can tell, the one with the smallest crops is taken.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from whyclass.errors import LayerError, SettingsError
from whyclass.models import described
from whyclass.models.class_names import resolve
from whyclass.models.layer_info import LayerInfo
from whyclass.models.setup import example_of, opened, versions
from whyclass.models.split import split
from whyclass.models.survey import survey
from whyclass.models.weights import fingerprint as fingerprint_of
from whyclass.models.written import written
from whyclass.pool import images as pools
from whyclass.pool.images import Pool
from whyclass.progress import Progress
from whyclass.progress_bars import shown
from whyclass.records import FORMAT, Candidate, Finding, LayerChoice
from whyclass.report import audits_in_store
from whyclass.settings import CHOICE_CLASSES, CHOICE_SAMPLE, OF_NO_FINDING, OF_NULLS, Settings, plain
from whyclass.store import Store, key_of
from whyclass.study import at_work, audit, layer_candidates
from whyclass.study.context import Context, OpenedModel, kept
from whyclass.study.engines import Engine
from whyclass.study.layer_choice_rule import after_choice, area, decide, of_classes, warnings_of
from whyclass.study.layer_choice_sample import classes_of, sample_of

AUTO = "auto"
"""In place of a layer: the one that is chosen."""

CHEAP: dict[str, Any] = {"images": 16, "copies": 8}
"""Settings at which a choice is made where they are at their defaults."""

SHOWN_ONLY: dict[str, Any] = {"crops": 1, "examples": 0}
"""Settings that only decide what is shown of an explanation."""

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


def choose(
    at: Callable[[str, Pool], OpenedModel],
    infos: Sequence[LayerInfo],
    pool: Pool,
    asked: Asked,
    engine: Engine,
) -> LayerChoice:
    """Test each candidate layer with each number of concepts, and choose one.

    Parameters
    ----------
    at
        A model opened at a layer, with a pool.
    infos
        The candidate layers.
    engine
        Who computes.
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
        opened = at(info.name, sample)
        for concepts in asked.concepts:
            told = f"layer {info.name} ({number} of {len(infos)}), {concepts} concepts"
            settings = replace(opened.settings, concepts=concepts)
            own = replace(opened.context(), store=first.store.part(FOLDER), settings=settings)
            mine = audit.Asked(tuple(classes), tuple(classes), ("prediction",), 1, False, told)
            engine.fill([opened], mine, own)
            found.append(_candidate(own, mine))
    found.sort(key=area)
    chosen, why = decide(found)
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
        warnings=tuple(warnings_of(found, chosen, count, images)),
        settings=audit.settings_of(context) | {"concepts": chosen.concepts},
        versions=context.versions,
        score=after_choice(found, chosen, context.settings.seed),
    )


def _candidate(context: Context, asked: audit.Asked) -> Candidate:
    """The prediction test of all classes at a layer, kept class by class."""
    audit.audit(context, asked)
    files = [audit.finding_file(context, k) for k in asked.mine]
    results = tuple(audits_in_store.result(Finding.load(file), file.name) for file in files)
    including, excluding = of_classes(results, context.settings.seed)
    return Candidate(
        layer=context.split.layer,
        shape=context.split.shape,
        crop=context.crops.size(context.preprocessing.crop),
        concepts=context.settings.concepts,
        including=including,
        excluding=excluding,
        classes=results,
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
    preprocessing: Any = None,
    task: Any = None,
    device: str = "auto",
    progress: Progress | bool | None = None,
    workers: int = 1,
    engine: str = "local",
) -> LayerChoice:
    """At which layer should a model be explained? The prediction test at several, on a sample of classes.

    Chosen is the layer with the smallest crops whose mean score without the class's images lies within one
    standard error of the best one's, among those that do better than random crops; of fewer than five classes
    the one with the largest crops. Each class's result is kept at once: the same call goes on after a stop.

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
    workers, engine, model, images, store, weights, class_names, preprocessing, task, device, progress
        Who computes is said as for ``Study.audit``, and all else as for ``Study``.

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
    numbers = tuple(dict.fromkeys(concepts)) or (settings.concepts,)
    asked = Asked(tuple(dict.fromkeys(layers)), given, numbers, sample)
    with progress.step("load"):
        what = opened(model, weights, class_names, preprocessing, device, task), pools.pool(images, store)
    with _folder(store) as folder, at_work.opened(engine, workers, progress) as made_by:
        return _chosen(_Opening(*what, Path(folder), settings, progress, made_by), asked)


@contextmanager
def _folder(store: str | Path | None) -> Iterator[str | Path]:
    """The store's, or one that is gone afterwards."""
    if store is not None:
        yield store
        return
    with tempfile.TemporaryDirectory(prefix="whyclass-") as folder:
        yield folder


@dataclass(frozen=True)
class _Opening:
    """What a model is opened with at one layer after the other, and who computes."""

    loaded: described.Loaded
    pool: Pool
    folder: Path
    settings: Settings
    progress: Progress
    engine: Engine

    def at(self, layer: str, own: Pool) -> OpenedModel:
        """The model at a layer, with the pool or a sample of it."""
        # beside the pool's own index, one of a sample would look like that of a pool that has changed
        place = self.folder if own is self.pool else self.folder / FOLDER / own.digest
        with self.progress.step("load"):
            found = OpenedModel(self.loaded, layer, own, place, self.settings, self.progress)
        found.makes = self.engine.rows(found)
        return found


def _chosen(of: _Opening, asked: Asked) -> LayerChoice:
    """The choice from the store, or made and kept."""
    loaded, pool, settings = of.loaded, of.pool, of.settings
    example = example_of(loaded)
    fingerprint = fingerprint_of(loaded.model, written(loaded.model, example))
    key = key_of(
        model=loaded.name,
        weights=fingerprint,
        names=list(loaded.class_names),
        pool=[pool.name, pool.digest],
        preprocessing=loaded.preprocessing.describe(),
        settings=plain(settings, (*OF_NO_FINDING, *OF_NULLS, "audit_nulls", "concepts")),
        asked=dataclasses.asdict(asked),
        versions=versions() | {"device": example.device.type},
        format=FORMAT,
        **({"outputs": outputs} if (outputs := loaded.reading.facts) else {}),
    )
    store = Store(of.folder)
    file = store.record("choices", key)
    if (found := kept(LayerChoice, file, of.progress)) is not None:
        return found
    with of.progress.step("load"):
        infos = _candidates(loaded, example, asked)
    made = choose(of.at, infos, pool, asked, of.engine)
    store.keep(made, file)
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
