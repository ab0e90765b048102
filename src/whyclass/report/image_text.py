"""What is told of one image: sentences of its page, rows of a summary, and the object for ``--json``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from whyclass.records import Fall, ImageConcept, ImageExplanation, ImageSide, Swap, codec
from whyclass.report import pool_text
from whyclass.report.words import clean, count, error, percent, score, shape


def logits(value: float) -> str:
    """A number of logits with its sign: ``+2.67``."""
    return f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")


def sides(found: ImageExplanation) -> list[ImageSide]:
    """The class that was asked for, and the one it is set against."""
    return [found.target, *(one for one in [found.against] if one)]


def ordered(side: ImageSide) -> list[ImageConcept]:
    """A class's concepts, that which counts most for it first."""
    return sorted(side.concepts, key=lambda concept: -concept.contribution)


def widest(found: ImageExplanation) -> float:
    """The largest contribution of either class, up or down: the scale of the bars."""
    return max((abs(c.contribution) for side in sides(found) for c in side.concepts), default=0.0) or 1.0


def said_line(found: ImageExplanation) -> str:
    """What the model says, and what the image is labelled as."""
    said = found.image.prediction
    asked = found.target.target
    told = f"The model says “{said.name}” ({score(said.score)})"
    if asked.index != said.index:
        told += f"; “{asked.name}” gets {score(asked.score)}"
    if found.image.labelled is None:
        return f"{told}."
    return f"{told}; the image is labelled “{found.image.labelled}”{', so it is mistaken' * found.mistaken}."


def best_line(found: ImageExplanation) -> str:
    """Which concept counts most, and what the model does without it."""
    side = found.target
    first = ordered(side)[0]
    told = (
        f"Of the concepts of “{side.target.name}”, concept {first.number + 1} counts most: "
        f"{logits(first.contribution)} of the {logits(side.logit - side.baseline)} logits between this image "
        "and an empty one."
    )
    told = f"{told} {removal_line(first.removed, 'Without it')}" if first.removed else told
    return f"{told} {_lead_line(found)}".rstrip()


def _lead_line(found: ImageExplanation) -> str:
    """Which concept counts most for the first class against the other; empty where there is no other."""
    if found.against is None:
        return ""
    margin, number = max(
        ((one.margin or 0.0, one.number) for one in found.target.concepts), key=lambda one: one[0]
    )
    return f"Against “{found.against.target.name}” it is concept {number + 1}, by {logits(margin)}."


def removal_line(fall: Fall, what: str) -> str:
    """What the class's logit does when something goes, and when something random does."""
    moved = f"rises by {-fall.logit:.2f}" if fall.logit < 0 else f"falls by {fall.logit:.2f}"
    average = f"{fall.random:.2f}".replace("-", "\N{MINUS SIGN}")
    highest = f"{fall.highest:.2f}".replace("-", "\N{MINUS SIGN}")
    random = f" ({average} on average and at most {highest} for random ones, n = {fall.n})"
    return f"{what} the logit {moved}{random if fall.n else ''}."


def swap_line(found: ImageExplanation) -> str:
    """What would have to go, and what to come, for another class; empty where that was not asked."""
    swap = found.swap
    if swap is None:
        return ""
    what = _moves(swap)
    if not swap.found:
        return (
            f"No set of concepts was found that makes the model say “{swap.wanted.name}”: nearest came "
            f"{what}, and it then says “{swap.predicted.name}” ({score(swap.predicted.score)})."
        )
    small = "no smaller set does" if swap.exact else "no set of two does"
    told = (
        f"The model says “{swap.wanted.name}” ({score(swap.predicted.score)}) when {what}; {small}, of "
        f"{count(swap.tried)} tried."
    )
    if not swap.n:
        return told
    return f"{told} Random directions in their place do it in {percent(swap.random)} of {swap.n} draws."


def _moves(swap: Swap) -> str:
    gone, come = _named(swap.removed, swap.said.name), _named(swap.added, swap.wanted.name)
    told = [
        *(f"{gone} {'goes' if len(swap.removed) == 1 else 'go'}" for _ in [0] if swap.removed),
        *(f"{come} {'comes' if len(swap.added) == 1 else 'come'}" for _ in [0] if swap.added),
    ]
    return " and ".join(told)


def _named(numbers: Sequence[int], name: str) -> str:
    """``concepts 1, 2 and 4 of “owl”``."""
    listed = [str(number + 1) for number in numbers]
    joined = listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} and {listed[-1]}" if listed else ""
    return f"concept{'s' if len(listed) > 1 else ''} {joined} of “{name}”"


def amount_line(concept: ImageConcept) -> str:
    """How much of a concept the image holds, beside a middling image of its class."""
    if concept.amount == 0:
        return "not in this image"
    if concept.typical <= 0:
        return "in this image, and in few of the class's"
    return f"{concept.amount / concept.typical:.1f} times what a middling image of the class holds"


def margin_line(found: ImageExplanation, concept: ImageConcept) -> str:
    """What a concept counts for the lead of the first class over the other."""
    if concept.margin is None or found.against is None:
        return ""
    for_first = concept.margin >= 0
    one, other = found.target.target.name, found.against.target.name
    first, second = (one, other) if for_first else (other, one)
    return f"{abs(concept.margin):.2f} logits for “{first}” against “{second}”"


def tests_lines(concept: ImageConcept) -> list[str]:
    """What happened when the concept was taken out of the activations, and out of the pixels."""
    told = {
        "Taken out of the activations:": concept.removed,
        "Its pixels blanked:": concept.blanked,
    }
    return [removal_line(fall, what) for what, fall in told.items() if fall]


def sum_lines(side: ImageSide) -> list[tuple[str, str]]:
    """What adds up to a class's logit, label and logits."""
    return [
        ("An empty image", logits(side.baseline)),
        *((f"Concept {one.number + 1}", logits(one.contribution)) for one in side.concepts),
        ("What no concept explains", logits(side.rest)),
        ("Missed by the attribution", logits(side.missed)),
        ("This image", logits(side.logit)),
    ]


def fit_line(side: ImageSide) -> str:
    """How well the concepts fit the image, and whether the attribution adds up."""
    change = abs(side.logit - side.baseline)
    return (
        f"“{side.target.name}”: the concepts leave {percent(side.residual)} of the activations over; the "
        f"attribution is off by {error(abs(side.missed) / change if change else 0.0)}"
    )


def rows(found: ImageExplanation) -> list[tuple[str, str]]:
    """Label and value of each line of a summary, safe to print."""
    told = [
        ("Image", found.image.path),
        ("Said", said_line(found)),
        ("Concepts", best_line(found)),
        *(
            ("Counted", f"“{side.target.name}”: {', '.join(map(_counted, ordered(side)))}; {_rest(side)}")
            for side in sides(found)
        ),
        *(("To say otherwise", swap_line(found)) for _ in [0] if found.swap),
        *(("Fit", fit_line(side)) for side in sides(found)),
        ("Model", f"{found.model.name}, {found.model.layer} ({shape(found.model.shape)})"),
        ("Pool", f"{found.pool.name}: {pool_text.size_line(found.pool)}"),
        *(("Warning", warning) for warning in (*found.warnings, *pool_text.cautions(found.pool))),
    ]
    return [(label, clean(value)) for label, value in told]


def _counted(concept: ImageConcept) -> str:
    return f"concept {concept.number + 1} {logits(concept.contribution)}"


def _rest(side: ImageSide) -> str:
    return f"unexplained {logits(side.rest)}"


def line(found: ImageExplanation) -> str:
    """The image in few words, for ``repr``."""
    first = ordered(found.target)[0]
    swap = found.swap
    said = found.target.target
    told = f"“{said.name}” {score(said.score)}, most by concept {first.number + 1}"
    if swap is None or not swap.found:
        return clean(f"of {found.image.path}: {told}")
    moved = len(swap.removed) + len(swap.added)
    return clean(
        f"of {found.image.path}: {told}; “{swap.wanted.name}” after {moved} concept{'s' * (moved > 1)} moved"
    )


def as_object(found: ImageExplanation) -> dict[str, Any]:
    """An image for programs: both classes with their concepts, tests and sums, and the swap."""
    return {
        "image": found.image.path,
        "model": found.model.name,
        "layer": found.model.layer,
        "predicted": codec.to_json(found.image.prediction),
        "label": found.image.label,
        "labelled": found.image.labelled,
        "mistaken": found.mistaken,
        "top": [codec.to_json(one) for one in found.top],
        "class": _side(found.target),
        "against": _side(found.against) if found.against else None,
        "swap": codec.to_json(found.swap),
        "pool": pool_text.as_object(found.pool),
        "warnings": list(found.warnings),
        "settings": found.settings,
        "versions": found.versions,
    }


def _side(side: ImageSide) -> dict[str, Any]:
    plain = ("logit", "baseline", "rest", "missed", "residual")
    return {
        **codec.to_json(side.target),
        **{name: getattr(side, name) for name in plain},
        "concepts": list(_concepts(side.concepts)),
    }


def _concepts(concepts: Iterable[ImageConcept]) -> Iterable[dict[str, Any]]:
    for one in concepts:
        plain = ("number", "share", "amount", "typical", "contribution", "margin")
        yield {
            **{name: getattr(one, name) for name in plain},
            "heat_map": one.heat_map.values.tolist(),
            "removed": codec.to_json(one.removed),
            "blanked": codec.to_json(one.blanked),
            "crops": [
                {"image": crop.image.path, "box": list(crop.box), "cosine": crop.cosine} for crop in one.crops
            ],
        }
