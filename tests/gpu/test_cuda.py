"""A graphics card gives the processor's answers. Skipped where there is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from whyclass.attribution import smoothgrad
from whyclass.concepts.hyperplane_training import Fitting, hyperplanes
from whyclass.concepts.hyperplanes import Cells
from whyclass.models.fast_trunk import fast_trunk, noisy_precision, smooth_trunk
from whyclass.models.setup import example_of, opened
from whyclass.models.split import split
from whyclass.models.tasks import logit
from whyclass.planted import demo, nets, world
from whyclass.settings import Settings
from whyclass.study.study import Study
from whyclass.visualise import optimise, parametrisations

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")

SETTINGS = Settings(images=12, copies=5, starts=4, controls=4, precision="float32", noise_on="processor")


@pytest.fixture(scope="module", autouse=True)
def _single_precision():
    """No TF32 while these tests run."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    yield
    matmul.allow_tf32, cudnn.allow_tf32 = before


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return world.write_pool(tmp_path_factory.mktemp("planted") / "pool", n_per_class=12, seed=0)


@pytest.fixture(scope="module")
def explained(pool):
    """Of the class with the shortcut, on the processor and on the card."""
    return [
        Study(demo.loaded(), world.LAYER, pool, settings=SETTINGS, device=device).explain("hawk")
        for device in ("cpu", "cuda")
    ]


def on_card():
    loaded = opened(demo.loaded(), None, None, None, "cuda")
    return loaded, split(loaded.model, world.LAYER, example_of(loaded))


def pictures(n: int) -> torch.Tensor:
    return nets.as_input([world.planted_picture(1, seed).image for seed in range(n)])


def test_concepts_are_the_processors(explained):
    wanted, found = explained
    cosine = np.stack([c.vector for c in wanted.concepts]) @ np.stack([c.vector for c in found.concepts]).T
    assert cosine.max(1).min() > 0.99


def test_crops_and_verdicts_are_the_processors(explained):
    wanted, found = ({(c.image.path, c.box) for k in one.concepts for c in k.including} for one in explained)
    assert len(wanted & found) >= 0.9 * len(wanted)
    for name in ("including", "excluding"):
        a, b = (getattr(one.prediction_test, name) for one in explained)
        assert a.predicted == b.predicted
        assert a.score == pytest.approx(b.score, abs=0.02)


def test_attribution_adds_up(explained):
    assert explained[1].completeness.mean < 1e-4


def test_scores_of_cells_are_the_processors():
    settings, image = replace(SETTINGS, copies=4), pictures(1)[0]
    found = []
    for device in ("cpu", "cuda"):
        loaded = opened(demo.loaded(), None, None, None, device)
        cut = split(loaded.model, world.LAYER, example_of(loaded))
        baseline = smoothgrad.prepare(cut, loaded.preprocessing.constant("ones"), logit(1))
        found.append(
            smoothgrad.smoothgrad(cut, cut.trunk, [(image, "x")], smoothgrad.Question(1, baseline), settings)
        )
    scale = np.abs(found[0].signed).max()
    assert np.abs(found[1].signed - found[0].signed).max() < 1e-4 * scale


def test_the_fast_trunk_is_taken_and_close():
    _, cut = on_card()
    images = pictures(4).cuda()
    with torch.no_grad():
        wanted = cut.trunk(images)
        for make in (fast_trunk, smooth_trunk):
            for dtype, bound in ((torch.float32, 1e-4), (torch.bfloat16, 5e-2)):
                trunk = make(cut, dtype)
                assert trunk != cut.trunk
                assert (trunk(images) - wanted).abs().max() <= bound * wanted.abs().max()


def test_noisy_copies_take_half_precision_where_the_card_has_it():
    _, cut = on_card()
    wanted = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    assert noisy_precision("auto", cut) is wanted


def test_hyperplanes_are_the_processors():
    rng = np.random.default_rng(0)
    cells = {
        k: Cells(rng.random((40 + k, 32)).astype(np.float32) + k, np.arange(40 + k) // 8) for k in range(4)
    }
    pairs = [(0, 1), (2, 1), (3, 0)]
    cpu, cuda = (hyperplanes(cells, pairs, Fitting(device=device)) for device in ("cpu", "cuda"))
    assert np.abs(cpu.weights - cuda.weights).max() < 1e-5
    assert np.allclose(cpu.training.plain, cuda.training.plain, atol=0.03)


def test_a_contrast_runs_with_every_test(pool):
    settings = replace(SETTINGS, images=6, copies=2, starts=2, controls=2)
    found = Study(demo.loaded(), world.LAYER, pool, settings=settings, device="cuda").contrast(*world.TWINS)
    assert found.a.shifting is not None
    assert found.a.masking is not None
    assert found.hyperplane.training.plain > found.hyperplane.training.chance


def test_an_audit_runs_with_every_test(pool):
    settings = replace(SETTINGS, images=6, copies=2, starts=2, controls=2)
    study = Study(demo.loaded(), world.LAYER, pool, settings=settings, device="cuda")
    found = study.audit(world.TWINS, tests=("prediction", "shift", "mask"))
    assert [one.problem for one in found.classes] == ["", ""]
    assert len(found.shifts) == 4


def test_pictures_are_drawn_towards_a_direction():
    loaded, cut = on_card()
    vectors = torch.eye(cut.shape[0])[:2]
    space = parametrisations.Fourier(loaded.preprocessing)
    trunk = smooth_trunk(cut, noisy_precision("auto", cut))
    begun, drawn = (
        optimise.draw(cut, vectors, space, loaded.preprocessing, steps=steps, trunk=trunk)
        for steps in (1, 48)
    )
    assert not any(drawn.problems)
    assert (drawn.cosines > begun.cosines).all()
    assert drawn.images.device.type == "cpu"


def test_pictures_are_drawn_in_a_decoders_space_from_images():
    loaded, cut = on_card()
    space = parametrisations.Generator(nets.planted_decoder(), loaded.preprocessing, pictures(2))
    found = optimise.draw(cut, torch.eye(cut.shape[0])[:2], space, loaded.preprocessing, steps=4)
    assert not any(found.problems)


def test_the_gradient_method_runs(pool):
    settings = replace(SETTINGS, images=4, copies=2, starts=1, controls=1, method="gradient")
    found = Study(demo.loaded(), world.LAYER, pool, settings=settings, device="cuda").explain("owl")
    assert found.concepts
