"""What would have to go from an image, and what to come, for the model to say another class?

Concepts of the class that it says are taken out of the activations, and concepts of the other class put in,
as much as a middling image of that class holds; the model finishes each attempt. Sets of one and of two are
all tried; a larger one grows from the best, and loses what it can do without.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from whyclass.records import Swap
from whyclass.study.image_concepts import Held, finished
from whyclass.study.image_tests import Tested, less, less_as_much, part, permuted

EXACT = 2
"""Sets of up to so many concepts are all tried."""

CONTROLS = 20
"""Draws of random directions in the concepts' place, at most."""

Move = tuple[bool, int]
"""Whether a concept comes, and its number; else it goes."""


@dataclass(frozen=True)
class _Attempts:
    """One image, the concepts that may go and those that may come, and what the model makes of it."""

    one: Tested
    mine: Held
    other: Held
    tried: list[frozenset[Move]] = field(default_factory=list, repr=False)

    @property
    def moves(self) -> list[Move]:
        """All that could be done: concepts that are there go, and any of the other class may come."""
        there = self.mine.amounts[self.one.row].sum((0, 1)) > 0
        comes = self.other.basis.typical.sum((1, 2)) > 0
        return [(False, int(k)) for k in np.flatnonzero(there)] + [
            (True, int(k)) for k in np.flatnonzero(comes)
        ]

    def changed(self, moves: frozenset[Move], generator: np.random.Generator | None = None) -> Tensor:
        """The activations after some moves; with a ``generator``, along random directions as strongly."""
        context, A = self.one.context, self.one.activations
        signed, W = context.split.signed, self.mine.amounts[self.one.row]
        found = A
        for comes, k in sorted(moves):
            basis = self.other.basis if comes else self.mine.basis
            amounts = basis.typical[k] if comes else W[..., k]
            direction = basis.vectors[k]
            if generator is not None:
                direction = permuted(direction, 1, generator)[0]
            moved = part(amounts, direction).to(A)
            if comes:
                found = found + moved if signed else (found + moved).clamp_(min=0)
            elif generator is None:
                found = less(found, moved, signed)
            else:
                own = part(amounts, basis.vectors[k]).to(A)
                found = less_as_much(found, moved, float((A - less(A, own, signed)).norm()), signed)
        return found

    def outcome(self, sets: list[frozenset[Move]]) -> tuple[np.ndarray, np.ndarray]:
        """Whether each set makes the model say the other class (m,), and the other's lead (m,)."""
        self.tried.extend(sets)
        lead, won = [], []
        for start in range(0, len(sets), 32):
            block = torch.stack([self.changed(moves) for moves in sets[start : start + 32]])
            logits, scores = finished(self.one.context, block, self.one.tensor)
            lead.append(logits[:, self.one.against] - logits[:, self.one.target])
            won.append(self.one.context.task.winner(scores) == self.one.against)
        return np.concatenate(won), np.concatenate(lead)


def swap(one: Tested, mine: Held, other: Held) -> Swap:
    """The smallest set that makes the model say ``one.against``, as far as sets are tried."""
    attempts = _Attempts(one, mine, other)
    moves = attempts.moves
    best: frozenset[Move] = frozenset()
    for size in range(1, min(EXACT, len(moves)) + 1):
        sets = [frozenset(chosen) for chosen in combinations(moves, size)]
        won, lead = attempts.outcome(sets)
        best = sets[int(np.argmax(np.where(won, lead + 1e6, lead)))]
        if won.any():
            return _told(attempts, best, exact=True)
    return _told(attempts, _reduced(attempts, _grown(attempts, best, moves)), exact=False)


def _grown(attempts: _Attempts, start: frozenset[Move], moves: list[Move]) -> frozenset[Move]:
    """The set with the most helpful moves added in turn, until the model says the other class."""
    best, found = start, False
    while not found and len(best) < len(moves):
        sets = [best | {move} for move in moves if move not in best]
        won, lead = attempts.outcome(sets)
        at = int(np.argmax(np.where(won, lead + 1e6, lead)))
        best, found = sets[at], bool(won[at])
    return best


def _reduced(attempts: _Attempts, full: frozenset[Move]) -> frozenset[Move]:
    """The set without moves that it can do without, one after the other."""
    best = full
    while len(best) > 1:
        sets = [best - {move} for move in sorted(best)]
        won, lead = attempts.outcome(sets)
        if not won.any():
            return best
        best = sets[int(np.argmax(np.where(won, lead, -np.inf)))]
    return best


def _told(attempts: _Attempts, moves: frozenset[Move], exact: bool) -> Swap:
    one, task = attempts.one, attempts.one.context.task
    _, scores = finished(one.context, attempts.changed(moves)[None], one.tensor)
    winner = int(task.winner(scores[0]))
    n = min(CONTROLS, one.context.settings.controls)
    generator = one.generator("swap")
    drawn = [attempts.changed(moves, generator) for _ in range(n)]
    share = 0.0
    if drawn:
        _, random = finished(one.context, torch.stack(drawn), one.tensor)
        share = float((task.winner(random) == one.against).mean())
    before = one.images.scores[one.row]
    return Swap(
        said=one.context.prediction(one.target, before[one.target]),
        wanted=one.context.prediction(one.against, before[one.against]),
        removed=tuple(k for comes, k in sorted(moves) if not comes),
        added=tuple(k for comes, k in sorted(moves) if comes),
        predicted=one.context.prediction(winner, scores[0, winner]),
        found=winner == one.against,
        exact=exact and winner == one.against,
        tried=len(attempts.tried),
        random=share,
        n=n,
    )
