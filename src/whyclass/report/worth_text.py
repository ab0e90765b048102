"""What an explanation is worth, in words: each concept's own line, and what nothing reaches."""

from __future__ import annotations

from whyclass.records import AuditedConcept, Concept, Explanation, Null
from whyclass.report.verdict_checks import decisive
from whyclass.report.words import count, percent, plural, score, word

UNSTABLE = 0.7
"""A concept that matches one of a half of the images with less cosine than this is called unstable."""

CALIBRATION = (
    "On planted classes whose answer is known, of 320 explanations made wrong on purpose (scores shuffled, "
    "or another class's) at most 3 % were called supported, and of 160 right ones 91 %."
)
"""How often the highest level is wrong and right (docs/calibration.md)."""


def member_line(concept: Concept | AuditedConcept) -> str:
    """What a concept does for the test of the set; empty where that was not measured."""
    found = concept.contribution
    if found is None:
        return ""
    mark = "" if found.needed else "Not needed by the test. "
    return (
        f"{mark}Necessity {score(found.necessity)}: so much the class's score falls with random crops in its "
        f"place, and {percent(found.kept)} of these are still predicted as it. Sufficiency "
        f"{found.sufficiency:.1f}: what its crops add to the class's log-odds among random crops "
        f"(p = {found.p:.2f} among {count(found.n)} directions of nonsense)."
    )


def stability_line(concept: Concept | AuditedConcept) -> str:
    """Whether a concept comes again from halves of the images; empty where that was not measured."""
    found = concept.stability
    if found is None:
        return ""
    mark = "Unstable: " if found.least < UNSTABLE else ""
    return (
        f"{mark}found anew from {count(found.n)} halves of the images with a cosine of "
        f"{score(found.mean)} on average, {score(found.least)} at least; the same "
        f"best crop in {percent(found.same_crop)} of them."
    )


def set_line(explanation: Explanation) -> str:
    """What the test says of the set: how many different cells, and how few of the crops suffice."""
    test = decisive(explanation)
    if test.distinct is None:
        return ""
    cells = (
        f"The {plural(len(explanation.concepts), 'crop')} are of {plural(test.distinct, 'different cell')}."
    )
    if not any(concept.contribution for concept in explanation.concepts):
        return cells
    if test.smallest is None:
        return f"{cells} No subset of them is predicted in 75% of random fillings."
    few, suffice = word(len(test.smallest)).capitalize(), "suffices" if len(test.smallest) == 1 else "suffice"
    names = ", ".join(str(number + 1) for number in test.smallest)
    return f"{cells} {few} of them (concept {names}) {suffice}: predicted in 75% of random fillings."


def null_line(null: Null) -> str:
    """What explanations of nothing of one kind reach."""
    own = len(null.reached) or null.n
    compared = "score" if null.kind == "random crops" else "backing" if own != null.n else "damped backing"
    among = f", among {count(null.n)} of all classes" if own != null.n else ""
    return (
        f"{null.kind}: predicted in {percent(null.predicted)} of {count(own)}, mean score "
        f"{score(null.mean)}; their {compared} reaches this explanation's with p = {null.p:.3f}{among}"
        + ("" if null.q is None else f" (q = {null.q:.3f} over the audit)")
    )


def fit_line(explanation: Explanation) -> str:
    """How well the concepts fit what was factorised."""
    fit = explanation.fit
    if fit is None:
        return ""
    stopped = "" if fit.converged else "; the factorisation was stopped before it converged"
    return f"the concepts leave {percent(fit.residual)} of the scored activations (Frobenius norm){stopped}"
