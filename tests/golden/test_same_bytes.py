"""Same seed, same bytes: concepts, crops and scores are those of the commit before the house was folded anew.

Bytes depend on how a processor rounds, so they are compared where fixed products round as they did there.
Written anew, after a change that is meant, by ``PYTHONPATH=tests python tests/golden/test_same_bytes.py``.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from whyclass import Settings, Study, preset
from whyclass.planted import demo, world
from whyclass.records import Crop, PredictionTest, Sweep, codec

KEPT = Path(__file__).with_name("before_the_move.json")


def digest(*parts: Any) -> str:
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        found.update(part if isinstance(part, bytes) else repr(part).encode())
    return found.hexdigest()


def arithmetic() -> str:
    """How this machine rounds: a convolution, a product and singular values of fixed numbers."""
    generator = torch.Generator().manual_seed(0)
    x, w = torch.randn(4, 3, 33, 33, generator=generator), torch.randn(16, 3, 3, 3, generator=generator)
    y = torch.nn.functional.conv2d(x, w, padding=1)
    m = np.random.default_rng(0).random((200, 64), np.float32)
    values = np.linalg.svd(m)[1]
    parts = (y.numpy().tobytes(), (m @ m.T).tobytes(), values.tobytes())
    return digest(*parts, torch.__version__, np.__version__)


def crop(found: Crop) -> list[Any]:
    picture = hashlib.blake2b(found.picture.data, digest_size=8).hexdigest()
    return [found.image.digest, found.box, repr(found.cosine), picture]


def said_of(test: PredictionTest) -> list[Any]:
    control = repr(test.control.mean) if test.control else None
    return [repr(test.score), test.predicted, control, [source.image.digest for source in test.sources]]


def concepts(found: Any) -> str:
    return digest(*[np.asarray(concept.vector, np.float32).tobytes() for concept in found.concepts])


OF_CONTRASTS = ("plane", "contrast_by", "shifts", "shift_unit", "finer", "pair_crops", "mask_curve")
"""Settings of which contrasts knew one value before."""


def as_before(sweep: Sweep) -> Any:
    """Without what came later, and was None or is of it."""
    found = codec.to_json(sweep)
    assert found.pop("unit") is None
    del found["first"]
    for one in ("random", "reversed"):
        del found[one]["swapped"], found[one]["at"], found[one]["followed"]
    for step in found["steps"]:
        del step["n"]
    return found


def numbers(folder: Path) -> dict[str, dict[str, str]]:
    world.write_pool(folder / "pool", n_per_class=20, seed=0)
    settings = Settings(
        precision="float32", images=12, copies=4, starts=2, controls=4, null_crops=4, pair_crop_at="centred"
    )
    settings = replace(settings, iterations=200)  # as it was then
    study = Study(demo.loaded(), world.LAYER, folder / "pool", folder / "store", settings)
    out = {}
    for name in ("hawk", "snail"):
        found = study.explain(name)
        crops = [[[crop(k) for k in c.including] for c in found.concepts]]
        crops += [[[crop(k) for k in c.excluding] for c in found.concepts]]
        tests = found.prediction_test
        scores = digest(said_of(tests.including), said_of(tests.excluding))
        out[name] = {"concepts": concepts(found), "crops": digest(*crops), "scores": scores}
    study.settings = replace(settings, **{name: getattr(preset("paper"), name) for name in OF_CONTRASTS})
    contrast = study.contrast("hawk", "owl")
    for name, side in (("hawk against owl", contrast.a), ("owl against hawk", contrast.b)):
        tests = side.prediction_test
        sweeps = [json.dumps(as_before(sweep)) for sweep in (side.shifting, side.masking)]
        both = (said_of(tests.including), said_of(tests.excluding))
        out[name] = {
            "concepts": concepts(side),
            "crops": digest([[crop(k) for k in concept.including] for concept in side.concepts]),
            "scores": digest(*both, *sweeps, repr(contrast.hyperplane.bias)),
        }
    return out


def test_concepts_crops_and_scores_are_those_from_before(tmp_path):
    kept = json.loads(KEPT.read_text())
    if kept["arithmetic"] != arithmetic():
        pytest.skip(
            "this processor, or these libraries, round otherwise than those the digests were made with"
        )
    assert numbers(tmp_path) == kept["found"]


if __name__ == "__main__":
    import tempfile

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        made = {"arithmetic": arithmetic(), "found": numbers(Path(scratch))}
        KEPT.write_text(json.dumps(made, indent=1) + "\n")
