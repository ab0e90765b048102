"""Records as HTML: one self-contained page, or a fragment for a notebook.

Whatever a record holds is untrusted text. It is escaped wherever it stands, and stands neither in
a style nor in a script; the only style values that come from a record are numbers.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from whyclass.records import Explanation
from whyclass.report import pictures, text


def page(explanation: Explanation) -> str:
    """A whole HTML page that needs nothing but itself: no network, no script.

    The same record always gives the same bytes.

    Raises
    ------
    RecordError
        When a picture of the record is of a kind that a page does not show.
    """
    return _render("page.html", explanation)


def fragment(explanation: Explanation) -> str:
    """The verdict, both tests and the concepts as HTML for a notebook's ``_repr_html_``.

    Styles apply only inside it, it has no ids, and it needs no script.
    """
    return _render("fragment.html", explanation)


def _render(template: str, explanation: Explanation) -> str:
    judged = text.verdict(explanation)
    return (
        _environment()
        .get_template(template)
        .render(e=explanation, verdict=judged, scope=_scope(explanation), target=explanation.target)
    )


def _scope(explanation: Explanation) -> str:
    """A prefix for class names of this record's pictures, so that two fragments never mix them up."""
    digest = hashlib.sha256()
    for shown in explanation.images:
        digest.update(hashlib.sha256(shown.picture.data).digest())
    return f"wc-{digest.hexdigest()[:10]}"


@cache
def _environment() -> Environment:
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
        "uri": pictures.uri,
        "score": text.score,
        "percent": text.percent,
        "count": text.count,
        "shape": text.shape,
        "plain": _plain,
        "whole": _whole,
    }
    environment.globals |= {"text": text, "pictures": pictures, "labels": text.LABELS, "zip": zip}
    return environment


def _clean(value: Any) -> Any:
    """Every expression of a template passes here; what the templates made themselves is markup already."""
    return text.clean(value) if type(value) is str else value


def _plain(value: Any) -> str:
    """A setting's value as a reader would write it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _whole(sentence: str) -> str:
    """No line ends within ``n = 20``."""
    return sentence.replace("(n = ", "(n\u00a0=\u00a0")
