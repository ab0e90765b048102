"""A comparison of methods in words, rows and objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from whyclass.records import ComparedClass, Comparison, MethodResult, codec
from whyclass.report import comparison_measures, pool_text, words
from whyclass.report.comparison_measures import BY_NAME, GROUPS, SHORT, Mean, Measure

DECIDES_NOTHING = (
    "C-deletion is told as the literature has it and decides nothing: directions that rebuild nothing leave "
    "nothing to delete, and score best."
)


def title(found: Comparison) -> str:
    """The methods and the classes, in a line."""
    names = ", ".join(f"“{one.target.name}”" for one in found.classes[:3])
    more = f" and {words.count(len(found.classes) - 3)} more" if len(found.classes) > 3 else ""
    return f"{words.plural(len(found.methods), 'method').capitalize()} on {names}{more}"


def sentence(found: Comparison) -> str:
    """Which method is first by what; where a method that is not ours wins, it is said first."""
    winners = comparison_measures.best(found)
    by_method: dict[str, list[str]] = {}
    for name, methods in winners.items():
        if name in SHORT and len(methods) == 1:
            by_method.setdefault(methods[0], []).append(BY_NAME[name].title)
    order = sorted(by_method, key=lambda method: (method == "whyclass", -len(by_method[method])))
    said = [f"{method} is first in {', '.join(by_method[method])}" for method in order]
    n = len(found.classes)
    classes = "this one class" if n == 1 else f"the mean of {words.word(n)} classes"
    few = "" if n > 2 else " Of so few classes the next one may turn it round."
    if not said:
        return f"By {classes}, no method alone is first in anything.{few}"
    return f"By {classes}, {'; '.join(said)}.{few}"


@dataclass(frozen=True)
class Cell:
    """A method's number by one measure, with its interval, and whether no other's is better."""

    value: str
    interval: str = ""
    first: bool = False


@dataclass(frozen=True)
class Row:
    """A measure and the number of each method."""

    measure: Measure
    cells: tuple[Cell, ...]


Rows = dict[str, list[Row]]
"""The rows of a table, in groups by title."""


def of_all(found: Comparison) -> Rows:
    """Means over the classes with their intervals."""
    told, winners = comparison_measures.means(found), comparison_measures.best(found)

    def cell(method: str, name: str) -> Cell:
        if (mean := told[method].get(name)) is None:
            return Cell("")
        ends = "" if mean.low is None or mean.high is None else f"{mean.low:.2f} to {mean.high:.2f}"
        return Cell(f"{mean.value:.2f}", ends, method in winners.get(name, ()))

    present = {measure.name for measure in comparison_measures.present(found)}
    return _grouped(present, found.methods, cell)


def of_class(found: Comparison, one: ComparedClass) -> Rows:
    """The numbers of one class."""
    numbers = {result.method: comparison_measures.numbers_of(result) for result in one.results}

    def cell(method: str, name: str) -> Cell:
        return Cell(f"{numbers[method][name]:.2f}" if name in numbers[method] else "")

    return _grouped(set().union(*numbers.values()), list(numbers), cell)


def _grouped(present: set[str], methods: Iterable[str], cell: Callable[[str, str], Cell]) -> Rows:
    grouped = {
        title: [
            Row(BY_NAME[name], tuple(cell(m, name) for m in methods)) for name in names if name in present
        ]
        for title, names in GROUPS.items()
    }
    return {title: rows for title, rows in grouped.items() if rows}


def table_notes(found: Comparison) -> list[str]:
    """How the table is read."""
    n = len(found.classes)
    below = "; below each stands its 95% interval" if n > 2 else ""
    return [
        f"Means over {words.count(n)} {'class' if n == 1 else 'classes'}{below}. The best of a row is bold.",
        "“high” and “low” say what is good; measures without either decide nothing.",
        *notes(found),
    ]


def notes(found: Comparison) -> list[str]:
    """What a reader must know of the numbers."""
    problems = [one for one in comparison_measures.results_of(found) if one.problem]
    said = [f"{one.method} found nothing of “{one.target.name}”: {one.problem}" for one in problems]
    return [*said, DECIDES_NOTHING]


def rows(found: Comparison) -> list[tuple[str, str]]:
    """Label and value of each line of a summary."""
    told = comparison_measures.means(found)
    made = [("comparison", title(found)), ("model", f"{found.model.name}, layer {found.model.layer}")]
    made.append(("images", pool_text.size_line(found.pool)))
    made += [(method, _summed(told[method])) for method in found.methods]
    made += [("first", sentence(found))]
    made += [("note", line) for line in (*notes(found), *found.warnings)]
    return [(words.clean(label), words.clean(value)) for label, value in made]


TOLD = (
    "test_excluding",
    "test_including",
    "stability",
    "carried",
    "carried_everywhere",
    "ice_error",
    "deletion",
)


def _summed(row: dict[str, Mean]) -> str:
    parts = [f"{BY_NAME[name].title} {row[name].value:.2f}" for name in TOLD if name in row]
    return ", ".join(parts) or "found nothing"


def carried_line(result: MethodResult) -> str:
    """Of which classes' logits the concepts carry least, in words."""
    missed = sorted(result.carried, key=lambda one: -abs(one.whole - one.carried))[:3]
    told = [f"“{one.target.name}” {one.carried:+.1f} of {one.whole:+.1f}" for one in missed]
    return f"farthest off: {', '.join(told)}" if told else ""


def as_object(found: Comparison) -> dict[str, Any]:
    """What ``--json`` prints of it."""
    told = comparison_measures.means(found)
    return {
        "model": found.model.name,
        "layer": found.model.layer,
        "pool": pool_text.as_object(found.pool),
        "methods": list(found.methods),
        "means": {
            method: {name: codec.to_json(mean) for name, mean in row.items()} for method, row in told.items()
        },
        "best": codec.to_json(comparison_measures.best(found)),
        "classes": [_class_object(one) for one in found.classes],
        "warnings": list(found.warnings),
        "settings": found.settings,
        "versions": found.versions,
    }


def _class_object(one: ComparedClass) -> dict[str, Any]:
    return {
        "class": {"index": one.target.index, "name": one.target.name},
        "n_images": one.n_images,
        "n_predicted": one.n_predicted,
        "results": [_result_object(result) for result in one.results],
    }


def _result_object(result: MethodResult) -> dict[str, Any]:
    return {
        "method": result.method,
        "measures": comparison_measures.numbers_of(result),
        "problem": result.problem,
        "concepts": [
            {
                "share": concept.shown.share,
                "importance": concept.importance,
                "carried": concept.carried,
                "contribution": codec.to_json(concept.contribution),
                "stability": codec.to_json(concept.stability),
            }
            for concept in result.concepts
        ],
        "carried": [codec.to_json(one) for one in result.carried],
    }
