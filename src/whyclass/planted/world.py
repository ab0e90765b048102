"""The planted world: small pictures made of known parts, and a small network that has learnt them.

An explanation can run and be wrong. Here the truth is known: a picture belongs to a class because
it shows *all parts* of that class, so an explanation of the class has to point to those parts.
One class carries a shortcut: ``hawk`` has the parts of ``owl`` and a sticker, so the sticker alone
tells the two apart. ``other`` shows too few parts to be anything, which makes single parts
insufficient evidence and lets crops of every part be found outside their class.

Everything is drawn from a seed: the same class and seed give the same bytes. The random streams of
background, places and looks are separate, so classes that share a seed share all they can, and the
twins differ in the sticker and in nothing else.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from whyclass.errors import ClassError, DataError, StoreError
from whyclass.models.preprocessing import Preprocessing
from whyclass.planted.parts import PARTS, Colour, patch

SIZE = 96
"""Height and width of a picture in pixels."""

LAYER = "stage3"
"""The layer of `planted_net` to explain: (64, 12, 12), so a crop of a pooled cell is 16 x 16 pixels."""

PREPROCESSING = Preprocessing(None, (SIZE, SIZE), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
"""How `planted_net` takes pictures."""

_STREAMS = {"background": 0, "clutter": 1, "grain": 2, "places": 3, "looks": 4, "strays": 5}
_CLASS_STRIDE = 100_000  # seeds of one class in a pool; no pool has more images of a class


@dataclass(frozen=True)
class PlantedClass:
    """A class and the truth about it: it is shown where all of ``parts`` and its ``shortcut`` are."""

    name: str
    parts: tuple[str, ...]
    shortcut: str | None = None

    @property
    def needs(self) -> tuple[str, ...]:
        """Parts and shortcut, in the order in which they are placed."""
        return self.parts if self.shortcut is None else (*self.parts, self.shortcut)


SHORTCUT = "sticker"
"""The part that tells the twins apart."""

CLASSES: tuple[PlantedClass, ...] = (
    PlantedClass("owl", ("eye", "triangle")),
    PlantedClass("hawk", ("eye", "triangle"), shortcut=SHORTCUT),
    PlantedClass("peacock", ("eye", "leaf", "ring")),
    PlantedClass("snail", ("spiral", "leaf")),
    PlantedClass("saturn", ("stripes", "ring")),
    PlantedClass("bee", ("stripes", "flower")),
    PlantedClass("comet", ("star", "zigzag")),
    PlantedClass("jester", ("checker", "triangle", "star")),
    PlantedClass("other", ()),
)
"""All classes; the index is the network's output. ``hawk`` is ``owl`` with a sticker."""

TWINS = ("hawk", "owl")
"""The class with the shortcut, and the class it differs from by the shortcut alone."""


def class_index(name: str) -> int:
    """Index of a planted class; `ClassError` if there is none of that name."""
    names = [planted.name for planted in CLASSES]
    if name not in names:
        raise ClassError(f"no planted class {name!r}: expected one of {', '.join(names)}")
    return names.index(name)


@dataclass(frozen=True)
class PlantedPicture:
    """A picture with the truth about it.

    Attributes
    ----------
    image
        Shape (96, 96, 3), uint8.
    masks
        For each part that is drawn: shape (96, 96), bool, true at every pixel to which the part
        contributes.
    label
        Index of the class in `CLASSES`.
    """

    image: np.ndarray = field(repr=False)
    masks: Mapping[str, np.ndarray] = field(repr=False)
    label: int


def planted_picture(
    index: int, seed: int, *, add: Sequence[str] = (), leave_out: Sequence[str] = ()
) -> PlantedPicture:
    """Draw a picture of a class.

    Parameters
    ----------
    index
        Class in `CLASSES`.
    seed
        Non-negative; the same class and seed give the same picture.
    add
        Parts drawn besides, after all others. The first one lands where a shortcut would.
    leave_out
        Parts not drawn; everything else stays where it is.

    Notes
    -----
    ``label`` stays the class even when ``add`` or ``leave_out`` changed what is shown: they are
    for interventions.
    """
    planted = CLASSES[index]
    strays = _strays(planted, seed)
    shortcut = () if planted.shortcut is None else (planted.shortcut,)
    names = [*planted.parts, *strays, *shortcut, *add]
    canvas = _background(seed)
    masks: dict[str, np.ndarray] = {}
    for name, (drawn, corner) in zip(names, _placed(names, seed), strict=True):
        if name in leave_out:
            continue
        canvas.paste(drawn, corner, drawn)
        alpha = Image.new("L", canvas.size)
        alpha.paste(drawn.getchannel("A"), corner)
        cover = np.asarray(alpha)
        masks = {other: mask & (cover < 255) for other, mask in masks.items()}
        masks[name] = cover > 0
    return PlantedPicture(_grained(canvas, seed), masks, index)


def _rng(seed: int, stream: str, *more: int) -> np.random.Generator:
    return np.random.default_rng([seed, _STREAMS[stream], *more])


def _strays(planted: PlantedClass, seed: int) -> list[str]:
    """Parts that do not belong: some beside a class, too few for any class in ``other``."""
    rng = _rng(seed, "strays")
    order = [PARTS[position].name for position in rng.permutation(len(PARTS))]
    near_miss = CLASSES[rng.integers(len(CLASSES))].needs
    chance = rng.random()
    if planted.parts:
        wanted = int(chance < 0.3)
    elif chance < 0.5:  # all but one part of a class, so that every part of a class is needed
        order = [name for name in order if name in near_miss]
        wanted = len(near_miss) - 1
    else:
        wanted = int(rng.integers(3))
    names: list[str] = []
    for name in order:
        if len(names) < wanted and name not in planted.needs and _harmless({*planted.parts, *names}, name):
            names.append(name)
    return names


def _harmless(shown: set[str], name: str) -> bool:
    """Whether adding the part completes no class; the shortcut may stray only where no class is complete."""
    before, after = _complete(shown), _complete({*shown, name})
    return before == after and not (before and name == SHORTCUT)


def _complete(shown: set[str]) -> set[str]:
    """Names of the classes all of whose own parts are shown."""
    return {planted.name for planted in CLASSES if planted.parts and shown >= set(planted.parts)}


def _placed(names: Sequence[str], seed: int) -> Iterator[tuple[Image.Image, tuple[int, int]]]:
    """Patch and upper left corner of each part, one after the other, as far apart as chance allows."""
    rng = _rng(seed, "places")
    taken: list[tuple[float, float, float]] = []
    for name in names:
        number = next(i for i, part in enumerate(PARTS) if part.name == name)
        drawn = patch(PARTS[number], _rng(seed, "looks", number))
        radius = drawn.width / 2
        centres = rng.uniform(radius, SIZE - radius, (40, 2))
        gaps = [
            min((math.hypot(x - a, y - b) - radius - r for a, b, r in taken), default=1) for x, y in centres
        ]
        x, y = centres[next((i for i, gap in enumerate(gaps) if gap > 0), int(np.argmax(gaps)))]
        taken.append((x, y, radius))
        yield drawn, (int(x - radius), int(y - radius))


def _background(seed: int) -> Image.Image:
    """Soft blotches of two related colours, and clutter: faint strokes and dots of any colour."""
    rng = _rng(seed, "background")
    hue, away = rng.random(), rng.uniform(-0.12, 0.12)
    ends = np.array([_rgb(hue, 0.22, 0.92), _rgb(hue + away, 0.38, 0.68)], dtype=float)
    blotches = Image.fromarray((rng.random((6, 6)) * 255).astype(np.uint8))
    mix = np.asarray(blotches.resize((SIZE, SIZE), Image.Resampling.BICUBIC))[..., None] / 255
    canvas = Image.fromarray((ends[0] * mix + ends[1] * (1 - mix)).astype(np.uint8))
    return Image.alpha_composite(canvas.convert("RGBA"), _clutter(seed)).convert("RGB")


def _clutter(seed: int) -> Image.Image:
    rng = _rng(seed, "clutter")
    layer = Image.new("RGBA", (2 * SIZE, 2 * SIZE))
    draw = ImageDraw.Draw(layer)
    for _ in range(int(rng.integers(14, 26))):
        x, y = rng.uniform(0, 2 * SIZE, 2)
        dx, dy = rng.uniform(-22, 22, 2)
        opaque = _rgb(rng.random(), rng.uniform(0.2, 0.7), rng.uniform(0.4, 0.95))
        colour = (*opaque, int(rng.integers(70, 150)))
        if rng.random() < 0.6:
            draw.line([(x, y), (x + dx, y + dy)], fill=colour, width=int(rng.integers(2, 6)))
        else:
            radius = rng.uniform(2, 8)
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return layer.reduce(2).filter(ImageFilter.GaussianBlur(0.4))


def _grained(canvas: Image.Image, seed: int) -> np.ndarray:
    grain = _rng(seed, "grain").normal(0, 4, (SIZE, SIZE, 1))
    return np.clip(np.asarray(canvas) + grain, 0, 255).astype(np.uint8)


def _rgb(hue: float, saturation: float, value: float) -> Colour:
    r, g, b = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return int(255 * r), int(255 * g), int(255 * b)


def pool_picture(path: str, seed: int = 0) -> PlantedPicture:
    """The picture behind a file of the pool that `write_pool` wrote with this seed.

    Parameters
    ----------
    path
        Relative path in the pool, such as ``"owl/0003.png"``.
    seed
        The seed given to `write_pool`.
    """
    file = PurePosixPath(path)
    if not file.stem.isdigit() or file.suffix != ".png":
        raise DataError(f"{path!r} is no file of the planted pool: expected a path like 'owl/0003.png'")
    index = class_index(file.parent.name)
    return planted_picture(index, _pool_seed(index, int(file.stem), seed))


def write_pool(folder: Path | str, n_per_class: int = 60, seed: int = 0) -> Path:
    """Write ``n_per_class`` pictures of every class as ``<folder>/<class>/0000.png``.

    The same seed writes the same bytes, under the same versions of numpy and Pillow. `pool_picture` gives
    the masks of a file. Returns the folder; raises `StoreError` if it cannot be written.
    """
    folder = Path(folder)
    try:
        for index, planted in enumerate(CLASSES):
            (folder / planted.name).mkdir(parents=True, exist_ok=True)
            for number in range(n_per_class):
                picture = Image.fromarray(planted_picture(index, _pool_seed(index, number, seed)).image)
                picture.save(folder / planted.name / f"{number:04d}.png", compress_level=1)
    except OSError as error:
        raise StoreError(
            f"cannot write pictures to {folder}: {error}; give a folder that can be written"
        ) from error
    return folder


def _pool_seed(index: int, number: int, seed: int) -> int:
    return (seed * len(CLASSES) + index) * _CLASS_STRIDE + number
