"""The parts that pictures of the planted world are made of, drawn and not loaded.

Each is drawn four times as large as it appears, in coordinates that are turned already, and shrunk:
clean edges at any angle without a second interpolation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw

FINE = 4
"""Parts are drawn so many times larger than they appear."""

Colour = tuple[int, int, int]
Point = tuple[float, float]


class Brush:
    """Draws in a turned coordinate system where the part fills the disc of radius 1."""

    def __init__(self, pixels: int, angle: float) -> None:
        """An empty transparent square of so many pixels; the angle is in radians."""
        self.image = Image.new("RGBA", (pixels, pixels))
        self._draw = ImageDraw.Draw(self.image)
        self._unit = (pixels - 1) / 2
        self._turn = complex(math.cos(angle), math.sin(angle)) * self._unit

    def polygon(self, points: Iterable[Point], colour: Colour) -> None:
        """Fill the polygon."""
        self._draw.polygon([self._pixel(p) for p in points], fill=(*colour, 255))

    def disc(self, centre: Point, radius: float, colour: Colour) -> None:
        """Fill the disc."""
        self.polygon([(centre[0] + x, centre[1] + y) for x, y in _arc(radius)], colour)

    def line(self, points: Iterable[Point], width: float, colour: Colour) -> None:
        """Draw a polyline with round ends and joints."""
        turned, pixels = [self._pixel(p) for p in points], width * self._unit
        self._draw.line(turned, fill=(*colour, 255), width=round(pixels))
        for x, y in turned:
            half = pixels / 2
            self._draw.ellipse((x - half, y - half, x + half, y + half), fill=(*colour, 255))

    def _pixel(self, point: Point) -> Point:
        turned = complex(*point) * self._turn
        return turned.real + self._unit, turned.imag + self._unit


Drawing = Callable[[Brush, tuple[Colour, ...]], None]


@dataclass(frozen=True)
class Part:
    """A part that pictures are made of.

    Attributes
    ----------
    name
        Unique among `PARTS`.
    draw
        Draws it with a `Brush` in the given colours.
    colours
        Red, green, blue, 0 to 255; the first one is the part's own.
    sizes
        Smallest and largest diameter in pixels.
    turn
        Largest rotation to either side, in degrees.
    """

    name: str
    draw: Drawing = field(repr=False)
    colours: tuple[Colour, ...]
    sizes: tuple[int, int] = (23, 28)
    turn: float = 20.0


def _arc(radius: float, start: float = 0.0, end: float = 360.0) -> list[Point]:
    angles = np.radians(np.linspace(start, end, 2 + int(abs(end - start) / 8)))
    return [(radius * math.cos(a), radius * math.sin(a)) for a in angles]


def _almond(width: float, height: float) -> list[Point]:
    x = np.linspace(-1, 1, 21)
    y = height * (1 - x**2)
    upper = list(zip(width * x, y, strict=True))
    return upper + [(a, -b) for a, b in reversed(upper)]


def _eye(brush: Brush, colours: tuple[Colour, ...]) -> None:
    iris, white, dark = colours
    brush.polygon(_almond(1.0, 0.72), dark)
    brush.polygon(_almond(0.86, 0.58), white)
    brush.disc((0, 0), 0.46, iris)
    brush.disc((0, 0), 0.22, dark)
    brush.disc((0.14, -0.16), 0.1, white)


def _triangle(brush: Brush, colours: tuple[Colour, ...]) -> None:
    for scale, colour in zip((1.0, 0.55), colours, strict=True):
        brush.polygon([(scale * x, scale * y) for x, y in ((-0.9, 0.62), (0.9, 0.62), (0, -0.98))], colour)


def _leaf(brush: Brush, colours: tuple[Colour, ...]) -> None:
    green, vein = colours
    brush.polygon(_almond(1.0, 0.55), green)
    brush.line([(-0.95, 0), (0.8, 0)], 0.1, vein)
    for x in (-0.45, -0.05, 0.35):
        brush.line([(x + 0.2, 0.28), (x, 0), (x + 0.2, -0.28)], 0.08, vein)


def _spiral(brush: Brush, colours: tuple[Colour, ...]) -> None:
    groove, shell = colours
    brush.disc((0, 0), 0.98, shell)
    angles = np.linspace(0.5, 2.6 * 2 * math.pi, 70)
    brush.line([(0.053 * a * math.cos(a), 0.053 * a * math.sin(a)) for a in angles], 0.15, groove)


def _ring(brush: Brush, colours: tuple[Colour, ...]) -> None:
    blue, light = colours
    brush.line(_arc(0.74), 0.46, blue)
    brush.line(_arc(0.74), 0.1, light)


def _stripes(brush: Brush, colours: tuple[Colour, ...]) -> None:
    edges = np.degrees(np.arcsin(np.linspace(-1, 1, 8)))
    for i, (low, high) in enumerate(pairwise(edges)):
        right = _arc(0.98, low, high)
        brush.polygon(right + [(-x, y) for x, y in reversed(right)], colours[i % 2])


def _checker(brush: Brush, colours: tuple[Colour, ...]) -> None:
    side = 0.37
    for row in range(4):
        for column in range(4):
            x, y = (column - 2) * side, (row - 2) * side
            square = [(x, y), (x + side, y), (x + side, y + side), (x, y + side)]
            brush.polygon(square, colours[(row + column) % 2])


def _star(brush: Brush, colours: tuple[Colour, ...]) -> None:
    for scale, colour in ((1.0, colours[1]), (0.76, colours[0])):
        corners = [math.radians(36 * i - 90) for i in range(10)]
        radii = [scale * (1.0 if i % 2 == 0 else 0.48) for i in range(10)]
        brush.polygon(
            [(r * math.cos(a), r * math.sin(a)) for r, a in zip(radii, corners, strict=True)], colour
        )


def _zigzag(brush: Brush, colours: tuple[Colour, ...]) -> None:
    for shift, colour in ((-0.24, colours[0]), (0.24, colours[1])):
        brush.line([(0.4 * i - 0.8, shift + (0.3 if i % 2 else -0.3)) for i in range(5)], 0.3, colour)


def _flower(brush: Brush, colours: tuple[Colour, ...]) -> None:
    petal, heart = colours
    for angle in np.radians(range(0, 360, 60)):
        brush.disc((0.62 * math.cos(angle), 0.62 * math.sin(angle)), 0.36, petal)
    brush.disc((0, 0), 0.32, heart)


def _sticker(brush: Brush, colours: tuple[Colour, ...]) -> None:
    ink, paper = colours
    brush.polygon([(-0.86, -0.5), (0.86, -0.5), (0.86, 0.5), (-0.86, 0.5)], paper)
    for x, width in ((-0.68, 0.2), (-0.3, 0.1), (-0.02, 0.26), (0.4, 0.1), (0.6, 0.14)):
        brush.polygon([(x, -0.36), (x + width, -0.36), (x + width, 0.36), (x, 0.36)], ink)


PARTS: tuple[Part, ...] = (
    Part("eye", _eye, ((205, 130, 40), (250, 250, 245), (40, 30, 30))),
    Part("triangle", _triangle, ((215, 45, 45), (250, 150, 130))),
    Part("leaf", _leaf, ((60, 150, 60), (180, 225, 130)), sizes=(26, 31), turn=30.0),
    Part("spiral", _spiral, ((110, 65, 35), (235, 195, 140))),
    Part("ring", _ring, ((45, 95, 205), (150, 190, 250))),
    Part("stripes", _stripes, ((125, 60, 165), (245, 235, 250))),
    Part("checker", _checker, ((25, 25, 30), (245, 245, 245))),
    Part("star", _star, ((250, 210, 60), (225, 130, 25)), sizes=(25, 30)),
    Part("zigzag", _zigzag, ((20, 150, 150), (130, 225, 215))),
    Part("flower", _flower, ((240, 130, 180), (250, 215, 80))),
    Part("sticker", _sticker, ((20, 20, 25), (252, 252, 250)), sizes=(18, 20), turn=12.0),
)
"""The library of parts; ``sticker`` is the shortcut and no class's own part."""


def patch(part: Part, rng: np.random.Generator) -> Image.Image:
    """The part as a picture with transparency (RGBA), its size, turn and colours varied."""
    pixels = int(rng.integers(part.sizes[0], part.sizes[1] + 1))
    brush = Brush(pixels * FINE, math.radians(rng.uniform(-part.turn, part.turn)))
    light, tint = rng.uniform(0.88, 1.08), rng.uniform(-14, 14, 3)
    varied = np.clip(np.array(part.colours) * light + tint, 0, 255).astype(int)
    part.draw(brush, tuple((int(r), int(g), int(b)) for r, g, b in varied))
    return brush.image.reduce(FINE)
