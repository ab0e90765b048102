"""A study's comparison of methods."""

from __future__ import annotations

from collections.abc import Sequence

from whyclass.errors import ModelError
from whyclass.models.class_names import resolve
from whyclass.models.weights import fingerprint
from whyclass.records import Audit, Comparison
from whyclass.study import audit, audited_methods, compare, running_audit
from whyclass.study.at_work import at_work
from whyclass.study.context import OpenedModel


class Comparing(OpenedModel):
    """A model, a layer and a pool, on whose classes methods can be compared."""

    def compare(
        self,
        classes: Sequence[str | int],
        methods: Sequence[str] | None = None,
        *,
        workers: int = 1,
        engine: str = "local",
    ) -> Comparison:
        """Concepts of several methods in the same tests.

        Parameters
        ----------
        classes
            Names or indexes, one or more.
        methods
            Of ``whyclass.settings.COMPARED_METHODS``, which is the default, or ``NAMED_METHODS``, or
            ``file:PATH`` of a ``.safetensors`` or ``.npz`` matrix (k, channels).
        workers, engine
            Who computes, as for ``audit``; ``workers`` says how many a cluster is begun with.

        Raises
        ------
        ClassError
            If a class is unknown, given twice, or predicted for no image of the pool.
        SettingsError
            If a method or an engine is unknown, or needs a library that is not installed.
        DataError
            If a file holds no directions of the layer.
        """
        wanted = compare.checked_targets([self._resolved(name) for name in classes])
        self._check_unchanged()
        with at_work(self, engine, workers) as made_by:
            context = self.context()
            asked = compare.methods_of(context.split.shape[0], methods)
            made_by.fill_methods(self, wanted, asked)
            return compare.comparison(context, wanted, asked)

    def check_methods(self, methods: Sequence[str]) -> None:
        """Refuse what no audit can be of, before anything is computed; errors as of ``audit_methods``."""
        audited_methods.checked(methods, self.split.shape[0])

    def audit_methods(
        self,
        methods: Sequence[str],
        classes: Sequence[str | int] | None = None,
        *,
        part: tuple[int, int] = (1, 1),
    ) -> list[Audit]:
        """The prediction test of an audit, of concepts that other methods find.

        What a class is compared with, and everything but its concepts, are the audit's; halves are the
        method's own. Each class's result is kept at once, as an audit keeps its own, and is told by the
        tables and pages that are made of the store.

        Parameters
        ----------
        methods
            As for ``compare``, but ``"whyclass"``, which ``audit`` itself is.
        classes, part
            As for ``audit``.

        Returns
        -------
        list
            An audit for each method, whose ``settings`` name it under ``concepts_by``.

        Raises
        ------
        ClassError, SettingsError, DataError
            As ``audit`` and ``compare`` do.
        """
        audit.check(("prediction",), 1, part)
        if not (found := audited_methods.checked(methods, self.split.shape[0])):
            return []
        self._check_unchanged()
        asked = None if classes is None else [self._resolved(name) for name in classes]
        running_audit.decode(self)
        context = self.context()
        wanted = tuple(sorted(set(context.classes() if asked is None else asked)))
        return audited_methods.audits(context, audit.part_of(wanted, part), found)

    def _resolved(self, wanted: str | int) -> int:
        return resolve(wanted, self.loaded.class_names, self.task.classes)

    def _check_unchanged(self) -> None:
        if fingerprint(self.loaded.model, self.written) != self.fingerprint:
            raise ModelError("the model changed since this study was made of it; make a new study")
