"""A pool of a million images on this machine: real files, the planted net, synthetic activations.

A few hundred planted pictures lie under a million names (hard links), so that listing and hashing are those
of a million files. Their outputs and cells are the net's, computed once, and each image's with some noise of
its own: what is a pass over the pool in everything but the net. Then all classes are audited. Told are
processor seconds and memory by stage; what grows with the pool shows in two sizes.

Of memory only what is the process's own is counted (``RssAnon``): pages of mapped files are the system's, and
it takes them back.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from whyclass.planted import demo, world
from whyclass.pool import images as pool_images
from whyclass.pool import indexing_pass
from whyclass.pool.indexing_pass import Made, Plan
from whyclass.pool.nearest_crops import Query, best_of
from whyclass.pool.value_ranges import NOTHING_SEEN
from whyclass.progress import Progress
from whyclass.rows import Rows
from whyclass.settings import Settings
from whyclass.study import audit
from whyclass.study.study import Study

PICTURES, TOGETHER = 50, 1000
"""Pictures of each planted class, and names in a folder."""

NOISE = 0.05
"""Of each cell's values, against the length of its vector."""

EVERY = 0.05
"""Seconds between two looks at the memory."""


class Watch:
    """Processor seconds and memory of one stage after the other."""

    def __init__(self, report: Path) -> None:
        self.report, self.stages = report, dict[str, dict[str, float]]()
        self._peak, self._samples = 0.0, list[float]()
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while True:
            now = _own()
            self._peak = max(self._peak, now)
            self._samples.append(now)
            time.sleep(EVERY)

    @contextmanager
    def stage(self, name: str) -> Iterator[dict[str, float]]:
        """Measure a block; it may add numbers of its own."""
        found: dict[str, float] = {}
        before, self._peak = _own(), 0.0
        self._samples.clear()
        wall, busy = time.perf_counter(), time.process_time()
        yield found
        found |= {"seconds": time.perf_counter() - wall, "processor seconds": time.process_time() - busy}
        some = np.array([*self._samples, _own()])
        halves = some[len(some) // 4 : len(some) // 2], some[3 * len(some) // 4 :]
        found |= {
            "MB before": before,
            "MB at most": max(self._peak, some.max()),
            "MB after": _own(),
            "MB second quarter": float(np.median(halves[0])) if len(halves[0]) else before,
            "MB last quarter": float(np.median(halves[1])) if len(halves[1]) else before,
        }
        self.stages[name] = found
        print(f"{name}: " + ", ".join(f"{key} {value:,.1f}" for key, value in found.items()), flush=True)
        self.report.write_text(json.dumps(self.stages, indent=1))


def _own() -> float:
    """Megabytes of the process's own memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1e3


def simulate(options: argparse.Namespace) -> None:
    """All stages at one size."""
    torch.set_num_threads(1)
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    watch = Watch(folder / f"scale-{options.images}.json")
    place, store = folder / f"pool-{options.images}", folder / f"store-{options.images}"
    if not place.exists():
        _link(folder / "pictures", place, options.images)
    with watch.stage("listing and hashing"):
        pool = pool_images.pool(place)
    with watch.stage("opening"):
        settings = Settings(copies=8, starts=2)
        study = Study(demo.loaded(), world.LAYER, pool, store, settings, progress=False)
    with watch.stage("pass over the pool") as found:
        study.makes = Synthetic(study).rows
        study.index()
        found["MB on disk"] = _size(store)
    with watch.stage("opening again"):
        study = Study(demo.loaded(), world.LAYER, pool, store, settings, progress=False)
        study.index()
    _audit(watch, study, options.classes)
    with watch.stage("audit once more"):
        audit.audit(study.context(), _asked(study, options.classes))
        audit.collected(study.context())
    shutil.rmtree(store)


def search(options: argparse.Namespace) -> None:
    """Crops searched in cells as many and as wide as ResNet-50's of a pool, in a file that holds nothing."""
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    watch = Watch(options.folder / f"search-{options.images}.json")
    rows = Rows(options.folder / "cells.f16", (9, 2048), "<f2")  # of layer4.2
    with rows.path.open("wb") as file:
        file.truncate(options.images * rows.row_bytes)
    every, rng = rows.read(options.images), np.random.default_rng(0)
    masks = {"including": np.ones(options.images, bool), "excluding": rng.random(options.images) < 0.999}
    queries = [Query(rng.random((6, 2048), np.float32), masks) for _ in range(3)]
    with watch.stage("search") as found:
        found["GB searched"] = every.nbytes / 1e9
        best_of(every, queries, 8, slice(0, None))
        found["GB on disk"] = rows.path.stat().st_blocks * 512 / 1e9
    rows.path.unlink()


def _link(pictures: Path, place: Path, count: int) -> None:
    if not pictures.exists():
        world.write_pool(pictures, PICTURES)
    files = sorted(pictures.rglob("*.png"))
    for number in range(count):
        file = files[number % len(files)]
        to = place / f"{number // TOGETHER:04d}" / file.parent.name
        if number % TOGETHER < len(files):
            to.mkdir(parents=True, exist_ok=True)
        os.link(file, to / f"{number:07d}.png")


def _asked(study: Study, count: int) -> audit.Asked:
    classes = tuple(study.context().classes()[:count])
    return audit.Asked(classes, classes, ("prediction",), 1, False)


def _audit(watch: Watch, study: Study, count: int) -> None:
    """The classes' findings, with what they are compared with; pictures come from their files."""
    context = study.context()
    with watch.stage("classes and labels") as found:
        found["classes"] = len(context.classes())
        assert (context.labels >= 0).all()
    study.progress = watched = Progress()
    with watch.stage("audit") as found:
        audit.audit(study.context(), _asked(study, count))
        found |= {f"seconds of {name}": value for name, value in watched.seconds.items()}
        found["MB on disk"] = _size(study.store.folder)


class Synthetic:
    """Rows of a pass: the net's own for each picture, with noise that an image has alone."""

    def __init__(self, study: Study) -> None:
        items = study.pool.items
        first: dict[str, int] = {}
        for position, item in enumerate(items):
            first.setdefault(item.digest, position)
        self._row = {digest: row for row, digest in enumerate(first)}
        positions = list(first.values())
        outputs, cells = [], []
        for at in range(0, len(positions), indexing_pass.BATCH):
            some = positions[at : at + indexing_pass.BATCH]
            images = torch.stack([study.pool.sample(p, study.loaded.preprocessing).tensor for p in some])
            with torch.no_grad():
                activations = study.split.trunk(images)
                outputs.append(study.split.head(activations, images).numpy())
            cells.append(indexing_pass.pooled_cells(activations, study.settings.pool).numpy())
        self._outputs, self._cells = np.concatenate(outputs), np.concatenate(cells)

    def rows(self, plan: Plan, start: int) -> Iterator[Made]:
        """As the pass makes them."""
        items = plan.pool.items
        for begin in range(start, len(items), indexing_pass.BATCH):
            block = items[begin : begin + indexing_pass.BATCH]
            rows = [self._row[item.digest] for item in block]
            noise = np.random.default_rng(begin).random((len(rows), *self._cells.shape[1:]), np.float32)
            cells = self._cells[rows] * (1 + NOISE * (noise - 0.5))
            cells /= np.maximum(np.linalg.norm(cells, axis=2, keepdims=True), 1e-12)
            yield Made(self._outputs[rows], cells.astype(np.float16), {}, NOTHING_SEEN)


def _size(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
