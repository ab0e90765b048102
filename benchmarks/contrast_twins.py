"""Every way to make a contrast on pictures of known parts, and on a net that segments.

    python benchmarks/contrast_twins.py twins --store runs/t --out twins.jsonl
    python benchmarks/contrast_twins.py dogs --store runs/v --out dogs.jsonl
    python benchmarks/contrast_twins.py print --out twins.jsonl dogs.jsonl

``twins`` are the planted hawk and owl, which a sticker tells apart, on ten pools; ``dogs`` are dog and cat of
a DeepLabV3 on VOC's classes. Both directions; each is written as it is done.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import contrast_tables
import kept_rows
import numpy as np
import torch
from real_data import POOL, SHARED

from whyclass import Settings, Study
from whyclass.concepts.hyperplane_training import hyperplanes
from whyclass.concepts.nmf import factorise, strongest
from whyclass.concepts.planes import PLANES
from whyclass.errors import AttributionError
from whyclass.models.described import Loaded
from whyclass.models.preprocessing import Preprocessing
from whyclass.planted import demo, judgement, world
from whyclass.pool import nearest_crops
from whyclass.records import Factors, Spot
from whyclass.report import contrast_verdict
from whyclass.study import sweeps
from whyclass.study.class_evidence import ClassEvidence, evidence_of
from whyclass.study.context import Context
from whyclass.study.contrast import fitting_of, held_out
from whyclass.study.contrast_scores import CONTRASTS
from whyclass.study.contrast_tests import Attempt
from whyclass.study.crop_pictures import piece
from whyclass.study.plane_trust import Plane
from whyclass.study.prediction_test_and_control import masks_of, stitched_pieces

SEEDS, PICTURES, SHOWN = 10, 60, 12
"""Pools of twins, pictures of each class, and pictures of a class that heat is judged on."""

LEAST = Settings(null_crops=0, null_cells=0, null_scores=0, fillings=0, refits=0)

Row = dict[str, Any]
Judge = Callable[[ClassEvidence, Factors], Row]


def tried(context: Context, a: int, b: int, judge: Judge) -> Iterator[Row]:
    """Every plane and every way to score cells, of A against B; ``judge`` is asked about A's concepts."""
    own, other = evidence_of(context, a), evidence_of(context, b)
    cells = {a: own.cells, b: other.cells}
    for name in PLANES:
        started = time.perf_counter()
        found = hyperplanes(cells, [(a, b)], replace(fitting_of(context), plane=name))
        w, bias, unit = found.weights[0], float(found.biases[0]), float(found.apart[0])
        laid = Plane(w, bias, None, unit)
        sweep, unseen = sweeps.shifting(Attempt(other, a, w, bias, unit)), held_out(found, 0)
        at, random = sweep.best if sweep.first is None else sweep.first, sweep.random
        assert random is not None
        shifted = {
            "training": float(found.training.balanced[0]),
            "held_out": None if unseen is None else unseen.balanced,
            "default": sweep.steps[0].target,
            "shifted": contrast_verdict.highest(sweep),
            "swapped": sweep.swapped,
            "outcome": contrast_verdict.outcome(sweep),
            "first": None if sweep.first is None else sweep.steps[sweep.first].at * unit,
            "there": sweep.steps[at].target,
            "random there": random.high[at],
            "random mean there": random.mean[at],
            "reversed there": sweep.reversed.high[at],
            "random anywhere": max(random.highest),
            "winner": sweep.steps[sweep.best].winner.index,
        }
        for by in CONTRASTS if name in ("paper", "balanced") else ("plane",):
            if name == "paper" and by == "attribution":  # it knows no plane
                continue
            variant = by if by == "attribution" else f"{name}, {by}"
            yield {"variant": variant, **shifted, **_judged(own, CONTRASTS[by].scores(own, b, laid), judge)}
        print(f"  {name}: {time.perf_counter() - started:.1f} s", flush=True)
    yield {"variant": "each class alone", **_judged(own, own.evidence.scores, judge)}


def _judged(own: ClassEvidence, scores: np.ndarray, judge: Judge) -> Row:
    try:
        factors = factorise(own.activations, scores, own.context.settings)
    except AttributionError:  # nothing speaks for it
        return {}
    return judge(own, factors)


def crops_of(own: ClassEvidence, other: int, factors: Factors) -> Row:
    """The prediction tests of a contrast, cut as settings say."""
    context = own.context
    settings, masks = context.settings, masks_of(context, own.target, [other])
    cut = replace(context, settings=replace(settings, crop_at=settings.pair_crop_at))
    (found,) = nearest_crops.nearest(
        context.index, [nearest_crops.Query(factors.concepts, masks)], settings.pair_crops
    )
    row: Row = {"predicted": []}
    for name, places in found.items():
        best = [place for near in places for place in near]
        images = cut.read([place.position for place in best])
        test = stitched_pieces(
            cut, [piece(cut, place, image.tensor) for place, image in zip(best, images, strict=True)]
        ).scores
        row[name] = float(test[own.target])
        row["predicted"] += [name] if context.task.counts(test, own.target) else []
    return row


# ---------------------------------------------------------------- the planted twins


def twins(options: argparse.Namespace) -> Iterator[tuple[Row, Callable[[], Iterator[Row]]]]:
    """Both directions on each pool: what they are, and how their rows come."""
    two = [world.class_index(name) for name in world.TWINS]
    for seed in options.seeds:
        for a, b in (two, two[::-1]):
            yield (
                {"part": "twins", "seed": seed, "pair": [a, b]},
                lambda seed=seed, a=a, b=b: _twin(options, seed, a, b),  # type: ignore[misc]
            )


def _twin(options: argparse.Namespace, seed: int, a: int, b: int) -> Iterator[Row]:
    pool = world.write_pool(options.store / f"pool{seed}", options.pictures, seed)
    settings = replace(LEAST, seed=seed, precision="float32")
    context = Study(
        demo.loaded(), world.LAYER, pool, options.store / f"store{seed}", settings, progress=False
    ).context()
    truth = {item.path: world.pool_picture(item.path, seed).masks for item in context.index.items}

    def judge(own: ClassEvidence, factors: Factors) -> Row:
        return _parts(own, factors, truth, seed) | crops_of(own, b, factors)

    return tried(context, a, b, judge)


def _parts(own: ClassEvidence, factors: Factors, truth: judgement.Truth, seed: int) -> Row:
    """Which parts the concepts point to, by the rule of the demonstration."""
    context = own.context
    rows = strongest(factors.embeddings, SHOWN)
    every = {"including": context.index.usable}
    (found,) = nearest_crops.nearest(
        context.index, [nearest_crops.Query(factors.concepts, every)], context.settings.crops
    )
    size = context.preprocessing.crop
    crops = [
        [Spot(context.source(one.position), one.box(context.crops, size), one.cosine) for one in near]
        for near in found["including"]
    ]
    paths = [context.index.items[int(own.chosen[row])].path for row in rows]
    heat = factors.embeddings[rows].transpose(3, 0, 1, 2)
    findings = judgement.judge_shown(judgement.Shown(own.target, paths, heat, crops), truth, seed)
    sticker = next(one for one in findings if one.part == world.SHORTCUT)
    return {
        "found": [one.part for one in findings if one.found],
        "sticker crops": sticker.crops,
        "sticker heat": sticker.overlap,
    }


# ---------------------------------------------------------------- dog and cat


DOG, CAT = 12, 8
"""Of VOC's classes."""

VOC = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train"),
    "tvmonitor",
)


def dogs(options: argparse.Namespace) -> Iterator[tuple[Row, Callable[[], Iterator[Row]]]]:
    """Both directions of one pair."""
    held: list[Context] = []

    def rows(a: int, b: int) -> Iterator[Row]:
        held[:] = held or [_segmenter(options)]
        return tried(held[0], a, b, lambda own, factors: crops_of(own, b, factors))

    for a, b in ((CAT, DOG),) if options.turned else ((DOG, CAT), (CAT, DOG)):
        yield {"part": "dogs", "pair": [a, b]}, lambda a=a, b=b: rows(a, b)  # type: ignore[misc]


def _segmenter(options: argparse.Namespace) -> Context:
    from safetensors.torch import load_file

    file = SHARED / "models/deeplabv3_mnv2.py"
    spec = importlib.util.spec_from_file_location("deeplabv3_mnv2", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    net = module.DeepLabV3MNV2().eval()
    net.load_state_dict(load_file(str(SHARED / "models/deeplabv3_mnv2_voc.safetensors")))
    half = (128 / 255,) * 3
    loaded = Loaded("DeepLabV3", net, Preprocessing(257, (257, 257), mean=half, std=half), VOC)
    least = replace(LEAST, controls=options.controls, copies=options.copies, images=options.pictures)
    settings = replace(least, target="confident", pool=4)
    return Study(
        loaded,
        "concat_projection",
        [str(one) for one in POOL[options.sample :]],
        options.store,
        settings,
        device=options.device,
    ).context()


# ---------------------------------------------------------------- tables


def show(rows: list[Row]) -> None:
    """By part, direction and variant, with paired differences over pools to the paper's plane."""
    for part, pair in sorted({(row["part"], tuple(row["pair"])) for row in rows}):
        mine = [row for row in rows if (row["part"], tuple(row["pair"])) == (part, pair)]
        print(
            f"\n## {part}, {pair[0]} against {pair[1]}\n\n| "
            + " | ".join(("variant", *SHOWN_OF, *MORE))
            + " |"
        )
        for variant in dict.fromkeys(row["variant"] for row in mine):
            own = [row for row in mine if row["variant"] == variant]
            print(f"| {variant} | " + " | ".join(_cells(own, mine)) + " |")


SHOWN_OF = ("held_out", "shifted", "first", "there", "random there", "reversed there")
MORE = ("passed", "including", "excluding", "neither", "sticker", "it alone", "other parts")
"""Columns; ``there`` is at the first step that swaps, or else the best."""


def _cells(own: list[Row], every: list[Row]) -> Iterator[str]:
    n = len(own)
    for name in SHOWN_OF:
        yield _mean(own, every, name)
    yield f"{sum(row.get('outcome') == 'passed' for row in own)} of {n}"
    for name in ("including", "excluding", "neither"):
        known = [row.get(name, 0.0) for row in own]
        yield f"{sum(name in row.get('predicted', []) for row in own)} of {n} ({np.mean(known):.2f})"
    if own[0]["part"] == "twins":
        found = [row.get("found", []) for row in own]
        yield f"{sum(world.SHORTCUT in one for one in found)}"
        yield f"{sum(one == [world.SHORTCUT] for one in found)}"
        yield f"{sum(len(set(one) - {world.SHORTCUT}) for one in found)}"


def _mean(own: list[Row], every: list[Row], name: str) -> str:
    known = [row[name] for row in own if row.get(name) is not None]
    if not known:
        return "none"
    base = {row.get("seed"): row.get(name) for row in every if row["variant"] == "paper, plane"}
    two = [(row[name], base[row.get("seed")]) for row in own if row.get(name) is not None]
    difference = np.array([mine - theirs for mine, theirs in two if theirs is not None])
    if len(difference) < 2 or own[0]["variant"] == "paper, plane":
        return f"{np.mean(known):.3f}"
    low, high = contrast_tables.interval(difference, list(range(len(difference))))
    return f"{np.mean(known):.3f} ({difference.mean():+.3f} [{low:+.3f}, {high:+.3f}])"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("twins", "dogs", "print"))
    parser.add_argument("--seeds", type=int, nargs="+", default=range(SEEDS), help="of the pools of twins")
    parser.add_argument("--turned", action="store_true", help="cat against dog alone")
    parser.add_argument("--pictures", type=int, default=PICTURES, help="of each class")
    parser.add_argument("--copies", type=int, default=20)
    parser.add_argument("--controls", type=int, default=20, help="random directions of dog and cat")
    parser.add_argument("--sample", action="store_true", help="one photograph of each class for dog and cat")
    kept_rows.add_options(parser)
    options = parser.parse_args()
    if options.command == "print":
        show(kept_rows.read(*options.out))
        return
    until = time.time() + 60 * options.minutes
    done = [{k: row.get(k) for k in ("part", "seed", "pair")} for row in kept_rows.read(*options.out)]
    for facts, rows in list({"twins": twins, "dogs": dogs}[options.command](options))[options.part]:
        if {"seed": None} | facts in done:
            continue
        if time.time() > until:
            return
        kept_rows.add(options.out[0], [facts | row for row in rows()])
        print(facts, flush=True)
    torch.set_num_threads(1)


if __name__ == "__main__":
    main()
