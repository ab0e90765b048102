"""The pass over the pool in bfloat16 (``precision="bfloat16"``) against float32: ranks of crops, and seconds.

    python benchmarks/pool_precision.py planted
    python benchmarks/pool_precision.py resnet --images 10 --others 100 --classes 4

Concepts of the classes that are predicted most often are sought in both passes: how many of the nearest crops
are the same, how the images' order agrees, which predictions differ. The passes' seconds are of processors.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from real_data import SHARED, others, resnet50
from scipy.stats import spearmanr

from whyclass import Settings, Study
from whyclass.models.fast_trunk import fast_trunk
from whyclass.planted import demo, world
from whyclass.pool import nearest_crops
from whyclass.pool.indexing_pass import Index
from whyclass.study.class_evidence import evidence_of

NEAREST = 8
"""Crops of each concept."""

Open = Callable[[str, Settings], Study]


def planted(options: argparse.Namespace) -> Open:
    """The planted world."""
    pool = world.write_pool(Path(tempfile.mkdtemp()) / "pool", options.images)
    return lambda layer, settings: Study(demo.loaded(), layer, pool, None, settings, progress=False)


def resnet(options: argparse.Namespace) -> Open:
    """ResNet-50 on so many images of each of ten classes, and images of others."""
    folders = sorted((SHARED / "imagenette/val").iterdir())
    files = [file for folder in folders for file in sorted(folder.iterdir())[: options.images]]
    files += others(options.others)
    loaded = resnet50()
    return lambda layer, settings: Study(loaded, layer, files, None, settings, progress=False)


def passed(opened: Open, layer: str, precision: str) -> tuple[Study, float]:
    """A study after its pass over the pool, and the processor seconds of that."""
    study = opened(layer, Settings(precision=precision, copies="auto", starts=2, images=20))
    study.trunk(torch.bfloat16 if precision == "bfloat16" else torch.float32)  # made before the clock starts
    started = time.process_time()
    study.index()
    return study, time.process_time() - started


def best(index: Index, concepts: np.ndarray) -> np.ndarray:
    """Cosine (N, k) of each image's best pooled cell with each concept."""
    units = concepts / np.linalg.norm(concepts, axis=1, keepdims=True)
    return np.stack([(np.asarray(cells, np.float32) @ units.T).max(0) for cells in index.cells])


def compared(opened: Open, layer: str, options: argparse.Namespace) -> Iterator[str]:
    """Lines of one layer."""
    (full, slow), (half, fast) = (passed(opened, layer, precision) for precision in ("float32", "bfloat16"))
    indexes = full.index(), half.index()
    usable = indexes[0].usable
    same = np.mean(indexes[0].predicted == indexes[1].predicted)
    classes = sorted(full.classes(), key=lambda one: (-one.n_images, one.index))[: options.classes]
    shared, first, order, off = [], [], [], []
    for one in classes:
        concepts = evidence_of(full.context(), one.index).factors.concepts
        query = nearest_crops.Query(concepts, {"all": usable}, full.context().clipped)
        places = [nearest_crops.nearest(index, [query], NEAREST)[0]["all"] for index in indexes]
        for mine, theirs in zip(*places, strict=True):
            cells = [[(place.position, place.cell) for place in found] for found in (mine, theirs)]
            shared.append(len({*cells[0]} & {*cells[1]}) / len(cells[0]))
            first.append(cells[0][0] == cells[1][0])
        values = [best(index, concepts)[usable] for index in indexes]
        order += [spearmanr(a, b).statistic for a, b in zip(values[0].T, values[1].T, strict=True)]
        off.append(np.abs(values[0] - values[1]).max())
    reference = fast_trunk(full.split, torch.bfloat16) is full.split.trunk
    yield (
        f"{layer}: {len(usable)} images, {len(shared)} concepts of {len(classes)} classes; the same of "
        f"{NEAREST} crops {np.mean(shared):.1%} (least {np.min(shared):.0%}), the same first crop "
        f"{np.mean(first):.1%}; rank correlation of images {np.mean(order):.5f} (least {np.min(order):.5f}); "
        f"cosines differ by at most {np.max(off):.4f}; predictions the same {same:.1%}"
    )
    yield (
        f"{layer}: pass in float32 {slow:.1f} s, in bfloat16 {fast:.1f} s of processors, {slow / fast:.2f}x"
        + (" (no copy in bfloat16 was close enough)" if reference else "")
    )


POOLS = {"planted": planted, "resnet": resnet}
LAYERS = {"planted": "stage3,stage4", "resnet": "layer4.2,layer3.5"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pool", choices=POOLS)
    parser.add_argument("--layers")
    parser.add_argument("--images", type=int, default=20, help="of each class")
    parser.add_argument("--others", type=int, default=100, help="images of other classes")
    parser.add_argument("--classes", type=int, default=4)
    options = parser.parse_args()
    opened = POOLS[options.pool](options)
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    for layer in (options.layers or LAYERS[options.pool]).split(","):
        for line in compared(opened, layer, options):
            print(line, flush=True)


if __name__ == "__main__":
    main()
