"""SmoothGrad over an attribution method is the plain mean over noisy copies."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers import nets
from whyclass.attribution import copies_together, deeplift, noise
from whyclass.attribution import smoothgrad as smoothgrads
from whyclass.attribution.methods import METHODS
from whyclass.attribution.noise import noisy_copies
from whyclass.attribution.smoothgrad import (
    Question,
    completeness_error,
    prepare,
    relative,
    score_cells,
    smoothgrad,
)
from whyclass.errors import AttributionError
from whyclass.models.split import split
from whyclass.models.tasks import logit
from whyclass.settings import Settings

SETTINGS = Settings(copies=5)
TARGET = 2


def cut(model, layer):
    return split(nets.seeded(model), layer, nets.images(1))


def scored(own, images, settings=SETTINGS, target=TARGET):
    baseline = prepare(own, torch.ones(1, 3, nets.SIDE, nets.SIDE), logit(target))
    return smoothgrad(own, own.trunk, images, Question(target, baseline), settings)


def slow_attributions(own, image, digest, settings):
    """The attribution (m, c, h, w) of each noisy copy, one copy at a time."""
    ones = torch.ones(1, 3, nets.SIDE, nets.SIDE)
    found = []
    for copy in noisy_copies(image, digest, settings):
        x = copy[None]

        def head(activations, x=x):
            return own.head(activations, x)

        tape = deeplift.record(head, own.trunk(ones).detach(), lambda out: out[:, TARGET])
        found.append(
            deeplift.attribute(head, own.trunk(x).detach(), tape, lambda out: out[:, TARGET]).values[0]
        )
    return torch.stack(found)


@pytest.mark.parametrize("relu", ["after", "before"])
@pytest.mark.parametrize(
    ("model", "layer"),
    [
        (nets.Plain(), "stem"),
        (nets.Residual(), "stem"),
        (nets.Bypassed("cat"), "mid"),
        (nets.Bypassed("add"), "mid"),
    ],
    ids=["plain", "residual", "bypassed by cat", "bypassed by add"],
)
def test_scores_are_the_mean_over_the_copies(model, layer, relu):
    own, settings = cut(model, layer), Settings(copies=5, relu=relu)
    images = [(image, f"digest {i}") for i, image in enumerate(nets.images(2))]
    found = scored(own, images, settings)
    for (image, digest), cells in zip(images, found.cells, strict=True):
        mean = slow_attributions(own, image, digest, settings).mean(0).detach().numpy()
        wanted = np.maximum(mean, 0).mean(0) if relu == "before" else np.maximum(mean.mean(0), 0)
        assert np.allclose(cells, wanted, atol=1e-6)
        assert (cells > 0).any()
    assert found.cells.dtype == np.float32
    assert found.errors.shape == (2, 5)
    assert found.errors.max() < 1e-3


def test_on_a_linear_head_both_methods_are_exact():
    own = cut(nets.Plain(), "tail")
    (image,) = nets.images(1)
    row = own.model.fc.weight[TARGET].detach()
    activations = own.trunk(noisy_copies(image, "x", SETTINGS)).detach()
    baseline = own.trunk(torch.ones(1, 3, nets.SIDE, nets.SIDE)).detach()
    exact = row[:, None, None] * (activations - baseline) / activations[0, 0].numel()
    wanted = score_cells(exact.mean(0), "after").numpy()
    for method in METHODS:
        found = scored(own, [(image, "x")], Settings(copies=5, method=method))
        assert np.allclose(found.cells[0], wanted, atol=1e-6)
        assert found.errors.max() < 1e-4


def test_the_two_orders_of_mean_and_relu():
    values = torch.tensor([[[3.0, -5.0]], [[-1.0, 1.0]]])  # two channels, two cells
    assert score_cells(values, "after").tolist() == [[1.0, 0.0]]
    assert score_cells(values, "before").tolist() == [[1.5, 0.5]]


# ---------------------------------------------------------------- noise


def test_noise_is_as_wide_as_set_and_around_the_image():
    image = nets.images(1)[0]
    added = noisy_copies(image, "x", Settings(copies=50, noise=0.25)) - image
    assert added.shape == (50, 3, nets.SIDE, nets.SIDE)
    assert added.std() == pytest.approx(0.25, rel=0.01)
    assert abs(float(added.mean())) < 0.01


def test_noise_belongs_to_the_image_and_the_seed():
    image = nets.images(1)[0]
    first = noisy_copies(image, "x", SETTINGS)
    assert torch.equal(noisy_copies(image, "x", SETTINGS), first)
    assert not torch.equal(noisy_copies(image, "y", SETTINGS), first)
    assert not torch.equal(noisy_copies(image, "x", Settings(copies=5, seed=1)), first)
    assert not torch.equal(first[0], first[1])
    assert torch.equal(image, nets.images(1)[0])


@pytest.mark.parametrize("count", [0, 1, noise.AHEAD, 2 * noise.AHEAD + 3])
def test_copies_drawn_ahead_are_the_same_in_the_same_order(count):
    images = [(torch.full((3, 4, 4), float(n)), str(n)) for n in range(count)]
    drawn_here = Settings(copies=5, noise_on="processor")
    plain, ahead = (
        list(noise.with_copies(iter(images), drawn_here, torch.device(device)))
        for device in ("cpu", "cuda")  # no card is touched: only copies are drawn
    )
    assert len(plain) == len(ahead) == count
    for (image, copies), (same, others), (given, _) in zip(plain, ahead, images, strict=True):
        assert image is same is given
        assert torch.equal(copies, others)


def test_without_noise_the_copy_is_the_image():
    image = nets.images(1)[0]
    assert torch.equal(noisy_copies(image, "x", Settings(copies=1, noise=0))[0], image)


def test_neighbours_do_not_change_a_score():
    own = cut(nets.Plain(), "stem")
    one, two, three = ((image, str(i)) for i, image in enumerate(nets.images(3)))
    together = scored(own, [one, two, three]).cells
    assert np.array_equal(scored(own, [two]).cells[0], together[1])
    assert np.array_equal(scored(own, [three, two]).cells[1], together[1])


@pytest.mark.parametrize("model", [nets.Plain(), nets.Bypassed("cat")], ids=["plain", "bypassed"])
def test_copies_in_small_batches_give_the_same(model, monkeypatch):
    own = cut(model, "mid" if isinstance(model, nets.Bypassed) else "stem")
    images = [(nets.images(1)[0], "x")]
    whole = scored(own, images)
    monkeypatch.setattr(copies_together, "BATCH", 2)
    parts = scored(own, images)
    assert np.allclose(parts.cells, whole.cells, atol=1e-6)
    assert parts.errors.shape == whole.errors.shape == (1, 5)


# ---------------------------------------------------------------- methods


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("model", "layer"), [(nets.Plain(), "stem"), (nets.Bypassed("cat"), "mid")])
def test_every_method_gives_values_and_their_true_errors(method, model, layer):
    own, x = cut(model, layer), nets.images(3)
    baseline = prepare(own, torch.ones(1, 3, nets.SIDE, nets.SIDE), logit(TARGET))
    activations = own.trunk(x).detach()
    found = METHODS[method](own, activations, x, baseline, logit(TARGET))
    values, errors = found.values, found.error
    assert values.shape == activations.shape
    assert errors.shape == (3,)
    with torch.no_grad():
        rows = baseline.activations.expand_as(activations)
        change = (own.head(activations, x) - own.head(rows, x))[:, TARGET].double()
    wanted = ((values.double().sum((1, 2, 3)) - change) / change).abs()
    assert torch.allclose(errors.double(), wanted, atol=1e-5)
    assert errors.max() < (1e-4 if method == "deeplift" else float("inf"))


@pytest.mark.parametrize("method", METHODS)
def test_an_image_that_is_the_baseline_has_no_attribution_and_no_error(method):
    own = cut(nets.Plain(), "stem")
    ones = torch.ones(3, nets.SIDE, nets.SIDE)
    found = scored(own, [(ones, "x")], Settings(copies=1, noise=0, method=method))
    assert not found.cells.any()
    assert found.errors.tolist() == [[0.0]]


def test_where_the_layer_is_bypassed_no_tape_is_kept():
    ones = torch.ones(1, 3, nets.SIDE, nets.SIDE)
    assert prepare(cut(nets.Bypassed("cat"), "mid"), ones, logit(TARGET)).tape is None
    assert prepare(cut(nets.Plain(), "stem"), ones, logit(TARGET)).tape is not None


@pytest.mark.parametrize("method", METHODS)
def test_an_attribution_that_is_not_finite_is_an_error(method):
    own = cut(nets.Plain(), "stem")
    image = torch.full((3, nets.SIDE, nets.SIDE), float("inf"))
    with pytest.raises(AttributionError, match="not finite"):
        scored(own, [(image, "x")], Settings(copies=1, noise=0, method=method))


def test_progress_is_told_of_every_image():
    own, told = cut(nets.Plain(), "stem"), []
    baseline = prepare(own, torch.ones(1, 3, nets.SIDE, nets.SIDE), logit(TARGET))
    images = [(image, "x") for image in nets.images(3)]
    smoothgrad(own, own.trunk, images, Question(TARGET, baseline), SETTINGS, told.append)
    assert told == [1, 1, 1]


def test_the_model_keeps_no_gradient():
    own = cut(nets.Plain(), "stem")
    scored(own, [(nets.images(1)[0], "x")])
    assert all(parameter.grad is None for parameter in own.model.parameters())


def test_completeness_is_a_ratio_of_sums():
    """One copy whose logit is nearly the baseline's decides nothing."""
    missed, changes = np.array([[0.01, 0.01], [0.01, 0.01]]), np.array([[10.0, 10.0], [10.0, 1e-4]])
    assert relative(missed, changes).max() == pytest.approx(100)
    assert completeness_error(missed, changes) == pytest.approx(0.04 / 30.0001)
    assert completeness_error(np.zeros((1, 2)), np.zeros((1, 2))) == 0
    assert completeness_error(np.ones((1, 2)), np.zeros((1, 2))) == float("inf")


def test_what_is_missed_adds_up_over_the_copies():
    own = cut(nets.Plain(), "stem")
    found = scored(own, [(image, "x") for image in nets.images(2)], Settings(copies=3, method="gradient"))
    assert found.missed.shape == found.changes.shape == (2, 3)
    assert np.allclose(found.errors, found.missed / found.changes)
    wanted = np.average(found.errors, weights=found.changes)
    assert completeness_error(found.missed, found.changes) == pytest.approx(wanted)


def test_only_a_card_draws_by_itself_and_only_where_it_is_let():
    card, processor = torch.device("cuda"), torch.device("cpu")
    assert noise.drawn_on(card, Settings()) == card
    assert noise.drawn_on(card, Settings(noise_on="processor")) == processor
    assert noise.drawn_on(processor, Settings()) == processor


# ---------------------------------------------------------------- several images at once


@pytest.mark.parametrize("together", [2, 4, 7])
def test_images_that_pass_together_get_the_scores_that_they_have_alone(together, monkeypatch):
    """As on a card; the last of them pass in a smaller block."""
    own = cut(nets.Plain(), "stem")
    images = [(image, str(i)) for i, image in enumerate(nets.images(7))]
    alone = scored(own, images)
    passed = []

    class Together(copies_together.Passing):
        def through(self, copies, make):
            passed.append(len(copies))
            found = super().through(copies, make)
            self.images = together
            return found

    monkeypatch.setattr(smoothgrads, "Passing", Together)
    found = scored(own, images)
    assert passed[0] == 5
    assert max(passed) == 5 * min(together, 6)
    assert sum(passed) == 35
    for name in ("cells", "signed", "missed", "changes"):
        np.testing.assert_allclose(getattr(found, name), getattr(alone, name), atol=2e-5)
