"""How an audit grows: on paper, and a pool of a million images on this machine (``docs/scale.md``).

python benchmarks/scale.py measure --weights resnet50_imagenet.safetensors
python benchmarks/scale.py paper
python benchmarks/scale.py simulate --images 1000000
"""

from __future__ import annotations

import argparse
from pathlib import Path

from scale_paper import measure, paper
from scale_pool import search, simulate

from whyclass.planted.world import CLASSES

WAYS = {"measure": measure, "paper": paper, "simulate": simulate, "search": search}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("--folder", type=Path, default=Path("runs/scale"))
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--classes", type=int, default=len(CLASSES), help="that simulate audits")
    parser.add_argument("--weights", type=Path, default=None)
    options = parser.parse_args()
    WAYS[options.way](options)


if __name__ == "__main__":
    main()
