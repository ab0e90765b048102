"""How many images' noisy copies pass at once: of a processor one image's, of a card what its memory holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor

from whyclass.models.split import Split

Made = TypeVar("Made")
Drawn = TypeVar("Drawn")

BATCH = 32

ON_CARD = 320
"""Copies that a card takes together at most: fewer of them leave it waiting to be told what to do."""

SHARE = 8
"""Of a card's memory one part of so many is for these copies."""


class Passing:
    """Copies of images, some at a time.

    What a copy takes of a card is measured on the first image, which passes alone. So how many pass together
    depends on the card, the model and the question, and on nothing that another class or run could change.

    Parameters
    ----------
    split
        The model.
    alone
        Whether each image has to pass alone.

    Attributes
    ----------
    images
        Images whose copies pass together next.
    """

    def __init__(self, split: Split, alone: bool) -> None:
        self._split, self.device = split, split.example.device
        self._measures = self.device.type == "cuda" and not alone
        self.images = 1

    def blocks(self, drawn: Iterator[Drawn]) -> Iterator[list[Drawn]]:
        """Images, as many at a time as pass together."""
        for first in drawn:
            yield [first, *islice(drawn, self.images - 1)]

    def through(self, copies: Tensor, make: Callable[[Tensor], Sequence[Made]]) -> list[Sequence[Made]]:
        """What is made of the copies of some images: of one image's in parts, of several images' at once."""
        if self._measures:
            return self._measured(copies, make)
        most = self._split.together(BATCH) if self.images == 1 else len(copies)
        return [make(some.to(self._split.example)) for some in copies.split(most)]

    def _measured(self, copies: Tensor, make: Callable[[Tensor], Sequence[Made]]) -> list[Sequence[Made]]:
        self._measures = False
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        found = self.through(copies, make)
        some = min(self._split.together(BATCH), len(copies))
        each = max(1.0, (torch.cuda.max_memory_allocated(self.device) - before) / some)
        memory = torch.cuda.get_device_properties(self.device).total_memory / SHARE
        self.images = max(1, self._split.together(min(ON_CARD, int(memory / each))) // len(copies))
        return found
