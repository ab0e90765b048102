"""What values the images of a pool hold, and what a reader must be told of them.

A picture that uses a fraction of its range is nearly black to the model, and a tensor that nobody normalised
lies where no picture does; the model answers all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from whyclass.models.preprocessing import Preprocessing, Sample

DARK = 32
"""A picture is nearly black where no value of 0 to 255 reaches so far."""

HALF = 0.5
"""Pictures of more than 8 bits whose highest value lies below this share of the range leave a bit unused."""

WAYS = 3
"""Windows of DICOM pictures that are named."""

MARGIN = 0.05
"""By so much of their range may normalised tensors lie beyond what a picture can give (resizing rings)."""


@dataclass(frozen=True)
class ValueRanges:
    """Of the images of a pool that could be read.

    Attributes
    ----------
    deep, highest
        Pictures of more than 8 bits, and the highest value of all, as a share of their range.
    dark, such
        Pictures that are nearly black, and the first of them.
    windows
        By what values DICOM pictures are shown, each way once, the first few.
    tensors, low, high
        Tensors that came ready for the model, and between which values they lie.
    """

    deep: int = 0
    highest: float = 0.0
    dark: int = 0
    such: str = ""
    tensors: int = 0
    low: float = 0.0
    high: float = 0.0
    windows: tuple[str, ...] = ()

    @classmethod
    def of(cls, held: Any) -> ValueRanges:
        """From what was kept of it."""
        return cls(**held | {"windows": tuple(held.get("windows", ()))}) if isinstance(held, dict) else cls()

    def held(self) -> dict[str, Any]:
        """What is to be kept of it."""
        return asdict(self) | {"windows": list(self.windows)}

    def seen(self, path: str, sample: Sample) -> ValueRanges:
        """With one more image."""
        if sample.pixels is None and not sample.made:
            low, high = float(sample.tensor.min()), float(sample.tensor.max())
            if self.tensors:
                low, high = min(low, self.low), max(high, self.high)
            return replace(self, tensors=self.tensors + 1, low=low, high=high)
        found = self
        if sample.peak is not None:
            found = replace(found, deep=self.deep + 1, highest=max(self.highest, sample.peak))
        if sample.window and sample.window not in self.windows and len(self.windows) <= WAYS:
            found = replace(found, windows=(*self.windows, sample.window))
        if sample.pixels is not None and sample.pixels.max() < DARK:
            found = replace(found, dark=self.dark + 1, such=self.such or path)
        return found

    def and_then(self, later: ValueRanges) -> ValueRanges:
        """With what was seen in later images."""
        both = [one for one in (self, later) if one.tensors]
        return ValueRanges(
            deep=self.deep + later.deep,
            highest=max(self.highest, later.highest),
            dark=self.dark + later.dark,
            such=self.such or later.such,
            tensors=self.tensors + later.tensors,
            low=min((one.low for one in both), default=0.0),
            high=max((one.high for one in both), default=0.0),
            windows=tuple(dict.fromkeys((*self.windows, *later.windows)))[: WAYS + 1],
        )

    def warnings(self, preprocessing: Preprocessing) -> Iterator[str]:
        """What a reader of results must know."""
        unused = bool(self.deep) and self.highest < HALF
        if unused:
            yield (
                f"no value of the {self.deep:,} pictures of more than 8 bits lies above "
                f"{self.highest:.1%} of their range: the model sees them that dark; scale them to their range"
            )
        if self.dark and not (unused and self.dark <= self.deep):
            yield (
                f"{self.dark:,} {'pictures are' if self.dark > 1 else 'picture is'} nearly black to the "
                f"model (no value reaches {DARK} of 255), such as {self.such}"
            )
        if self.windows:
            ways = [*self.windows[:WAYS], *(["others"] if len(self.windows) > WAYS else [])]
            yield f"DICOM pictures are shown by {', '.join(ways)}; values beyond are black or white"
        yield from self._tensors(preprocessing)

    def _tensors(self, preprocessing: Preprocessing) -> Iterator[str]:
        if not self.tensors:
            return
        pairs = list(zip(preprocessing.mean, preprocessing.std, strict=True))
        least, most = min(-m / s for m, s in pairs), max((1 - m) / s for m, s in pairs)
        slack = MARGIN * (most - least)
        said = (
            f"the {self.tensors:,} tensors lie between {self.low:.3g} and {self.high:.3g}, and normalised "
            f"pictures between {least:.3g} and {most:.3g}"
        )
        if least < -slack and self.low >= 0 and self.high <= 1:
            yield f"{said}: they look as if nobody had normalised them"
        elif self.low < least - slack or self.high > most + slack:
            yield f"{said}: they are normalised otherwise, or not at all"


NOTHING_SEEN = ValueRanges()
