"""What an explanation warns of."""

from dataclasses import replace

import numpy as np

from whyclass import Settings, Study
from whyclass.planted import demo, world
from whyclass.records import Concept, Crop, Picture, Prediction, Source
from whyclass.study.explain import repeated


def crop(image: str, left: int = 0) -> Crop:
    source = Source(image, image * 8, Prediction(0, "owl", 0.5))
    return Crop(source, (left, 0, left + 8, 8), 0.9, Picture(b"", 8, 8))


def concept(including: Crop, *excluding: Crop) -> Concept:
    return Concept(np.ones(2, np.float32), 0.2, (including,), excluding, ())


def test_concepts_with_one_best_crop_are_told():
    a, b, c = crop("a"), crop("b"), crop("b", 9)
    found = [concept(a, one) for one in (a, b, c, a, b, a)]
    (warning,) = repeated(found)
    assert "without images predicted as the class is the same for concepts 1, 4 and 6; for 2 and 5" in warning
    assert "shows 3 different crops, not 6" in warning


def test_where_every_image_is_predicted_as_the_class_the_first_test_is_asked():
    (warning,) = repeated([concept(crop("a")), concept(crop("a")), concept(crop("b"))])
    assert "is the same for concepts 1 and 2: the test shows 2 different crops, not 3" in warning
    assert "without images" not in warning


def test_concepts_with_crops_of_their_own_are_not_warned_of():
    first, second = crop("a"), crop("a", 1)
    assert not list(repeated([concept(first, first), replace(concept(first, second), share=0.1)]))


def test_an_explanation_says_which_of_its_concepts_share_a_crop(tmp_path):
    """Twelve concepts of a class with three parts, and nine pictures."""
    pool, none = world.write_pool(tmp_path / "pool", 1), ("null_cells", "null_scores", "fillings", "refits")
    settings = Settings(concepts=12, copies=2, starts=1, null_crops=2, **dict.fromkeys(none, 0))
    study = Study(demo.loaded(), world.LAYER, pool, tmp_path / "store", settings, progress=False)
    found = study.explain("jester")
    told = list(repeated(found.concepts))
    assert told
    assert set(told) <= set(found.warnings)
