"""Methods that find concepts, on equal terms: the planted world, whose parts are known, and a real ResNet-50.

A row for each class and method, written as they come and continued where there are some, so that a run can be
made in pieces. ``print`` tells the tables with 95 % intervals over classes (of the planted world: over cases,
those of one seed drawn together), and marks paired differences from whyclass: (+) and (-) where a test that
turns the signs of classes (of seeds) gives p of 0.05 or less.

The ResNet-50's pool is decoded and passed once, by ``--prepare``. After that any number of processes make
parts of the same classes from the same store, each into a file of its own, also several on one card.

    python benchmarks/comparison.py planted --seeds 10 --minutes 9 --out planted.jsonl
    python benchmarks/comparison.py resnet50 --store S --prepare
    python benchmarks/comparison.py resnet50 --store S --part 1/2 --out real1.jsonl
    python benchmarks/comparison.py resnet50 --store S --part 2/2 --out real2.jsonl
    python benchmarks/comparison.py print real1.jsonl real2.jsonl
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kept_rows
import numpy as np
import real_data
import torch
from kept_rows import Row

from whyclass import Settings, Study
from whyclass.intervals import interval_of_clusters
from whyclass.models.class_names import resolve
from whyclass.planted import demo, world
from whyclass.planted.comparison import recalled
from whyclass.report.comparison_measures import BY_NAME, MEASURES, TIE, numbers_of
from whyclass.settings import COMPARED_METHODS
from whyclass.study import compare
from whyclass.study.class_evidence import evidence_of
from whyclass.study.prediction_test_and_control import Controls

PLANTED = Settings(
    precision="float32", examples=12, null_crops=99, null_cells=9, null_scores=5, fillings=4, refits=1
)
REAL = Settings(
    images=30,
    starts=4,
    examples=1,
    crops=4,
    null_crops=99,
    null_cells=9,
    null_scores=5,
    fillings=4,
    refits=1,
)
SMALL = Settings(
    images=8,
    copies=3,
    starts=2,
    examples=1,
    crops=4,
    null_crops=19,
    null_cells=0,
    null_scores=0,
    fillings=2,
    refits=1,
)
"""What differs from the defaults: ``REAL`` is sized to a card, ``SMALL`` to two cores."""

SIZES = {"real": REAL, "small": SMALL, "default": Settings()}

ASKED = "layer3.5:imagenette,layer4.2:50"
"""Layers, each with how many classes: those predicted most, or the ten of Imagenette."""

CLASSES = tuple(planted.name for planted in world.CLASSES[:-1])
IMAGES = 30


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("planted", "resnet50"):
        one = commands.add_parser(name)
        one.add_argument("--out", type=Path, required=name == "planted")
        one.add_argument("--minutes", type=float, default=9, help="no class is begun later")
        one.add_argument("--methods", default=",".join(COMPARED_METHODS))
        one.add_argument("--threads", type=int, default=2)
        if name == "planted":
            one.add_argument("--seeds", type=int, default=10)
            one.add_argument("--first", type=int, default=0, help="seed to begin with")
        else:
            _asked_of_resnet50(one)
    told = commands.add_parser("print")
    told.add_argument("rows", type=Path, nargs="+")
    told.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    if options.command == "print":
        _print(kept_rows.read(*options.rows), options.markdown)
        return
    if options.out is None and not options.prepare:
        parser.error("--out is missing")
    torch.set_num_threads(options.threads)
    {"planted": _planted, "resnet50": _resnet50}[options.command](options)


def _asked_of_resnet50(one: argparse.ArgumentParser) -> None:
    one.add_argument("--store", type=Path, required=True)
    one.add_argument("--asked", default=ASKED, help="LAYER:CLASSES with commas; imagenette are its ten")
    one.add_argument("--only", default="", help="indexes or names of classes instead, with commas")
    one.add_argument("--size", choices=SIZES, default="real", help="settings")
    one.add_argument("--pool", type=Path, nargs="+", default=list(real_data.LARGE_POOL))
    one.add_argument("--device", default="auto")
    kept_rows.add_part(one)
    one.add_argument("--prepare", action="store_true", help="only pass the pool, for parts that follow")
    one.add_argument("--timed", action="store_true", help="explain each class first, and tell how long")


class Rows:
    """Rows of a file, to which those of a class are added at a time."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._file, self._ends = options.out, time.perf_counter() + 60 * options.minutes
        self.rows: list[Row] = kept_rows.read(options.out)

    def lacks(self, **wanted: Any) -> bool:
        """Whether there is time, and no row of this case yet."""
        there = any(all(row[name] == value for name, value in wanted.items()) for row in self.rows)
        return not there and time.perf_counter() < self._ends

    def add(self, rows: Sequence[Row]) -> None:
        self.rows += rows
        kept_rows.add(self._file, rows)


def _planted(options: argparse.Namespace) -> None:
    rows, methods = Rows(options), options.methods.split(",")
    for seed in range(options.first, options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            study = None
            for name in CLASSES:
                if not rows.lacks(seed=seed, **{"class": name}):
                    continue
                if study is None:
                    study, truth = _world(Path(folder), seed)
                rows.add(_case(study, name, methods, truth, seed))


def _world(folder: Path, seed: int) -> tuple[Study, dict[str, Any]]:
    world.write_pool(folder / "pool", IMAGES, seed)
    settings = Settings(**{**vars(PLANTED), "seed": seed})
    study = Study(demo.loaded(), world.LAYER, folder / "pool", folder / "store", settings, progress=False)
    return study, {item.path: world.pool_picture(item.path, seed).masks for item in study.pool.items}


def _case(study: Study, name: str, methods: Sequence[str], truth: dict[str, Any], seed: int) -> list[Row]:
    started = time.perf_counter()
    found = study.compare([name], methods)
    seconds = time.perf_counter() - started
    print(f"seed {seed}, {name}: {seconds:.1f} s", flush=True)
    parts = {one.method: one for one in recalled(found, truth, seed)}
    rows = _of(found.classes[0], seed, {"seed": seed, "class": name})
    for row in rows:
        if (judged := parts.get(row["method"])) is not None:
            row["recall"] = judged.found / judged.planted
            row["invented"] = judged.invented
    return rows


def _of(one: Any, cluster: int, facts: Row) -> list[Row]:
    return [
        {**facts, "cluster": cluster, "images": one.n_images, "method": result.method, **numbers_of(result)}
        for result in one.results
        if not result.problem
    ]


def _resnet50(options: argparse.Namespace) -> None:
    methods = options.methods.split(",")
    rows = None if options.prepare else Rows(options)
    for asked in options.asked.split(","):
        layer, _, classes = asked.partition(":")
        study = real_data.prepared(
            layer, options.pool, options.store, SIZES[options.size], device=options.device
        )
        if rows is not None:
            wanted = _wanted(study, classes, options.only)[options.part]
            _compared(study, wanted, methods, rows, options.timed)


def _wanted(study: Study, classes: str, only: str) -> list[int]:
    if not only:
        return real_data.most_predicted(study, classes)
    return [resolve(name, study.loaded.class_names, study.task.classes) for name in only.split(",")]


def _compared(study: Study, classes: Sequence[int], methods: Sequence[str], rows: Rows, timed: bool) -> None:
    context = study.context()
    controls, asked = Controls(context), compare.methods_of(context.split.shape[0], methods)
    for target in classes:
        facts: Row = {"class": target, "layer": study.layer}
        if not rows.lacks(**facts):
            continue
        if timed:
            with _clocked(facts, "explained"):
                study.explain(target)
        with _clocked(facts, "compared"):
            found = compare.compared(evidence_of(context, target), asked, controls)
        print(f"{study.layer} {context.name(target)}: {facts}", flush=True)
        rows.add(_of(found, target, facts))


@contextmanager
def _clocked(facts: Row, name: str) -> Iterator[None]:
    """Write down how long a block takes, and how long processors work on it."""
    started, worked = time.perf_counter(), time.process_time()
    yield
    facts[f"{name}_s"] = round(time.perf_counter() - started, 1)
    facts[f"{name}_cpu_s"] = round(time.process_time() - worked, 1)


CERTAIN, EXACT, FLIPS = 0.05, 12, 20_000
"""Of the test of signs: p at most, clusters whose signs are all tried, and draws of signs of more."""

EXTRA = {"recall": "parts found", "invented": "invented"}


def _print(rows: Sequence[Row], markdown: bool) -> None:
    titles = {**EXTRA, **{measure.name: measure.title for measure in MEASURES}}
    layers = dict.fromkeys(row.get("layer", "planted") for row in rows)
    for layer in layers:
        own = [row for row in rows if row.get("layer", "planted") == layer]
        methods = list(dict.fromkeys(row["method"] for row in own))
        cases = {(row["cluster"], row["class"]) for row in own}
        print(f"\n{layer}: {len(cases)} cases, {len({row['cluster'] for row in own})} clusters\n")
        names = [name for name in titles if any(name in row for row in own)]
        if markdown:
            print("| measure | " + " | ".join(methods) + " |\n" + "|---" * (len(methods) + 1) + "|")
        for name in names:
            best = _best(own, methods, name) if markdown else ()
            told = [_told(own, method, name, 2 if markdown else 3, method in best) for method in methods]
            line = " | ".join(told)
            print(f"| {titles[name]} | {line} |" if markdown else f"{titles[name]:22}{line}")


BETTER = {"recall": "high", "invented": "low"} | {measure.name: measure.better for measure in MEASURES}


def _best(rows: Sequence[Row], methods: Sequence[str], name: str) -> Sequence[str]:
    """The methods with the best mean, where one end of the measure is better."""
    if not BETTER.get(name):
        return ()
    means = {method: values.mean() for method in methods if len(values := _values(rows, method, name)[0])}
    top = (max if BETTER[name] == "high" else min)(means.values())
    return [method for method, mean in means.items() if abs(mean - top) < TIE]


def _told(rows: Sequence[Row], method: str, name: str, digits: int, best: bool) -> str:
    """Mean with its interval; a difference from whyclass whose interval leaves out 0 is marked."""
    values, clusters = _values(rows, method, name)
    if not len(values):
        return ""
    within = BY_NAME[name].within if name in BY_NAME else None
    ends = _interval(values, clusters, within or (float(values.min()), float(values.max())))
    mark = _mark(rows, method, name) if method != "whyclass" else ""
    mean = f"{values.mean():z.{digits}f}"
    told = f"**{mean}**{mark}" if best else f"{mean}{mark}"
    return told + (f" [{ends[0]:z.{digits}f}, {ends[1]:z.{digits}f}]" if ends else "")


def _values(rows: Sequence[Row], method: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    own = [row for row in rows if row["method"] == method and name in row]
    return np.array([row[name] for row in own], float), np.array([row["cluster"] for row in own])


def _mark(rows: Sequence[Row], method: str, name: str) -> str:
    """``+`` or ``-`` where the paired difference from whyclass is that, by its signs over clusters."""
    by_case: Callable[[str], dict[Any, Row]] = lambda which: {  # noqa: E731
        (row["cluster"], row["class"]): row for row in rows if row["method"] == which and name in row
    }
    ours, theirs = by_case("whyclass"), by_case(method)
    both = sorted(set(ours) & set(theirs), key=str)
    if not both:
        return ""
    apart = np.array([theirs[case][name] - ours[case][name] for case in both], float)
    _, cluster = np.unique([str(case[0]) for case in both], return_inverse=True)
    sums = np.bincount(cluster, apart)
    if _p_of_signs(sums) > CERTAIN:
        return ""
    return " (+)" if sums.sum() > 0 else " (-)"


def _p_of_signs(sums: np.ndarray) -> float:
    """How often the sum of numbers (n,) lies as far from 0 when each has either sign: exact to 12 of them."""
    n = len(sums)
    if n <= EXACT:
        signs = np.array(list(itertools.product((-1, 1), repeat=n)))
    else:
        signs = np.random.default_rng(0).choice((-1, 1), (FLIPS, n))
        signs[0] = 1  # the one that was seen
    far = np.abs(signs @ sums) >= abs(sums.sum()) * (1 - 1e-9)
    return float(far.mean())


def _interval(
    values: np.ndarray, clusters: np.ndarray, within: tuple[float, float]
) -> tuple[float, float] | None:
    return interval_of_clusters(values, clusters, np.random.default_rng(0), within)


if __name__ == "__main__":
    main()
