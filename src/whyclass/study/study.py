"""A model, a layer and a pool of images, ready to be asked about classes."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from whyclass.errors import ClassError
from whyclass.models import described
from whyclass.models import preprocessing as models_preprocessing
from whyclass.models.setup import opened
from whyclass.naming import with_names
from whyclass.pool import images as pool_images
from whyclass.progress import Progress
from whyclass.progress_bars import shown
from whyclass.records import Audit, Contrast, Explanation, InsertionTest, LayerChoice, Pairs
from whyclass.settings import Settings, plain
from whyclass.study import contrast as study_contrast
from whyclass.study import contrast_tests, optimised_pictures, running_audit, shifted_sources
from whyclass.study import explain as study_explain
from whyclass.study.at_work import at_work
from whyclass.study.class_evidence import ClassEvidence, evidence_of
from whyclass.study.image_questions import ImageQuestions
from whyclass.study.layer_choice import AUTO, choose_layer
from whyclass.study.pair_evidence import evidence_against


class Study(ImageQuestions):
    """A model, a layer and a pool of images, ready to be asked about classes.

    Parameters
    ----------
    model
        A name that ``whyclass.load`` knows (``"torchvision:resnet50"``,
        ``"path/to/file.py:factory"``), a ``Loaded`` model, or a module you already hold; a module is
        given back as it came.
    layer
        Module path, such as ``"layer4.2"``; ``"auto"`` takes the one that ``choose_layer`` chooses.
    images
        A folder, several folders, a map-style dataset, or a list of images.
    store
        Folder for what is computed, so that the next call is fast; without one it lives as long as
        the study.
    settings
        Every constant of the method; ``whyclass.preset(...)`` gives variants.
    weights, class_names, preprocessing
        A weights file for a named model; a names file, the names, or ``id2label``; and what differs from
        the preprocessing that the model's metadata, or else ImageNet, gives (0.5 for a model that takes
        other than three channels): a ``Preprocessing``, torchvision's or timm's transforms, or an image
        processor of transformers.
    task
        What the output means, where it is not logits of classes of which one is right: ``"binary"``,
        ``"multilabel"``, ``"regression"``, a ``whyclass.Reading``, or a function from the output to one
        number for each image.
    device
        ``"auto"`` (a GPU where there is one), ``"cpu"``, ``"cuda"`` or ``"mps"``. A module stays where
        it is under ``"auto"``; on another device a copy of it is used.
    labels
        From what images are labelled as (their folder's name, or a dataset's label) to a class's name or
        index; not needed where labels are names of classes, ImageNet's WordNet numbers, or indexes. Labels
        choose no image: they tell where crops come from, and leave images out of one more prediction test.
    decoder
        In whose latent space pictures are drawn under ``Settings(pictures="generator")``
        (`whyclass.visualise.Generator`; `whyclass.models.loading.decoder` loads one from a file).
    progress
        Told of each step. The default shows bars in a terminal and in a notebook once a call takes more than
        two seconds, and elsewhere notes alone, on standard error; False is silent, and a
        ``whyclass.Progress`` of your own tells what you like.

    Attributes
    ----------
    choice
        Under ``"auto"`` how the layer was chosen; else None.

    Raises
    ------
    WhyclassError
        One of its kinds, by what is wrong: model, weights, layer, data or store.
    """

    def __init__(
        self,
        model: str | nn.Module | described.Loaded,
        layer: str,
        images: Any,
        store: str | Path | None = None,
        settings: Settings | None = None,
        *,
        weights: str | Path | None = None,
        class_names: str | Path | Iterable[str] | Mapping[int, str] | None = None,
        preprocessing: Any = None,
        task: Any = None,
        device: str = "auto",
        labels: Mapping[str, str | int] | None = None,
        decoder: nn.Module | None = None,
        progress: Progress | bool | None = None,
    ) -> None:
        settings, progress = settings or Settings(), shown(progress)
        self.choice: LayerChoice | None = None
        folder = store or tempfile.mkdtemp(prefix="whyclass-")
        if not store:
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        with progress.step("load"):
            loaded = opened(model, weights, class_names, preprocessing, device, task)
            for note in loaded.notes:
                progress.note(note)
            pool = replace(pool_images.pool(images, folder), meaning=dict(labels or {}))
            if layer != AUTO:
                super().__init__(loaded, layer, pool, folder, settings, progress)
        if layer == AUTO:
            found = choose_layer(loaded, pool, folder, settings, progress=progress)
            self.choice = found
            progress.note(f"layer {found.chosen.layer} was chosen: {found.why}")
            with progress.step("load"):
                super().__init__(loaded, found.chosen.layer, pool, folder, settings, progress)
        self.decoder = decoder
        for name in self.pool.meaning.values():
            self._resolved(name)

    def explain(self, target: str | int) -> Explanation:
        """Why does the model predict a class?

        Parameters
        ----------
        target
            The class's name or index.

        Returns
        -------
        Explanation
            Six concepts with their crops, and the prediction test of both kinds. Kept in the store: the
            same question gives the same record again.

        Raises
        ------
        ClassError
            If the class is unknown, ambiguous, or predicted for no image of the pool (names its nearest
            rivals and how often each is predicted).
        ModelError
            If pictures are asked for in the latent space of a decoder that does not fit the model.
        SettingsError
            If they are and there is no decoder.
        """
        self._check_unchanged()
        optimised_pictures.check(self.settings, self.decoder, self.loaded.preprocessing)
        wanted = self._resolved(target)
        return with_names(self.store, self._explained(evidence_of(self.context(), wanted)))

    def contrast(self, target: str | int, against: str | int | None = None) -> Contrast:
        """Why does the model predict a class and not another, and the other way round?

        Parameters
        ----------
        target, against
            The two classes' names or indexes. Without the second it is the class that won where a
            prediction test of the first one alone failed.

        Returns
        -------
        Contrast
            The hyperplane between their cells with its accuracy, six concepts that speak for each
            against the other with their prediction test, and the shifting, masking and insertion tests
            in both directions. Kept in the store.

        Raises
        ------
        ClassError
            If a class is unknown or predicted for no image of the pool, if both are the same, if one has
            no cell that speaks for it, or if the second is left out and no test failed.
        ModelError, SettingsError
            As for ``explain``.
        """
        a = self._resolved(target)
        b = None if against is None else self._resolved(against)
        self._check_two(a, b)
        self._check_unchanged()
        optimised_pictures.check(self.settings, self.decoder, self.loaded.preprocessing)
        context = self.context()
        if b is None:
            b = _rival(self.explain(a))

        def make() -> Contrast:
            sides = evidence_of(context, a), evidence_of(context, b)
            if (
                self.settings.contrast_by != "plane"
            ):  # before either alone, so that both share the noisy passes
                evidence_against(sides[0], [b])
                evidence_against(sides[1], [a])
            alone = self._explained(sides[0]), self._explained(sides[1])
            return study_contrast.contrast_of(context, sides, alone)

        return with_names(self.store, self._kept_or_made(Contrast, "contrasts", [a, b], make))

    def insert(
        self, target: str | int, against: str | int, patch: Any, at: str = "bottom-right", origin: str = ""
    ) -> InsertionTest:
        """Does a patch, inserted into images predicted as ``against``, turn them into ``target``?

        Parameters
        ----------
        target, against
            The two classes' names or indexes.
        patch
            An image file, a picture, or a uint8 array (H, W, channels); inserted at its own size into the
            images as the model sees them.
        at
            A row of ``whyclass.grid.ANCHORS``, such as ``"bottom-right"``.
        origin
            Where the patch comes from, for people; the default is the file's name.

        Raises
        ------
        ClassError
            As for ``contrast``.
        DataError
            If the patch cannot be read.
        SettingsError
            If the patch is larger than the model's images, or there is no such place.
        """
        a, b = self._resolved(target), self._resolved(against)
        self._check_two(a, b)
        preprocessing = self.loaded.preprocessing
        pixels = preprocessing.tensor(models_preprocessing.as_patch(patch, channels=preprocessing.channels))
        box = contrast_tests.placed((pixels.shape[1], pixels.shape[2]), preprocessing.crop, at)
        self._check_unchanged()
        context = self.context()
        name = origin or (Path(patch).name if isinstance(patch, (str, Path)) else "a picture")
        # no hyperplane takes part
        attempt = contrast_tests.Attempt(
            evidence_of(context, b), a, torch.zeros(self.split.shape[0]).numpy(), 0.0
        )
        (found,) = contrast_tests.insertions(attempt, [pixels], [name], box)
        few = study_explain.few(attempt.n, len(attempt.source.predicted), f"“{context.name(b)}”")
        return InsertionTest(
            model=context.model_info(),
            pool=context.pool_info(),
            size=self.loaded.preprocessing.crop,
            target=context.prediction(a, found.original.target),
            source=context.prediction(b, found.original.source),
            insertion=found,
            warnings=tuple(few),
            settings=plain(self.settings),
            versions=context.versions,
        )

    def pairs(self, classes: Sequence[str | int], *, workers: int = 1, engine: str = "local") -> Pairs:
        """The shifting test between all ordered pairs of some classes (paper, table 3), with its controls.

        Parameters
        ----------
        classes
            Names or indexes, two or more.
        workers, engine
            Who computes, as for ``audit``; ``workers`` says how many a cluster is begun with.

        Raises
        ------
        ClassError
            If there are fewer than two, or one is unknown, given twice, predicted for no image of the
            pool, or without a cell that speaks for it.
        """
        wanted = [self._resolved(name) for name in classes]
        if len(wanted) < 2 or len(set(wanted)) < len(wanted):
            raise ClassError(f"{len(set(wanted))} classes came; needed are two or more, each once")
        self._check_unchanged()
        with at_work(self, engine, workers) as made_by:
            context = self.context()

            def make() -> Pairs:
                return study_contrast.pairs_of(context, wanted, made_by.shifted(self, wanted))

            found = self._kept_or_made(Pairs, "pairs", wanted, make)
            shifted_sources.drop(context, wanted)
            return found

    def audit(
        self,
        classes: Sequence[str | int] | None = None,
        tests: Sequence[str] = ("prediction",),
        *,
        workers: int = 1,
        every_pair: bool = False,
        part: tuple[int, int] = (1, 1),
        engine: str = "local",
    ) -> Audit:
        """Explain and test every class, and shift between many (paper, tables 1 to 3).

        Each class's result is kept as soon as it is there: the same call goes on where a run was stopped,
        and ends with the same bytes.

        Parameters
        ----------
        classes
            Names or indexes; the default is every class that is predicted for an image of the pool.
        tests
            Of ``"prediction"``, ``"shift"`` and ``"mask"``.
        workers
            Processes for the factorisations. With more than one, a script that calls this needs the usual
            ``if __name__ == "__main__":``.
        every_pair
            Shift between all ordered pairs, instead of 10 random targets for each class, 5 times.
        part
            (i, n): only every n-th class from the i-th on. Stores of all parts can be merged.
        engine
            ``"local"``, or ``"ray"`` for a cluster that is begun here with so many workers, or
            ``"ray:ADDRESS"`` for one that runs (``docs/cluster.md``). The bytes are the same.

        Returns
        -------
        Audit
            Of all classes that are in the store for this model, layer, pool and settings.

        Raises
        ------
        ClassError
            If a class is unknown, or predicted for no image of the pool.
        SettingsError
            If a test is unknown, or a number is out of range.
        DataError
            If an image changed or vanished while the audit ran.
        StoreError
            If the store cannot be written; what was finished is kept.
        """
        how = running_audit.How(tuple(tests), workers, every_pair, part, engine)
        self._check_unchanged()
        return running_audit.run(self, None if classes is None else map(self._resolved, classes), how)

    def _explained(self, own: ClassEvidence) -> Explanation:
        def make() -> Explanation:
            return study_explain.explanation(own.context, own)

        return self._kept_or_made(Explanation, "explanations", [own.target], make)


def _rival(alone: Explanation) -> int:
    if alone.rival is None:
        raise ClassError(
            f"the explanation of {alone.target.name!r} passed its prediction tests, so no other class "
            "won; say which class to contrast it with"
        )
    return alone.rival.index
