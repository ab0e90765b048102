"""Models of one channel, or of four: the answers of the RGB net that they are made of."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from helpers.planted_world import NAMES, model_arguments, quick, quick_arguments, whyclass
from whyclass.models.described import Loaded
from whyclass.planted import demo, nets, world
from whyclass.records import Explanation, Finding
from whyclass.report.page import page
from whyclass.store import Store
from whyclass.study.study import Study

N = 3
SAME = quick(copies=1, noise=0.0, control_images=1)
"""Without noise, which is drawn for each channel."""


def net(weight) -> nn.Module:
    """The planted net with another first convolution, from its RGB weights (24, 3, 5, 5)."""
    made = copy.deepcopy(nets.planted_net())
    first = made.stage1[0]
    new = weight(first.weight.detach())
    made.stage1[0] = nn.Conv2d(new.shape[1], *new.shape[:1], 5, 2, 2, bias=False)
    made.stage1[0].weight.data = new
    return made.eval()


def grey_net() -> nn.Module:
    """Sees in a grey picture what the RGB net sees in it."""
    return net(lambda weight: weight.sum(1, keepdim=True))


def four_net() -> nn.Module:
    """Does not see its fourth channel."""
    return net(lambda weight: torch.cat([weight, torch.zeros_like(weight[:, :1])], 1))


def loaded(model: nn.Module, channels: int) -> Loaded:
    numbers = replace(world.PREPROCESSING, mean=(0.5,) * channels, std=(0.25,) * channels)
    return replace(demo.loaded(), model=model, preprocessing=numbers)


@pytest.fixture(scope="module")
def grey(tmp_path_factory) -> Path:
    """The planted pool as grey files."""
    folder = world.write_pool(tmp_path_factory.mktemp("world") / "pool", N)
    for path in folder.glob("*/*.png"):
        Image.open(path).convert("L").save(path)
    return folder


@pytest.fixture(scope="module")
def arrays() -> list[np.ndarray]:
    return [world.planted_picture(index, number).image for index in range(len(NAMES)) for number in range(N)]


def with_fourth(arrays: list[np.ndarray]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [np.dstack([a, rng.integers(0, 256, a.shape[:2], np.uint8)]) for a in arrays]


@pytest.fixture(scope="module")
def pairs(grey, arrays) -> dict[str, tuple[Study, Study]]:
    """By name, a study of the RGB net, and one of other channels that has to say the same."""
    rgb = demo.loaded()
    normalised = [rgb.preprocessing.tensor(array) for array in arrays]
    four = loaded(four_net(), 4)
    more = [torch.cat([t, torch.randn(1, *t.shape[1:])]) for t in normalised]
    return {
        name: (Study(rgb, world.LAYER, one, None, SAME), Study(other, world.LAYER, pool, None, SAME))
        for name, one, other, pool in (
            ("grey", grey, loaded(grey_net(), 1), grey),
            ("arrays", arrays, four, with_fourth(arrays)),
            ("tensors", normalised, four, more),
        )
    }


KINDS = ("grey", "arrays", "tensors")


def two(study: Study) -> list[str]:
    """The classes that are predicted most often."""
    index = study.index()
    counts = np.bincount(index.predicted, minlength=len(NAMES))
    return [NAMES[k] for k in np.argsort(-counts, kind="stable")[:2]]


@pytest.mark.parametrize("kind", KINDS)
def test_an_explanation_is_that_of_the_rgb_net(pairs, kind):
    rgb, other = pairs[kind]
    name = two(rgb)[0]
    one, found = rgb.explain(name), other.explain(name)
    assert len(found.concepts) == len(one.concepts) > 2
    for mine, wanted in zip(found.concepts, one.concepts, strict=True):
        assert mine.vector == pytest.approx(wanted.vector, abs=1e-3)
        assert [(c.image.path, c.box) for c in mine.including] == [
            (c.image.path, c.box) for c in wanted.including
        ]
        assert mine.including[0].picture == wanted.including[0].picture  # the same to the eye
    for mine, wanted in (
        (found.prediction_test.including, one.prediction_test.including),
        (found.prediction_test.excluding, one.prediction_test.excluding),
    ):
        assert mine.score == pytest.approx(wanted.score, abs=1e-4)
        assert mine.control.mean == pytest.approx(wanted.control.mean, abs=1e-4)
        assert mine.picture == wanted.picture
    assert found.completeness.worst < 1e-4
    assert "<html" in page(found)


@pytest.mark.parametrize("kind", ["grey", "arrays"])
def test_a_contrast_is_that_of_the_rgb_net(pairs, kind):
    """Masking fills, patches are inserted, and crops of third classes."""
    rgb, other = pairs[kind]
    one, found = rgb.contrast(*two(rgb)), other.contrast(*two(rgb))
    for mine, wanted in ((found.a, one.a), (found.b, one.b)):
        for test in ("shifting", "masking"):
            steps = getattr(wanted, test).steps
            assert [s.target for s in getattr(mine, test).steps] == pytest.approx(
                [s.target for s in steps], abs=1e-3
            )
        for inserted, other_one in zip(mine.insertions, wanted.insertions, strict=True):
            assert inserted.pasted.target == pytest.approx(other_one.pasted.target, abs=1e-3)
            assert inserted.blank.target == pytest.approx(other_one.blank.target, abs=1e-3)
            assert inserted.third.mean == pytest.approx(other_one.third.mean, abs=1e-3)
            assert inserted.patch == other_one.patch


@pytest.mark.parametrize("kind", ["grey", "arrays"])
def test_an_audit_from_kept_pixels_finds_what_the_explanation_found(pairs, kind):
    study = pairs[kind][1]
    name = two(study)[0]
    alone = study.explain(name)
    study.audit([name])
    (file,) = study.store.records("findings")
    found = Finding.load(file)
    assert found.prediction_test.including.score == alone.prediction_test.including.score
    assert found.prediction_test.including.control == alone.prediction_test.including.control
    (pixels,) = study.store.folder.glob("frames/*/pixels.u8")
    channels = study.loaded.preprocessing.channels
    assert pixels.stat().st_size == len(study.pool.items) * world.SIZE**2 * channels


@pytest.mark.parametrize("kind", KINDS)
def test_a_patch_is_inserted_as_the_model_sees_it(pairs, kind, arrays):
    rgb, other = pairs[kind]
    a, b = two(rgb)
    patch = arrays[0][:24, :24]
    patch = patch.mean(2).astype(np.uint8) if kind == "grey" else patch
    mine = patch if kind == "grey" else np.dstack([patch, patch[..., 0]])
    one, found = rgb.insert(a, b, patch).insertion, other.insert(a, b, mine).insertion
    assert found.pasted.target == pytest.approx(one.pasted.target, abs=1e-4)
    assert found.patch == one.patch


# ---------------------------------------------------------------- by name, and what cannot be

FACTORY = """
from torch import nn
from whyclass.planted.nets import PlantedNet

def net():
    made = PlantedNet()
    made.stage1[0] = nn.Conv2d({channels}, 24, 5, 2, 2, bias=False)
    return made
"""


def asked(pool: Path, folder: Path, model: nn.Module, **changes: str):
    """An explanation by the command line; ``mean`` is one number unless it is changed."""
    channels = model.stage1[0].in_channels
    given = model_arguments(folder, FACTORY.format(channels=channels))
    save_file(model.state_dict(), folder / "net.safetensors")
    found = dict(zip(given[::2], given[1::2], strict=True)) | {"--weights": folder / "net.safetensors"}
    found |= {"--std": "0.25", "--images": pool, "--store": folder / "store", "--class": "owl"}
    found |= {f"--{name}": value for name, value in changes.items()}
    return whyclass(
        "explain", *(text for pair in found.items() for text in pair), *quick_arguments(), "--json"
    )


def test_one_number_on_the_command_line_is_one_for_each_channel_of_the_model(grey, tmp_path, pairs):
    name = two(pairs["grey"][0])[0]
    assert asked(grey, tmp_path / "one", grey_net(), **{"class": name}).code == 0
    (file,) = Store(tmp_path / "one" / "store").records("explanations")
    assert "mean [0.5], std [0.25]" in Explanation.load(file).model.preprocessing


def test_numbers_for_other_channels_than_the_models_are_refused(grey, tmp_path):
    ran = asked(grey, tmp_path / "one", grey_net(), mean="0.5,0.5,0.5", std="0.5,0.5,0.5")
    assert ran.code == 1
    assert "the model takes 1 channel and the preprocessing gives 3" in ran.message
    assert not (tmp_path / "one" / "store").exists()


def test_files_for_a_model_of_four_channels_are_refused_with_what_it_needs(grey, tmp_path):
    ran = asked(grey, tmp_path / "four", four_net())
    assert ran.code == 1
    assert "a picture gives 1 or 3 channels and the model takes 4; give uint8 arrays (H, W, 4)" in ran.message
