"""Records as tables of pandas: one row for each class, pair or concept."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from whyclass.errors import RecordError
from whyclass.plain_text import clean
from whyclass.records import (
    Audit,
    Comparison,
    Concept,
    Contrast,
    Explanation,
    Fall,
    ImageExplanation,
    LayerChoice,
    ModelComparison,
    Pairs,
    Prediction,
    Record,
    SpuriousFeatures,
    Trial,
)
from whyclass.report import comparison_measures
from whyclass.report.image_text import sides
from whyclass.report.model_comparison_text import concept_rows

Row = dict[str, Any]


def frame(found: Record) -> Any:
    """The record as a ``pandas.DataFrame``.

    Raises
    ------
    RecordError
        If there is no table of such a record, or pandas is missing.
    """
    if type(found) not in ROWS:
        raise RecordError(f"there is no table of a {type(found).__name__}")
    try:
        import pandas as pd
    except ImportError as error:
        raise RecordError("a table needs pandas: pip install 'whyclass[pandas]'") from error
    rows = ROWS[type(found)](found)
    return pd.DataFrame(
        [{name: clean(one) if isinstance(one, str) else one for name, one in row.items()} for row in rows]
    )


def _explanation(found: Explanation) -> Iterable[Row]:
    return _concepts(found.target, found.concepts)


def _contrast(found: Contrast) -> Iterable[Row]:
    for side, other in ((found.a, found.b), (found.b, found.a)):
        for row in _concepts(side.explanation.target, side.concepts):
            yield {**row, "against": other.explanation.target.name}


def _concepts(target: Prediction, concepts: Iterable[Concept]) -> Iterable[Row]:
    for number, one in enumerate(concepts):
        done, again = one.contribution, one.stability
        yield {
            "class": target.name,
            "index": target.index,
            "concept": number,
            "share": one.share,
            "cosine": one.including[0].cosine if one.including else None,
            "cosine_excluding": one.excluding[0].cosine if one.excluding else None,
            "necessity": done.necessity if done else None,
            "sufficiency": done.sufficiency if done else None,
            "needed": done.needed if done else None,
            "stability": again.mean if again else None,
        }


def _image(found: ImageExplanation) -> Iterable[Row]:
    for side in sides(found):
        for one in side.concepts:
            yield {
                "image": found.image.path,
                "class": side.target.name,
                "index": side.target.index,
                "score": side.target.score,
                "concept": one.number,
                "amount": one.amount,
                "typical": one.typical,
                "contribution": one.contribution,
                "margin": one.margin,
                **_fall("removed", one.removed),
                **_fall("blanked", one.blanked),
            }


def _fall(name: str, fall: Fall | None) -> Row:
    return {
        f"{name}_fall": fall.logit if fall else None,
        f"{name}_random": fall.random if fall else None,
        f"{name}_p": fall.p if fall else None,
    }


def _audit(found: Audit) -> Iterable[Row]:
    for one in found.classes:
        yield {
            "class": one.target.name,
            "index": one.target.index,
            "score": one.target.score,
            "n_images": one.n_images,
            "n_predicted": one.n_predicted,
            **_trial("including", one.including),
            **_trial("excluding", one.excluding),
            "completeness": one.completeness.mean,
            "residual": one.residual,
            "problem": one.problem,
        }


def _trial(name: str, trial: Trial | None) -> Row:
    control = trial.control if trial else None
    return {
        f"{name}_score": trial.score if trial else None,
        f"{name}_predicted": trial.predicted if trial else None,
        f"{name}_winner": trial.winner.name if trial else None,
        f"{name}_random": control.mean if control else None,
        f"{name}_p": control.p if control else None,
    }


def _pairs(found: Pairs) -> Iterable[Row]:
    for pair in found.pairs:
        sweep = pair.shifting
        best = sweep.steps[sweep.best]
        yield {
            "target": sweep.target.name,
            "source": sweep.source.name,
            "n": sweep.n,
            "before": sweep.steps[0].target,
            "after": best.target,
            "low": sweep.low,
            "high": sweep.high,
            "step": best.at,
            "swapped": sweep.swapped,
            "held_out": pair.held_out.balanced if pair.held_out else None,
        }


def _choice(found: LayerChoice) -> Iterable[Row]:
    for one in found.candidates:
        other = one.excluding
        yield {
            "layer": one.layer,
            "chosen": one.layer == found.chosen.layer,
            "concepts": one.concepts,
            "crop_height": one.crop[0],
            "crop_width": one.crop[1],
            "including_score": one.including.score,
            "excluding_score": other.score if other else None,
            "excluding_random": other.control if other else None,
        }


def _spurious(found: SpuriousFeatures) -> Iterable[Row]:
    for one in found.features:
        yield {
            "class": one.target.name,
            "index": one.target.index,
            "concept": one.number,
            "raised": one.raised,
            "log_odds": one.log_odds,
            "random": one.random,
            "p": one.p,
            "score": one.target.score,
            "predicted": one.predicted,
            "without": one.without,
            "n": one.n,
        }


def _comparison(found: ModelComparison) -> Iterable[Row]:
    for one in found.classes:
        for row in concept_rows(one):
            yield {
                "class": one.name,
                "index": one.index,
                "what": row.what,
                "concept": row.number,
                "other": row.other,
                "similarity": row.similarity,
                "including": one.including.score if one.including else None,
                "other_including": one.other_including.score if one.other_including else None,
                "excluding": one.excluding.score if one.excluding else None,
                "other_excluding": one.other_excluding.score if one.other_excluding else None,
            }


def _methods(found: Comparison) -> Iterable[Row]:
    told = comparison_measures.columns(found)
    return (dict(zip(told, row, strict=True)) for row in zip(*told.values(), strict=True))


ROWS: dict[type[Record], Callable[[Any], Iterable[Row]]] = {
    Explanation: _explanation,
    Contrast: _contrast,
    ImageExplanation: _image,
    Audit: _audit,
    Pairs: _pairs,
    LayerChoice: _choice,
    SpuriousFeatures: _spurious,
    ModelComparison: _comparison,
    Comparison: _methods,
}
"""Rows of each kind of record."""
