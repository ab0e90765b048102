"""Pictures by optimisation: what a direction of a layer would itself draw (paper, appendix B)."""

from whyclass.visualise.optimise import Drawn, best_cosines, channel, direction, draw, towards
from whyclass.visualise.parametrisations import Fourier, Generator, Space

__all__ = [
    "Drawn",
    "Fourier",
    "Generator",
    "Space",
    "best_cosines",
    "channel",
    "direction",
    "draw",
    "towards",
]
