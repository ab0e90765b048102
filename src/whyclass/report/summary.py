"""A record as rows of label and value, by its kind, and as plain text."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any

from whyclass.records import (
    Comparison,
    Contrast,
    Explanation,
    ImageExplanation,
    InsertionTest,
    LayerChoice,
    ModelComparison,
    Record,
)
from whyclass.records.base import fitting
from whyclass.report import (
    comparison_text,
    contrast_text,
    explanation_text,
    image_text,
    layer_choice_text,
    model_comparison_text,
)

ROWS: dict[type[Record], Callable[[Any], list[tuple[str, str]]]] = {
    Explanation: explanation_text.rows,
    Contrast: contrast_text.rows,
    ImageExplanation: image_text.rows,
    ModelComparison: model_comparison_text.rows,
    InsertionTest: contrast_text.insertion_rows,
    LayerChoice: layer_choice_text.rows,
    Comparison: comparison_text.rows,
}
"""Rows of each kind of record."""


def rows(found: Record) -> list[tuple[str, str]]:
    """Label and value of each line of a summary, safe to print: no control characters."""
    with fitting(found):
        return ROWS[type(found)](found)


def summary(record: Record, width: int = 96) -> str:
    """The rows as plain text, labels on the left, values wrapped to ``width`` columns."""
    found = rows(record)
    indent = 2 + max(len(label) for label, _ in found)
    lines = (
        textwrap.fill(
            value,
            width=max(width, indent + 20),
            initial_indent=label.ljust(indent),
            subsequent_indent=" " * indent,
        )
        for label, value in found
    )
    return "\n".join(lines)
