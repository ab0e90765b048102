"""One JSON object of every command, from the planted world, as a program would read it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

from helpers.contrasts import CASES, contrast
from helpers.explanations import explanation
from helpers.planted_world import Ran, model_arguments, quick_arguments, whyclass
from whyclass.planted import world
from whyclass.report import json_objects

PICTURES = 4


def asked(place: Path) -> Iterator[tuple[str, Ran]]:
    """The kind of object, and the finished call, of every command that costs seconds."""
    model = model_arguments(place / "model")
    pool = world.write_pool(place / "pool", PICTURES)
    at = model.index("--layer")
    layer, model = model[at : at + 2], model[:at] + model[at + 2 :]
    given = [*model, "--images", str(pool), *quick_arguments(), "--quiet", "--json"]
    whole = [*given, *layer, "--store", str(place / "store")]
    two = ["--class", "hawk", "--against", "owl"]
    few = ["--set", "plane_permutations=2", "--set", "plane_bootstraps=2", "--set", "plane_starts=2"]
    patch = next(pool.rglob("*.png"))
    yield "explanation", whyclass("explain", *whole, "--class", "hawk")
    yield "explanation", whyclass("explain", *whole, "--class", "owl", "--repair", *few)
    yield "contrast", whyclass("contrast", *whole, *two, *few)
    yield "insertion-test", whyclass("insert", *whole, *two, "--patch", patch)
    yield "pairs", whyclass("pairs", *whole, "--class", "hawk", "--class", "owl")
    sets = ("--set", "null_cells=2", "--methods", "whyclass,pca")
    yield "comparison", whyclass("compare", *whole, "--class", "hawk", *sets)
    yield "images", whyclass("image", patch, *whole)
    yield "spurious-features", whyclass("spurious", *whole, "--class", "hawk", "--class", "owl")
    yield "model-comparison", whyclass("diff", *whole, "--class", "hawk", "--other-layer", "stage2")
    yield "layers", whyclass("layers", model[1], "--json", "--all")
    chosen = ("--layers", "stage3", "--classes", "hawk", "--store", place / "store")
    yield "layer-choice", whyclass("layers", "--choose", *given, *chosen)
    for store in ("store", "other"):
        audited = ("--layers", "stage3", "--classes", "hawk,owl", "--tests", "prediction,shift,mask")
        yield "audit", whyclass("audit", *given, *audited, "--store", place / store)
    yield "tables", whyclass("tables", place / "store", "--json")
    yield "report", whyclass("report", place / "store", "--json", "--quiet")
    yield "merge", whyclass("merge", place / "store", place / "other", "--json")
    yield "settings", whyclass("settings", "--json")
    yield "error", whyclass("explain", *whole, "--class", "hwak")
    yield "error", whyclass("explain", "--json")
    yield "demo-files", whyclass("demo", "--write", place / "project", "--json")
    with chdir(place / "model"):
        yield "init", whyclass("init", "--json", "--images", os.path.relpath(pool))


def made_up() -> Iterator[tuple[str, dict[str, Any]]]:
    """Objects of made-up records: what no quick run on the planted world has."""
    for kind in ("both", "hostile"):
        yield "explanation", json.loads(json.dumps(json_objects.as_object(explanation(kind))))
    for case in CASES:
        yield "contrast", json.loads(json.dumps(json_objects.as_object(contrast(case))))
