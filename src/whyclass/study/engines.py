"""Who computes what is asked: this process with processes of its own, or the workers of a cluster."""

from __future__ import annotations

from collections.abc import Sequence

from whyclass.pool import indexing_pass, pixel_cache
from whyclass.study.audit import Asked
from whyclass.study.concept_methods import Method
from whyclass.study.context import Context, OpenedModel
from whyclass.study.shifted_sources import Shifted, here


class Engine:
    """Everything is computed here; the base of those that have it computed elsewhere.

    What another engine fills the store with are the bytes that this one would, so that the question, which
    follows, finds them; what it left out is made here.
    """

    local = True

    @property
    def pixels(self) -> pixel_cache.Makes | None:
        """Who decodes the pool; None for this process."""
        return None

    def rows(self, study: OpenedModel) -> indexing_pass.Makes | None:
        """Who makes the rows of the pass over the pool; None for this process."""
        return None

    def fill(self, studies: Sequence[OpenedModel], asked: Asked, context: Context | None = None) -> None:
        """Make and keep what is missing of an audit of the first study; the others lie beside it.

        ``context`` is what is audited, where that is not the study as it is.
        """

    def fill_methods(self, study: OpenedModel, targets: Sequence[int], methods: Sequence[Method]) -> None:
        """Make and keep what is missing of a comparison of methods on some classes."""

    def shifted(self, study: OpenedModel, targets: Sequence[int]) -> Shifted:
        """Make and keep the evidence of classes; gives who shifts between them."""
        return here
