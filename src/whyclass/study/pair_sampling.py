"""Which pairs of classes the shifting test of an audit is made on (paper, table 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from whyclass.settings import OF_NO_RESULT, plain, seed_of
from whyclass.store import key_of
from whyclass.study.class_evidence import evidence_of
from whyclass.study.context import Context

TARGETS, RUNS = 10, 5
"""Random targets of each source, and how often they are sampled (paper, 5.2.1)."""


@dataclass(frozen=True)
class PairSample:
    """Which targets are sought in the images of which sources.

    Attributes
    ----------
    words
        The draw, for people.
    group
        The same for all sources of one draw, and for no other draw.
    runs
        How often targets were sampled.
    targets
        By source, its targets with the runs in which each was sampled.
    """

    words: str
    group: str
    runs: int
    targets: dict[int, dict[int, tuple[int, ...]]] = field(repr=False)


def sample_pairs(context: Context, classes: Sequence[int], every_pair: bool) -> PairSample:
    """Pairs of those classes that have cells: all of them, or the paper's random targets.

    The targets of a source depend on the seed and the classes, and on nothing else.
    """
    able = [k for k in classes if len(evidence_of(context, k).cells.image)]
    every = takes_every(able, every_pair)
    if every:
        targets: dict[int, dict[int, tuple[int, ...]]] = {b: {a: (0,) for a in able if a != b} for b in able}
        words = f"all ordered pairs of {len(able)} classes"
    else:
        targets = {b: _sampled(context, able, b) for b in able}
        words = f"{TARGETS} random targets for each of {len(able)} classes, {RUNS} runs"
    numbers = context.key(settings=plain(context.settings, OF_NO_RESULT))
    group = key_of(classes=able, every=every, numbers=numbers)
    return PairSample(words, group, 1 if every else RUNS, targets)


def takes_every(classes: Sequence[int], every_pair: bool) -> bool:
    """Whether all ordered pairs are tested: where asked, or where they are no more than the sample."""
    return every_pair or len(classes) - 1 <= TARGETS


def _sampled(context: Context, able: Sequence[int], source: int) -> dict[int, tuple[int, ...]]:
    others = np.array([k for k in able if k != source])
    found: dict[int, tuple[int, ...]] = {}
    for run in range(RUNS):
        generator = np.random.default_rng(seed_of("targets", context.settings.seed, f"{run} {source}"))
        for target in generator.choice(others, TARGETS, replace=False).tolist():
            found[target] = (*found.get(target, ()), run)
    return dict(sorted(found.items()))
