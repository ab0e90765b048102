"""Records as HTML: one self-contained page, or a fragment for a notebook.

Whatever a record holds is untrusted text. It is escaped wherever it stands, and stands neither in
a style nor in a script; the only style values that come from a record are numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Literal

from jinja2 import Environment, PackageLoader, StrictUndefined, TemplateError
from markupsafe import escape

from whyclass.errors import RecordError
from whyclass.records import (
    SUFFIX,
    ClassImage,
    Comparison,
    Contrast,
    Explanation,
    ImageExplanation,
    InsertionTest,
    LayerChoice,
    ModelComparison,
    Picture,
    Record,
)
from whyclass.report import (
    comparison_measures,
    comparison_text,
    contrast_text,
    contrast_verdict,
    contrast_ways,
    curves,
    explanation_text,
    image_text,
    layer_choice_text,
    model_comparison_text,
    page_pictures,
    pool_text,
    record_tables,
    sources_text,
    verdict,
    verdict_checks,
    words,
    worth_text,
)


def page(found: Record) -> str:
    """A whole HTML page that needs nothing but itself: no network, no script.

    The same record always gives the same bytes.

    Raises
    ------
    RecordError
        When a picture of the record is of a kind that a page does not show, or there is no page of
        such a record.
    """
    return _render(found, 0)


def fragment(found: Record) -> str:
    """The record as HTML for a notebook's ``_repr_html_``: what matters most of it.

    Styles apply only inside it, it has no ids, and it needs no script. A record that is kept for
    programs alone is one line.
    """
    if type(found) in record_tables.MADE:
        title, tables = record_tables.tables(found)
        return rendered("tables_fragment.html", {"title": title, "tables": tables})
    if type(found) not in TEMPLATES:
        return f"<code>{escape(words.clean(repr(found)))}</code>"
    return _render(found, 1)


def _explanation(found: Explanation) -> dict[str, Any]:
    scope = _scope(found.images)
    backgrounds = [(f"{scope}-{number}", shown) for number, shown in enumerate(found.images, 1)]
    judged = verdict.verdict(found)
    return {"verdict": judged, "scope": scope, "backgrounds": backgrounds, "target": found.target}


def _contrast(found: Contrast) -> dict[str, Any]:
    height, width = found.size
    return {
        "c": found,
        "verdict": contrast_verdict.verdict(found),
        "labels": contrast_verdict.LABELS,
        "scope": "",
        "places": {shown.image.path: number for number, shown in enumerate(found.sources)},
        "full": Picture(b"", width, height),
        "sentences": contrast_text.sentences(found),
        "shown": [contrast_text.with_concepts(side) for side in (found.a, found.b)],
        "target": found.a.explanation.target,
    }


def _insertion(found: InsertionTest) -> dict[str, Any]:
    judged = contrast_verdict.insertion_verdict(found)
    labels = contrast_verdict.INSERTION_LABELS
    return {
        "c": found,
        "verdict": judged,
        "labels": labels,
        "scope": "",
        "backgrounds": [],
        "target": found.target,
    }


def _image(found: ImageExplanation) -> dict[str, Any]:
    scope = f"wc-{hashlib.sha256(found.picture.data).hexdigest()[:10]}"
    return {"target": found.target.target, "scope": scope, "backgrounds": [(f"{scope}-1", found)]}


def _models(found: ModelComparison) -> dict[str, Any]:
    first, second = model_comparison_text.titles(found)
    return {"first": first, "second": second, "scope": ""}


def _choice(found: LayerChoice) -> dict[str, Any]:
    heading, *lines = layer_choice_text.lines(found)
    classes, *scores = layer_choice_text.by_class(found)
    return {
        "c": found,
        "columns": layer_choice_text.columns(found),
        "sentence": layer_choice_text.sentence(found),
        "sample": layer_choice_text.sample_line(found),
        "score": layer_choice_text.score_line(found.score) if found.score else "",
        "heading": heading,
        "lines": lines,
        "classes": classes,
        "scores": scores,
        "backgrounds": [],
    }


def _comparison(found: Comparison) -> dict[str, Any]:
    return {
        "c": found,
        "heading": comparison_text.title(found),
        "sentence": comparison_text.sentence(found),
        "of_all": comparison_text.of_all(found),
        "of_each": [comparison_text.of_class(found, one) for one in found.classes],
        "measures": comparison_measures.present(found),
        "notes": comparison_text.table_notes(found),
    }


SAID = {
    "comparison_text": comparison_text,
    "model_comparison_text": model_comparison_text,
    "words": words,
    "worth_text": worth_text,
    "verdict_checks": verdict_checks,
    "pool_text": pool_text,
    "verdicts": verdict,
    "explanation_text": explanation_text,
    "image_text": image_text,
    "contrast_text": contrast_text,
    "contrast_ways": contrast_ways,
    "contrast_verdict": contrast_verdict,
    "curves": curves,
    "sources_text": sources_text,
    "page_pictures": page_pictures,
}
"""Modules whose functions templates call, by the name that they have there."""

TEMPLATES: dict[type[Record], tuple[str, str, Callable[[Any], dict[str, Any]]]] = {
    Explanation: ("page.html", "fragment.html", _explanation),
    Contrast: ("contrast.html", "contrast_fragment.html", _contrast),
    InsertionTest: ("insertion.html", "insertion_fragment.html", _insertion),
    Comparison: ("comparison.html", "comparison_fragment.html", _comparison),
    ImageExplanation: ("image.html", "image_fragment.html", _image),
    ModelComparison: ("model_comparison.html", "model_comparison_fragment.html", _models),
    LayerChoice: ("choice.html", "choice_fragment.html", _choice),
}
"""Templates of the page and of the fragment of each kind of record, and what they show."""


def _render(found: Record, which: Literal[0, 1]) -> str:
    return page_pictures.once(rendered(*template_of(found, which)))


def template_of(found: Record, which: Literal[0, 1] = 0) -> tuple[str, dict[str, Any]]:
    """The template of a record's page, or of its fragment, and what it shows.

    Raises
    ------
    RecordError
        If there is no page of such a record.
    """
    if type(found) not in TEMPLATES:
        raise RecordError(f"there is no page of a {type(found).__name__}; save it as {SUFFIX}")
    *templates, values = TEMPLATES[type(found)]
    return templates[which], {"e": found, **values(found)}


def rendered(template: str, values: dict[str, Any]) -> str:
    """A template filled in; what is inserted is escaped like in every page."""
    try:
        return environment().get_template(template).render({"backgrounds": [], "links": ()} | values)
    except TemplateError as error:
        raise RecordError(f"a page cannot be made of values that do not fit together: {error}") from error


def _scope(images: Iterable[ClassImage]) -> str:
    """A prefix for class names of these pictures, so that two fragments never mix them up."""
    digest = hashlib.sha256()
    for shown in images:
        digest.update(hashlib.sha256(shown.picture.data).digest())
    return f"wc-{digest.hexdigest()[:10]}"


@cache
def environment() -> Environment:
    """Of all templates: every value is escaped, and one that is not given is an error."""
    environment = Environment(
        loader=PackageLoader("whyclass.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_clean,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "uri": page_pictures.uri,
        "score": words.score,
        "percent": words.percent,
        "count": words.count,
        "shape": words.shape,
        "plain": _plain,
        "whole": _whole,
    }
    environment.globals |= {
        **SAID,
        "labels": verdict.LABELS,
        "zip": zip,
    }
    return environment


def _clean(value: Any) -> Any:
    """Every expression of a template passes here; what the templates made themselves is markup already."""
    return words.clean(value) if type(value) is str else value


def _plain(value: Any) -> str:
    """A setting's value as a reader would write it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _whole(sentence: str) -> str:
    """No line ends within ``n = 20``."""
    return sentence.replace("(n = ", "(n\u00a0=\u00a0")
