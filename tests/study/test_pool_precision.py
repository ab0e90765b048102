"""The pass over the pool in bfloat16, which has to be asked for: crops keep their ranks, records say so."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.planted_world import quick
from whyclass.planted import demo, world
from whyclass.pool import nearest_crops
from whyclass.study.class_evidence import evidence_of
from whyclass.study.study import Study


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return world.write_pool(tmp_path_factory.mktemp("world") / "pool", 12)


def study(pool, store, precision) -> Study:
    return Study(demo.loaded(), world.LAYER, pool, store, quick(precision=precision))


@pytest.fixture(scope="module")
def passes(pool, tmp_path_factory) -> dict[str, Study]:
    store = tmp_path_factory.mktemp("store")
    found = {precision: study(pool, store, precision) for precision in ("float32", "auto", "bfloat16")}
    for one in found.values():
        one.index()
    return found


def test_crops_of_both_passes_are_nearly_the_same(passes):
    full, half = passes["float32"].index(), passes["bfloat16"].index()
    assert not np.array_equal(full.cells, half.cells)  # it is another pass
    assert np.array_equal(full.predicted, half.predicted)
    context, shared, cosines = passes["float32"].context(), [], []
    for name in ("hawk", "snail", "bee"):
        concepts = evidence_of(context, world.class_index(name)).factors.concepts
        query = nearest_crops.Query(concepts, {"all": full.usable})
        ones, others = (nearest_crops.nearest(index, [query], 8)[0]["all"] for index in (full, half))
        for mine, theirs in zip(ones, others, strict=True):
            cells, again = ({(p.position, p.cell) for p in found} for found in (mine, theirs))
            shared.append(len(cells & again) / 8)
            cosines.append(abs(mine[0].cosine - theirs[0].cosine))
    assert np.mean(shared) > 0.9
    assert max(cosines) < 0.02


def test_the_pass_is_in_float32_unless_bfloat16_is_asked_for(passes):
    keys = {precision: one.context().index_key for precision, one in passes.items()}
    assert keys["auto"] == keys["float32"] != keys["bfloat16"]
    facts = {precision: one.plan.facts["precision"] for precision, one in passes.items()}
    assert facts == {"float32": "float32", "auto": "float32", "bfloat16": "bfloat16"}
    assert passes["bfloat16"].explain("hawk").settings["precision"] == "bfloat16"
