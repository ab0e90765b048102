"""Questions of images: what speaks for a class in each, and how much of each concept they hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

from whyclass.errors import ClassError, DataError
from whyclass.models.class_names import name_of
from whyclass.records import ConceptBasis, ImageExplanation, Record, SpuriousFeatures
from whyclass.settings import plain
from whyclass.study import explain_image
from whyclass.study.class_arrays import ClassArrays, arrays_of, check_pooled, projected
from whyclass.study.class_evidence import evidence_of
from whyclass.study.comparing import Comparing
from whyclass.study.concept_basis import basis_of
from whyclass.study.given_images import given
from whyclass.study.spurious import spurious as table_of

Made = TypeVar("Made", bound=Record)


class ImageQuestions(Comparing):
    """An opened model that can be asked about images that need not be in its pool."""

    def explain_image(
        self,
        image: Any,
        target: str | int | None = None,
        against: str | int | None = None,
        *,
        tests: bool = True,
    ) -> ImageExplanation:
        """Why does the model predict this for this image?

        Parameters
        ----------
        image
            A file, a picture, a uint8 array (H, W, channels), or a float tensor (C, S, T) that is already
            normalised; in the pool or not.
        target
            The class's name or index; the default is what the model predicts.
        against
            The class that it is set against. The default is what the image is labelled as (in the pool, or by
            its folder's name), where that is not the target, else the runner-up of those that have concepts;
            where another class than the prediction is asked for, the prediction.
        tests
            Whether concepts are removed and the smallest set is sought that swaps the prediction.

        Returns
        -------
        ImageExplanation
            For both classes which of their concepts are where and what each counts for the logit, tests of
            that, and what would have to go and to come for the other class.

        Raises
        ------
        ClassError
            If a class is unknown, predicted for no image of the pool, or both are the same.
        DataError
            If the image cannot be read.
        """
        if isinstance(image, (list, tuple)):
            raise DataError(f"{len(image)} images came; give one, or all of them to explain_images")
        return self.explain_images([image], target, against, tests=tests)[0]

    def explain_images(
        self,
        images: Iterable[Any],
        target: str | int | None = None,
        against: str | int | None = None,
        *,
        tests: bool = True,
    ) -> tuple[ImageExplanation, ...]:
        """Why does the model predict this for each of these images? They go through the model as one batch.

        Parameters are those of `explain_image`; ``images`` are several, such as a list of files.
        """
        a = None if target is None else self._resolved(target)
        b = None if against is None else self._resolved(against)
        if a is not None:
            self._check_two(a, b)
        self._check_unchanged()
        loaded = given(images, self.loaded.preprocessing)
        context = self.context()

        return explain_image.explained(context, loaded, explain_image.Asked(a, b, tests, self.basis))

    def basis(self, target: str | int) -> ConceptBasis:
        """A class's concepts, ready to be looked for in any image; kept in the store.

        Parameters
        ----------
        target
            The class's name or index.

        Raises
        ------
        ClassError
            If the class is unknown, or predicted for no image of the pool.
        """
        wanted = self._resolved(target)

        def make() -> ConceptBasis:
            return basis_of(evidence_of(self.context(), wanted))

        return self._kept_or_made(ConceptBasis, "bases", [wanted], make)

    def project(
        self, images: Any, classes: Sequence[str | int] | None = None, *, pooled: str = "mean"
    ) -> np.ndarray:
        """How much of each concept images hold: features for whatever comes after.

        Parameters
        ----------
        images
            Images as for `explain_images`, in the pool or not.
        classes
            Whose concepts; the default is every class that is predicted for an image of the pool. What an
            audit kept of them is used.
        pooled
            ``"mean"`` over the cells of each image, or ``"max"``.

        Returns
        -------
        numpy.ndarray
            Shape (n, k), float32, 0 or above, in units of the layer's activations: non-negative least-squares
            embeddings. Columns are the concepts of the first class in the order of its explanation, then
            those of the next (``basis(name).vectors`` are their directions).

        Raises
        ------
        ClassError
            If a class is unknown, or predicted for no image of the pool.
        DataError
            If an image cannot be read.
        SettingsError
            If there is no such pooling.
        """
        check_pooled(pooled)
        wanted = None if classes is None else [self._resolved(name) for name in classes]
        self._check_unchanged()
        loaded = given(images, self.loaded.preprocessing)
        context = self.context()
        bases = [self.basis(k) for k in (context.classes() if wanted is None else wanted)]
        return projected(context, loaded, bases, pooled)

    def arrays(self, target: str | int) -> ClassArrays:
        """A class's images, attribution scores, concepts and embeddings, as arrays of numpy.

        Raises
        ------
        ClassError
            If the class is unknown, or predicted for no image of the pool.
        """
        wanted = self._resolved(target)
        self._check_unchanged()
        return arrays_of(evidence_of(self.context(), wanted))

    def spurious(self, classes: Sequence[str | int] | None = None) -> SpuriousFeatures:
        """Concepts that raise their class's score in images without the class, ranked: shortcuts come first.

        Parameters
        ----------
        classes
            Names or indexes; the default is every class that is predicted for an image of the pool. What an
            audit kept of them is used.

        Raises
        ------
        ClassError
            If a class is unknown, or predicted for no image of the pool.
        """
        wanted = None if classes is None else [self._resolved(name) for name in classes]
        self._check_unchanged()
        context = self.context()
        return table_of(context, context.classes() if wanted is None else wanted, self.basis)

    def key(self, *classes: int) -> str:
        """What a record of these classes is kept under."""
        return self.context().named_key(*classes)

    def _kept_or_made(
        self, kind: type[Made], folder: str, classes: list[int], make: Callable[[], Made]
    ) -> Made:
        """The record of a question from the store, or made and kept."""
        file = self.store.record(folder, self.key(*classes))
        if (kept := self.context().kept(kind, file)) is not None and self._asked_for(kept):
            return kept
        made = make()
        self.store.keep(made, file)
        return made

    def _asked_for(self, kept: Record) -> bool:
        """Whether a kept record says of itself what its key says."""
        mine = (self.context().model_info(), plain(self.settings), self.versions(), self.pool.digest)
        *facts, pool = (getattr(kept, name) for name in ("model", "settings", "versions", "pool"))
        if (*facts, pool.digest) == mine:
            return True
        self.progress.note(f"made anew: a {type(kept).__name__} of the store is of another question")
        return False

    def _check_two(self, a: int, b: int | None) -> None:
        if a == b:
            name = name_of(a, self.loaded.class_names)
            raise ClassError(f"{name!r} cannot be contrasted with itself; choose two classes")
