"""Where the crops of a test come from, in words: folders, labels, and the class's score there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from whyclass.records import Prediction, PredictionTest, Source
from whyclass.report.words import clean, score


def of_test(test: PredictionTest | None, target: Prediction) -> str:
    """Where the crops of a prediction test come from; empty where that is not known."""
    return line([shown.image for shown in test.sources], target) if test else ""


def line(sources: Sequence[Source], target: Prediction) -> str:
    """In which folder most of the sources lie, what they are labelled as, and the class's score in each."""
    parts = [_folder(sources), _mistaken(sources, target), _scores(sources, target)]
    return clean(" ".join(part for part in parts if part))


def common(sources: Sequence[Source]) -> tuple[str, int] | None:
    """The label that most of the sources have, and how many do; None where none has one."""
    counts = Counter(source.label for source in sources if source.label is not None)
    return counts.most_common(1)[0] if counts else None


def mistaken(sources: Sequence[Source], target: Prediction) -> int:
    """How many sources are labelled as the class and predicted as another."""
    return sum(one.labelled == target.name and one.prediction.index != target.index for one in sources)


def _folder(sources: Sequence[Source]) -> str:
    if (found := common(sources)) is None:
        return ""
    label, n = found
    one = next(source for source in sources if source.label == label)
    place = "lie in folder" if PurePosixPath(one.path).parent.name == label else "are labelled"
    named = f" ({one.labelled})" if one.labelled and one.labelled != label else ""
    return f"{n} of {len(sources)} sources {place} “{label}”{named}."


def _mistaken(sources: Sequence[Source], target: Prediction) -> str:
    if not (n := mistaken(sources, target)):
        return ""
    return f"{n} of {len(sources)} are labelled “{target.name}” and predicted as something else."


def _scores(sources: Sequence[Source], target: Prediction) -> str:
    own = [source.score for source in sources if source.score is not None]
    return f"Score of “{target.name}” in each source: {', '.join(map(score, own))}." if own else ""
