"""The open model, asked what a browser waits for: pictures of the pool, neighbours, and steered scores."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image

from whyclass.checks import interventions, statistics
from whyclass.errors import ClassError, DataError, WhyclassError
from whyclass.models.preprocessing import Sample
from whyclass.pool.best_per_class import best_per_class
from whyclass.pool.nearest_crops import Place, Query, nearest
from whyclass.records import Source
from whyclass.serve import brought
from whyclass.serve.catalogue import group_of
from whyclass.settings import plain, seed_of
from whyclass.study.class_evidence import ClassEvidence, evidence_of
from whyclass.study.context import Context
from whyclass.study.study import Study

Kept = TypeVar("Kept")

KEEP = 6
"""Classes and images whose activations stay in memory."""

RANDOM = 16
"""Random directions that a steered one is compared with."""

FEW_IMAGES = 12
"""Of a class that random directions are tried on, where all are steered."""

FURTHEST = 2.0
"""Steps of the slider, in mean lengths of the images' cells."""

TOP = 5

TOGETHER = 2
"""Steps of a curve that are computed before another question may come between."""

YIELD = 0.002
"""Seconds for that."""


@dataclass(frozen=True)
class Seen:
    """An image with what the model says of it: the five highest classes with their scores."""

    source: Source
    top: tuple[tuple[int, str, float], ...]


class _Recent(OrderedDict[Any, Any]):
    """What was made last, a few of each."""

    def get_or(self, key: Any, make: Callable[[], Kept]) -> Kept:
        if key not in self:
            self[key] = make()
        self.move_to_end(key)
        while len(self) > KEEP:
            self.popitem(last=False)
        return self[key]  # type: ignore[no-any-return]


class Live:
    """A study that answers at once; one question at a time, since a model's hooks are its own."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.lock = threading.RLock()
        self._activations, self._evidence = _Recent(), _Recent()

    @property
    def indexed(self) -> bool:
        """Whether the pass over the pool was made."""
        with self.lock:
            return self.study.indexed

    @cached_property
    def context(self) -> Context:
        """What questions are asked of.

        Raises
        ------
        WhyclassError
            If the pool was not indexed yet.
        """
        with self.lock:
            if not self.study.indexed:
                raise WhyclassError("the pool was not looked at yet; that is a job on the first page")
            return self.study.context()

    @cached_property
    def group(self) -> str:
        """Of the answers of this study (`catalogue.group_of`)."""
        context = self.context
        return group_of(
            context.model_info(), context.pool.digest, plain(context.settings), dict(context.versions)
        )

    @cached_property
    def positions(self) -> dict[str, int]:
        """From an image's path to its place in the pool."""
        return {item.path: place for place, item in enumerate(self.context.index.items)}

    def evidence(self, target: int) -> ClassEvidence:
        """A class; `ClassError` where it is predicted for no image."""
        with self.lock:
            return self._evidence.get_or(target, lambda: evidence_of(self.context, target))

    def seen(self, position: int) -> Seen:
        """What the model says of an image of the pool."""
        context = self.context
        scores = context.index.scores(np.array([position]))[0]
        return Seen(context.source(position), self.top(scores))

    def top(self, scores: np.ndarray) -> tuple[tuple[int, str, float], ...]:
        """The highest classes of scores (C,)."""
        order = np.argsort(-scores, kind="stable")[:TOP]
        return tuple((int(k), self.context.name(int(k)), float(scores[k])) for k in order)

    def picture(self, given: str) -> Image.Image:
        """A picture that a form names, as the model sees it."""
        with self.lock:
            return brought.picture_of(self.context, given)[0]

    def scores_of(self, given: str) -> np.ndarray:
        """Scores (C,) of a picture that was brought or is of the pool."""
        with self.lock:
            return np.asarray(self.context.scores(self._sample(given).tensor[None])[0])

    def _sample(self, given: str) -> Sample:
        if given.startswith("pool:"):
            return self.context.read([int(given.removeprefix("pool:"))])[0]
        picture, _ = brought.picture_of(self.context, given)
        return brought.sample(picture, self.context.preprocessing)

    # ------------------------------------------------------------ heat maps and neighbours

    def heat(self, target: int, number: int, row: int) -> tuple[np.ndarray, int]:
        """Where a concept is active on one of the class's images, (h, w) from 0 to 1, and its place there.

        Raises
        ------
        ClassError
            If the class was not explained, or has no such concept or image.
        """
        with self.lock:
            own = self.evidence(target)
            if not own.factors_file.exists():
                raise ClassError("the class was not explained yet")
            found = own.factors.embeddings
        if not (0 <= row < len(found) and 1 <= number <= found.shape[3]):
            raise ClassError("there is no such image or concept")
        values = found[..., number - 1]
        return values[row] / max(float(values.max()), 1e-12), int(own.chosen[row])

    def neighbours(self, position: int, cell: int | None, count: int = 8) -> list[Place]:
        """The places of the pool nearest to a pooled cell of an image, or to its mean, of other images."""
        index = self.context.index
        with self.lock:
            cells = np.asarray(index.checked_cells[position], np.float32)
            wanted = cells.mean(0) if cell is None or cell >= len(cells) else cells[cell]
            others = np.ones(len(index.items), bool)
            others[position] = False
            query = Query(_unit(wanted)[None], {"others": others & index.usable})
            places = nearest(index, [query], 4 * count)[0]["others"][0]
        best: dict[int, Place] = {}
        for place in places:
            best.setdefault(place.position, place)
        return list(best.values())[:count]

    def cell_of(self, position: int, box: tuple[int, int, int, int]) -> int | None:
        """The pooled cell that a crop's box was cut for."""
        crops, size = self.context.crops, self.context.preprocessing.crop
        rows, columns = crops.grid
        cells = range(rows * columns)
        return next((cell for cell in cells if crops.box(cell, size) == box), None)

    def across(self, vector: np.ndarray, count: int = 12) -> list[Place]:
        """The nearest place of each class, of those classes that come nearest to a direction."""
        with self.lock:
            return best_per_class(self.context.index, _unit(vector), count)

    # ------------------------------------------------------------ steering

    def steered(self, target: int, vector: np.ndarray, given: str, at: list[float]) -> dict[str, Any]:
        """Scores after every cell moved along a direction, in steps of the cells' mean length.

        Nothing before the layer is run: the images' activations are kept.

        Returns
        -------
        dict
            ``at``, and of the highest classes, and of the class itself, ``curves``: index, name, scores.
        """
        with self.lock:
            activations, images, unit = self._held(target, given)
        w, found = _unit(vector).astype(np.float32) * unit, []
        for start in range(0, len(at), TOGETHER):
            with self._turn():
                steps = at[start : start + TOGETHER]
                found.append(interventions.shift(self.context.split, activations, images, w, steps).mean(1))
        scores = np.concatenate(found)
        shown = np.argsort(-scores.max(0), kind="stable")[:TOP].tolist()
        shown += [] if target in shown else [target]
        return {
            "at": at,
            "images": len(activations),
            "curves": [
                {"index": int(k), "name": self.context.name(int(k)), "scores": _rounded(scores[:, k])}
                for k in shown
            ],
        }

    def random_band(self, target: int, vector: np.ndarray, given: str, at: list[float]) -> dict[str, Any]:
        """What random directions of the same length do to the class's score: least, mean and largest."""
        with self.lock:
            activations, images, unit = self._held(target, given)
        rows = np.linspace(0, len(activations) - 1, min(FEW_IMAGES, len(activations))).round().astype(int)
        rng = np.random.default_rng(seed_of("steering", 0, f"{target} {given}"))
        drawn = statistics.random_directions(_unit(vector).astype(np.float32) * unit, RANDOM, rng)
        found_means = []
        for w in drawn:
            with self._turn():
                moved = interventions.shift(self.context.split, activations[rows], images[rows], w, at)
            found_means.append(moved.mean(1)[:, target])
        means = np.stack(found_means)
        found = {"low": means.min(0), "mean": means.mean(0), "high": means.max(0)}
        return {"at": at, "n": len(drawn), "images": len(rows)} | {k: _rounded(v) for k, v in found.items()}

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """A short piece of work on the model; whoever waits, such as for a step of the slider, comes next."""
        with self.lock:
            yield
        time.sleep(YIELD)

    def _held(self, target: int, given: str) -> tuple[np.ndarray, torch.Tensor, float]:
        """Activations and images to steer, kept from the last time, and the cells' mean length."""

        def of_class() -> tuple[np.ndarray, torch.Tensor, float]:
            own = evidence_of(self.context, target)  # a new one: what it holds leaves memory with it
            return _measured(own.activations, own.images)

        def of_one() -> tuple[np.ndarray, torch.Tensor, float]:
            if given.startswith("pool:") and int(given.removeprefix("pool:")) >= len(self.context.pool.items):
                raise DataError("the pool has no such picture")
            images = self._sample(given).tensor[None]
            return _measured(self.context.activations(images), images)

        return self._activations.get_or(
            (target if given == "all" else None, given), of_class if given == "all" else of_one
        )


def _measured(activations: np.ndarray, images: torch.Tensor) -> tuple[np.ndarray, torch.Tensor, float]:
    lengths = np.linalg.norm(activations, axis=1)
    return activations, images, float(lengths.mean())


def _unit(vector: np.ndarray) -> np.ndarray:
    values = np.asarray(vector, np.float32)
    return np.asarray(values / max(float(np.linalg.norm(values)), 1e-12))


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 5) for value in values]
