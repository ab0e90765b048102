"""One explanation of the planted world, kept as numbers: what changes them changes the method.

Written anew by ``python tests/golden/test_golden.py`` after a change that is meant.
"""

import json
from pathlib import Path

import pytest

import whyclass
from helpers.drawn import same_pictures
from whyclass.planted import demo, world

GOLDEN = Path(__file__).parents[1] / "golden" / "hawk.json"


def numbers(folder: Path) -> dict:
    world.write_pool(folder / "pool", n_per_class=20, seed=0)
    settings = whyclass.Settings(precision="float32", images=20)
    found = whyclass.Study(demo.loaded(), world.LAYER, folder / "pool", folder / "store", settings).explain(
        "hawk"
    )
    tests = found.prediction_test
    return {
        "n_images": found.n_images,
        "n_predicted": found.n_predicted,
        "shares": [round(concept.share, 3) for concept in found.concepts],
        "cosines": [round(concept.including[0].cosine, 3) for concept in found.concepts],
        "cosines_excluding": [round(concept.excluding[0].cosine, 3) for concept in found.concepts],
        "scores": [round(tests.including.score, 3), round(tests.excluding.score, 3)],
        "controls": [round(tests.including.control.mean, 3), round(tests.excluding.control.mean, 3)],
    }


@same_pictures
def test_explanation_is_the_golden_one(tmp_path):
    wanted, found = json.loads(GOLDEN.read_text()), numbers(tmp_path)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        # other processors round differently; a change of the method moves these by far more
        assert found[name] == pytest.approx(value, abs=0.02), name


if __name__ == "__main__":
    import tempfile

    GOLDEN.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        GOLDEN.write_text(json.dumps(numbers(Path(scratch)), indent=1) + "\n")
