"""What speaks in a class's images for it against other classes: the difference of logits, attributed.

One pass of the noisy copies through the trunk serves the class alone and all that it is contrasted with.
"""

from __future__ import annotations

from collections.abc import Sequence

from whyclass.records import Evidence, EvidenceAgainst
from whyclass.study.class_evidence import ClassEvidence


def evidence_against(own: ClassEvidence, others: Sequence[int]) -> list[EvidenceAgainst]:
    """Of a class against each of others: kept, or made together with what else is missing, and kept."""
    context = own.context
    kept = {other: context.kept(EvidenceAgainst, own.evidence_against(other)) for other in others}
    missing = [other for other, found in kept.items() if found is None]
    if missing:
        alone = [] if context.kept(Evidence, own.evidence_file) else [None]
        made = own.scored_against(*alone, *missing)
        if alone:
            own.keep(made.pop(0))
        digests = tuple(context.index.items[int(position)].digest for position in own.chosen)
        for other, scores in zip(missing, made, strict=True):
            sums = scores.missed, scores.changes
            new = EvidenceAgainst(
                own.target, other, digests, scores.cells, scores.signed, *sums, scores.unruled
            )
            context.store.keep(new, own.evidence_against(other))
            kept[other] = new
    return [found for other in others if (found := kept[other]) is not None]
