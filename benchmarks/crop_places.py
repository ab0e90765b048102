"""Where crops are cut: the image divided as in the paper against the pooled cell's own pixels.

The concepts of a class, and the cells nearest to them, do not depend on it: they are found once, and
boxes are cut three times around the same cells. ``paper`` and ``cell`` are rows of ``whyclass.grid.CROPS``;
``centred`` has the paper's size around the middle of the cell, to tell what the place does from what the size
does.

Judges are both prediction tests, and the concept's own response to what is cut. For the latter all pixels but
the box's become 0 in normalised space, and the compared cell is asked for its cosine with the concept, and
for the part that is left of its projection on the concept. The energy of the pixels (the squared gradient of
that projection) gives the share that lies in the box, and how far its centre is from the box's. Both are
costly, and are asked of some of the classes.

    nice -n 10 python benchmarks/crop_places.py --store /tmp/crops --classes 200 --out crop_places.json
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from real_data import SHARED, resnet50
from torch import Tensor

from whyclass import Settings, Study
from whyclass.grid import CROPS, Box, Crops
from whyclass.pool import nearest_crops
from whyclass.pool.nearest_crops import Place
from whyclass.study import explain
from whyclass.study.class_evidence import evidence_of
from whyclass.study.context import Context
from whyclass.study.prediction_test_and_control import masks_of, stitched_pieces

FOLDERS = {"imagenet_sample/val": 1, "imagenette/val": 100, "breeds": 50}
"""Images taken of each class's folder."""

MASKS = ("including", "excluding")
RESPONSE, ENERGY = 4, 8
"""Beyond the first classes the response is asked of every fourth class, and the energy of every eighth."""

FIRST = 60
"""Of so many classes the response is asked in any case."""

DRAWS = 10_000
"""Of the bootstrap over classes."""

Cut = Callable[[Crops, int, tuple[int, int]], Box]


CUTS: dict[str, Cut] = {"paper": CROPS["paper"][1], "cell": CROPS["cell"][1], "centred": CROPS["centred"][1]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layer", default="layer4.2")
    parser.add_argument("--classes", type=int, default=200)
    parser.add_argument("--images", type=int, default=8, help="images of a class, at most")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60, help="no class is begun later")
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = Settings(copies=3, starts=1, images=options.images, crops=1, examples=0, controls=0)
    loaded = resnet50()
    context = Study(loaded, options.layer, _pool(), options.store, settings).context()
    print(f"{len(context.index.items)} images, {len(context.classes())} classes predicted", flush=True)
    if _same(context.crops, context.preprocessing.crop):
        print(f"{options.layer}: all boxes of 'paper' and 'cell' are the same; nothing to compare")
        return
    rows = _rows(context, options)
    _print(rows, context.crops, context.preprocessing.crop)


def _pool() -> list[Path]:
    return [
        image
        for folder, count in FOLDERS.items()
        for own in sorted((SHARED / folder).iterdir())
        for image in sorted(own.iterdir())[:count]
    ]


def _same(crops: Crops, image: tuple[int, int]) -> bool:
    cells = range(crops.grid[0] * crops.grid[1])
    return all(CUTS["paper"](crops, cell, image) == CUTS["cell"](crops, cell, image) for cell in cells)


def _rows(context: Context, options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row a class: the most predicted first, written as they come, and continued where there are some."""
    counts = {k: int(context.index.counting(k).sum()) for k in context.classes()}
    classes = sorted(counts, key=lambda k: (-counts[k], k))[: options.classes]
    rows = json.loads(options.out.read_text()) if options.out.exists() else []
    done, started = {row["class"] for row in rows}, time.perf_counter()
    for number, target in enumerate(classes):
        if target in done:
            continue
        if time.perf_counter() - started > 60 * options.minutes:
            break
        at = time.perf_counter()
        asked = number < FIRST or number % RESPONSE == 0, number % ENERGY == 0
        row = {"class": target, "images": counts[target], **_row(context, target, *asked)}
        rows.append(row)
        options.out.write_text(json.dumps(rows))
        print(f"{number + 1} {context.name(target)}: {time.perf_counter() - at:.1f} s", flush=True)
    return rows


def _row(context: Context, target: int, response: bool, energy: bool) -> dict[str, Any]:
    factors = evidence_of(context, target).factors
    query = explain.query(context, factors, masks_of(context, target))
    (found,) = nearest_crops.nearest(context.index, [query], 1)
    row: dict[str, Any] = {}
    for mask in MASKS:
        places = [best[0] for best in found[mask]]
        images = [context.read([place.position])[0].tensor for place in places]
        row[mask] = {name: _test(context, target, places, images, cut) for name, cut in CUTS.items()}
        if mask == "excluding" and response:
            concepts = torch.from_numpy(factors.concepts)
            responses = [
                _responses(context, place, image, concept, energy)
                for place, image, concept in zip(places, images, concepts, strict=True)
            ]
            row["response"] = {
                name: {
                    key: float(np.mean([one[name][key] for one in responses])) for key in responses[0][name]
                }
                for name in CUTS
            }
    return row


def _test(
    context: Context, target: int, places: Sequence[Place], images: Sequence[Tensor], cut: Cut
) -> dict[str, float]:
    pieces = []
    for place, image in zip(places, images, strict=True):
        left, top, right, bottom = cut(context.crops, place.cell, _size(image))
        pieces.append(image[:, top:bottom, left:right])
    scores = stitched_pieces(context, pieces).scores
    return {"score": float(scores[target]), "predicted": float(context.task.counts(scores, target))}


def _size(image: Tensor) -> tuple[int, int]:
    return image.shape[1], image.shape[2]


def _responses(
    context: Context, place: Place, image: Tensor, concept: Tensor, energy: bool
) -> dict[str, dict[str, float]]:
    """By cut: the compared cell's answer where only the box is seen, and the energy's centre."""
    boxes = {name: cut(context.crops, place.cell, _size(image)) for name, cut in CUTS.items()}
    masked = [image]
    for left, top, right, bottom in boxes.values():
        seen = torch.zeros_like(image)
        seen[:, top:bottom, left:right] = image[:, top:bottom, left:right]
        masked.append(seen)
    with torch.no_grad():
        whole, *others = _cell(context, torch.stack(masked), place.cell)
    out = {
        name: {
            "cosine": float(F.cosine_similarity(other, concept, 0)),
            "left": float(other @ concept / (whole @ concept)),
        }
        for name, other in zip(boxes, others, strict=True)
    }
    if energy:
        map_ = _energy(context, image, place.cell, concept)
        x, y = (float((map_.sum(axis) * torch.arange(map_.shape[1 - axis])).sum()) for axis in (0, 1))
        for name, (left, top, right, bottom) in boxes.items():
            out[name]["energy"] = float(map_[top:bottom, left:right].sum())
            out[name]["distance"] = float(np.hypot(x - (left + right - 1) / 2, y - (top + bottom - 1) / 2))
    return out


def _cell(context: Context, images: Tensor, cell: int) -> Tensor:
    """Pooled activations (n, c) of one cell."""
    activations = context.split.trunk(images)
    return F.avg_pool2d(activations, context.settings.pool).flatten(2)[:, :, cell]


def _energy(context: Context, image: Tensor, cell: int, concept: Tensor) -> Tensor:
    """Squared gradient (S, T) of the cell's projection on the concept, summed to 1."""
    own = image[None].clone().requires_grad_()
    (gradient,) = torch.autograd.grad((_cell(context, own, cell) @ concept).sum(), own)
    found = gradient[0].pow(2).sum(0)
    return found / found.sum()


def _print(rows: Sequence[dict[str, Any]], crops: Crops, image: tuple[int, int]) -> None:
    few = [row for row in rows if row["images"] < 10]
    many = [row for row in rows if row["images"] >= 10]
    paper, cell = (replace(crops, at=at).size(image) for at in ("paper", "cell"))
    print(f"crops of {paper} and {cell} pixels")
    for title, chosen in (("all", rows), ("10 images or more", many), ("fewer", few)):
        print(f"\n{title}: n = {len(chosen)}")
        for kind, key in (*((mask, key) for mask in MASKS for key in ("score", "predicted")),):
            _line(f"{kind}, {key}", [{name: row[kind][name][key] for name in CUTS} for row in chosen])
        for key in ("cosine", "left", "energy", "distance"):
            found = [row["response"] for row in chosen if "response" in row]
            asked = [response for response in found if key in response["paper"]]
            _line(key, [{name: response[name][key] for name in CUTS} for response in asked])


def _line(title: str, values: Sequence[dict[str, float]]) -> None:
    if not values:
        return
    generator = np.random.default_rng(0)
    draws = generator.integers(len(values), size=(DRAWS, len(values)))
    paper = np.array([one["paper"] for one in values])
    told = [f"paper {paper.mean():.3f}"]
    for name in ("cell", "centred"):
        own = np.array([one[name] for one in values])
        low, high = np.quantile((own - paper)[draws].mean(1), (0.025, 0.975))
        told.append(f"{name} {own.mean():.3f} ({(own - paper).mean():+.3f} [{low:+.3f}, {high:+.3f}])")
    print(f"  {title} (n = {len(values)}): {'; '.join(told)}")


if __name__ == "__main__":
    main()
