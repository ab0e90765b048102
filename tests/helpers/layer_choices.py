"""Made-up choices of a layer."""

from __future__ import annotations

from whyclass.records import (
    Average,
    Candidate,
    ChosenScore,
    ClassResult,
    Completeness,
    Control,
    LayerChoice,
    ModelInfo,
    PoolInfo,
    Prediction,
    Trial,
)


def average(score: float, error: float = 0.1, above: bool | None = True) -> Average:
    low, high = max(0.0, score - 2 * error), min(1.0, score + 2 * error)
    return Average(2, score, low, high, error, 0.5, 0.1, 0.9, 0.01, 0.0, above)


def candidate(
    layer: str,
    side: int,
    score: float,
    *,
    concepts: int = 6,
    error: float = 0.1,
    above: bool | None = True,
    without: bool = True,
    names: tuple[str, ...] = ("tench", "church"),
) -> Candidate:
    """A candidate whose decisive test has this score."""
    made = average(score, error, above)
    results = tuple(result(number, name, score if without else None) for number, name in enumerate(names))
    own = average(0.9) if without else made
    return Candidate(layer, (64, 12, 12), (side, side), concepts, own, made if without else None, results)


def result(index: int, name: str, score: float | None) -> ClassResult:
    """A class's result; without a score there is no test without its images."""

    def trial(value: float) -> Trial:
        return Trial(
            value, value > 0.5, Prediction(index, name, value), "stacked", Control(20, 0.01, 0, 0.1, 0)
        )

    target = Prediction(index, name, 0.9)
    without = None if score is None else trial(score)
    return ClassResult(target, 16, 60, Completeness(9, 0, 0), 0.4, trial(0.9), without, "", "a.whyclass")


def choice(
    found: list[Candidate], chosen: int = 0, said: str = "“x” is best", warning: str = ""
) -> LayerChoice:
    """A choice of one of some candidates."""
    return LayerChoice(
        model=ModelInfo("net.py:net" + warning, "ab" * 16, found[chosen].layer, (64, 12, 12), "none"),
        pool=PoolInfo("photographs", 4925, "cd" * 16, ()),
        sample=1000,
        names="ef",
        candidates=tuple(found),
        chosen=found[chosen],
        why=said,
        warnings=(warning,) if warning else (),
        settings={"images": 16, "copies": 8, "concepts": 6},
        versions={"whyclass": "0"},
        score=ChosenScore(8, 0.61, 0.4, 0.8, 0.09),
    )
