"""A comparison of methods in words, rows and objects."""

from __future__ import annotations

from typing import Any

from whyclass.records import ComparedClass, Comparison, MethodResult, codec
from whyclass.report import comparison_measures, pool_text, words
from whyclass.report.comparison_measures import BY_NAME, SHORT, Mean, Measure

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


def heading(found: Comparison) -> list[str]:
    """Titles of the columns that are shown."""
    return ["method", *(measure.title for measure in shown(found))]


def shown(found: Comparison) -> list[Measure]:
    """The measures of a short table."""
    return [measure for measure in comparison_measures.present(found) if measure.name in SHORT]


def lines(found: Comparison) -> list[list[str]]:
    """A row for each method: means over the classes, with their intervals; the best is marked with a star."""
    told, winners = comparison_measures.means(found), comparison_measures.best(found)
    return [
        [
            words.clean(method),
            *(
                _cell(told[method].get(measure.name), method in winners.get(measure.name, ()))
                for measure in shown(found)
            ),
        ]
        for method in found.methods
    ]


def class_lines(found: Comparison, one: ComparedClass) -> list[list[str]]:
    """A row for each method, of one class."""
    return [
        [
            words.clean(result.method),
            *(
                f"{result.measures[measure.name]:.2f}" if measure.name in result.measures else ""
                for measure in shown(found)
            ),
        ]
        for result in one.results
    ]


def _cell(mean: Mean | None, first: bool) -> str:
    if mean is None:
        return ""
    told = f"{mean.value:.2f}{'*' if first else ''}"
    if mean.low is None or mean.high is None:
        return told
    return f"{told} [{mean.low:.2f}, {mean.high:.2f}]"


def notes(found: Comparison) -> list[str]:
    """What stands under the table."""
    n = len(found.classes)
    said = [f"Means over {words.count(n)} {'class' if n == 1 else 'classes'}; * is the best of a column."]
    if n > 2:
        said.append("In brackets 95% intervals over the classes.")
    problems = [one for one in comparison_measures.results_of(found) if one.problem]
    said += [f"{one.method} found nothing of “{one.target.name}”: {one.problem}" for one in problems]
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
        "measures": result.measures,
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
