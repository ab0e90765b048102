"""Cut images into square tiles at their own scale, none overlapping: a pool of the size that a model sees.

What remains at the edges is left out, evenly on both sides; an image smaller than a tile gives none.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image


def offsets(length: int, side: int) -> range:
    """Where tiles begin along an edge, with the rest shared between both ends."""
    return range(length % side // 2, length - side + 1, side) if length >= side else range(0)


def cut(file: Path, side: int, out: Path) -> int:
    image = Image.open(file).convert("RGB")
    places = [(x, y) for y in offsets(image.height, side) for x in offsets(image.width, side)]
    for x, y in places:
        name = f"{file.parent.parent.name}_{file.stem}_{y:04d}_{x:04d}.png"
        image.crop((x, y, x + side, y + side)).save(out / name)
    return len(places)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", help="folders of images, such as val/images")
    parser.add_argument("--side", type=int, default=160, help="pixels")
    parser.add_argument("--out", type=Path, default=Path("runs/tissue/tiles"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    files = [file for folder in options.folders for file in sorted(folder.iterdir())]
    tiles = sum(cut(file, options.side, options.out) for file in files)
    print(f"{tiles} tiles of {options.side} px from {len(files)} images in {options.out}")


if __name__ == "__main__":
    main()
