"""What `explain_image` tells of photographs and of planted pictures, against what is so; and what it costs.

    python benchmarks/one_image.py index      # one pass over the photographs, kept
    python benchmarks/one_image.py mistaken   # ten photographs that ResNet-50 takes for something else
    python benchmarks/one_image.py speed      # one photograph, and a hundred in one batch
    python benchmarks/one_image.py planted    # told contributions against parts left out of the picture

All but ``planted`` need the data beside the checkout. Results of a class are kept under ``--store``, so that
a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from real_data import POOL, SHARED, resnet50

import whyclass
from whyclass.planted import demo, image_trial, world

LEAST = 5
"""A photograph is taken whose predicted class is predicted for so many of the pool, or more."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=sorted(DO))
    parser.add_argument("--store", default=str(Path(tempfile.gettempdir()) / "whyclass-one-image"))
    parser.add_argument("--layer", default="layer4.2")
    parser.add_argument("--pages", type=Path, help="folder for the pages of mistaken photographs")
    DO[parser.parse_args().what](parser.parse_args())


def _study(options: argparse.Namespace) -> whyclass.Study:
    """With half the images, copies and starts of the default: concepts of twenty classes are needed."""
    loaded = resnet50()
    settings = whyclass.Settings(images=30, copies=10, starts=4)
    return whyclass.Study(loaded, options.layer, list(POOL), options.store, settings, progress=False)


def _index(options: argparse.Namespace) -> None:
    started = time.perf_counter()
    context = _study(options).context()
    seconds = time.perf_counter() - started
    print(f"{len(context.index.items)} photographs in {seconds:.0f} s; {len(_mistaken(context))} mistaken")


def _mistaken(context) -> list[int]:  # type: ignore[no-untyped-def]
    """Positions of Imagenette's photographs whose folder says another class than the model."""
    mine = [item.path.startswith("imagenette/") for item in context.index.items]
    known = context.labels >= 0
    return np.flatnonzero(known & np.array(mine) & (context.labels != context.index.predicted)).tolist()


def _chosen(context) -> list[int]:  # type: ignore[no-untyped-def]
    """Of each class the first photograph, by path, that is mistaken for a class of enough images."""
    counts = Counter(context.index.predicted.tolist())
    first: dict[int, int] = {}
    for p in _mistaken(context):
        if counts[int(context.index.predicted[p])] >= LEAST:
            first.setdefault(int(context.labels[p]), p)
    return sorted(first.values())


def _photographs(options: argparse.Namespace) -> None:
    study = _study(options)
    context = study.context()
    places = _chosen(context)
    found = 0
    for p in places:
        path = SHARED / context.index.items[p].path
        started = time.perf_counter()
        one = study.explain_image(path)
        swap, sides = one.swap, [side for side in (one.target, one.against) if side]
        assert swap is not None
        found += swap.found
        worst = max(abs(side.missed) / abs(side.logit - side.baseline) for side in sides)
        best = max(one.target.concepts, key=lambda concept: concept.contribution)
        told = {
            "label": one.image.labelled,
            "said": [sides[0].target.name, round(sides[0].target.score, 3)],
            "against": [sides[1].target.name, round(sides[1].target.score, 3)],
            "out": [k + 1 for k in swap.removed],
            "in": [k + 1 for k in swap.added],
            "then": [swap.predicted.name, round(swap.predicted.score, 3)],
            "found": swap.found,
            "none smaller": swap.exact,
            "random": swap.random,
            "residual": round(one.target.residual, 2),
            "missed": f"{worst:.1e}",
            "told and real fall of the best": [
                round(best.contribution, 2),
                round(best.removed.logit, 2) if best.removed else None,
                round(best.removed.random, 2) if best.removed else None,
            ],
            "seconds": round(time.perf_counter() - started, 1),
        }
        print(json.dumps(told, ensure_ascii=False), flush=True)
        if options.pages:
            one.save(options.pages / f"{p}.html")
    print(f"swaps found and verified: {found} of {len(places)}")


def _speed(options: argparse.Namespace) -> None:
    study = _study(options)
    context = study.context()
    paths = [SHARED / item.path for item in context.index.items if item.path.startswith("imagenette/")]
    pair = ("English springer", "French horn")
    study.explain_image(paths[0], *pair)  # both classes' concepts are made and kept
    fresh = _study(options)
    fresh.context()
    print(f"{torch.get_num_threads()} threads, layer {options.layer}")
    for tests in (True, False):
        each = [_timed(partial(fresh.explain_image, path, *pair, tests=tests)) for path in paths[10:15]]
        print(f"one photograph, tests {tests}: {', '.join(each)}", flush=True)
    for tests in (False, True):
        told = _timed(partial(fresh.explain_images, paths[100:200], *pair, tests=tests))
        print(f"100 in one batch, tests {tests}: {told}", flush=True)


def _timed(call: Callable[[], object]) -> str:
    """Seconds by the clock, and of all processors together: on a shared machine these tell more."""
    started, used = time.perf_counter(), time.process_time()
    call()
    return f"{time.perf_counter() - started:.2f} s ({time.process_time() - used:.2f} of processors)"


def _planted(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        pool = world.write_pool(Path(folder) / "pool")
        settings = whyclass.Settings(precision="float32")
        store = Path(folder) / "store"
        study = whyclass.Study(demo.loaded(), world.LAYER, pool, store, settings, progress=False)
        for told in (image_trial.trial(study, 100), image_trial.shortcut(study, 20)):
            for name, value in told._asdict().items():
                print(f"{name:12} {value:.3f}" if isinstance(value, float) else f"{name:12} {value}")


DO = {"index": _index, "mistaken": _photographs, "speed": _speed, "planted": _planted}

if __name__ == "__main__":
    main()
