"""What share of a logit the concepts carry: known answers, and planted parts against nonsense."""

import numpy as np
import pytest
import torch

from whyclass.attribution.methods import Baseline
from whyclass.checks import carried_logits
from whyclass.checks.concept_fidelity import Asked
from whyclass.concepts.reconstruction import embedded
from whyclass.models.split import split
from whyclass.planted import nets, world

SNAIL = world.class_index("snail")


def at(layer, n=8, target=SNAIL):
    pictures = [world.planted_picture(target, seed) for seed in range(n)]
    images = nets.as_input([picture.image for picture in pictures])
    cut = split(nets.planted_net(), layer, images[:1])
    with torch.no_grad():
        activations, baseline = cut.trunk(images).numpy(), cut.trunk(torch.ones_like(images[:1]))
    return Asked(cut, activations, images, target), Baseline(baseline), pictures


def found_of(asked, baseline, D, classes=tuple(range(9))):
    many = carried_logits.multipliers(asked, baseline, classes)
    return carried_logits.carried(many, embedded(asked.activations, D), D, lambda a: embedded(a, D))


@pytest.fixture(scope="module")
def planted():
    return at("stage3")


@pytest.mark.parametrize("layer", ["stage2", "stage3", "stage4"])
def test_directions_that_span_all_carry_every_logit(layer):
    asked, baseline, _ = at(layer, n=2)
    found = found_of(asked, baseline, np.eye(asked.activations.shape[1]))
    assert found.shares == pytest.approx(1, abs=1e-3)
    assert found.kept == pytest.approx(1, abs=1e-3)
    with torch.no_grad():
        change = asked.logits(asked.activations) - asked.split.head(baseline.activations).numpy()
    assert found.whole == pytest.approx(change.mean(0), abs=1e-4)


def test_of_signed_cells_directions_of_both_signs_carry_everything():
    asked, baseline, _ = at("stage3.4", n=2)
    assert asked.activations.min() < 0
    found = found_of(asked, baseline, np.concatenate([np.eye(64), -np.eye(64)]))
    assert found.kept == pytest.approx(1, abs=1e-3)
    assert found_of(asked, baseline, np.eye(64)).kept < 0.9


def test_directions_that_hold_nothing_carry_nothing(planted):
    asked, baseline, _ = planted
    found = found_of(asked, baseline, -np.eye(64)[:3])
    assert np.abs(found.carried).max() == 0
    assert found.kept == 0


def test_concepts_carry_together_what_each_carries(planted):
    asked, baseline, _ = planted
    D = np.eye(64)
    whole = found_of(asked, baseline, D)
    some = found_of(asked, baseline, D[:20])
    assert some.carried == pytest.approx(whole.carried[:, :20], abs=1e-3)  # orthogonal: each holds the same


def test_before_a_linear_layer_it_is_the_weights_times_the_mean_cell():
    asked, baseline, _ = at("stage4")
    D = np.abs(np.random.default_rng(0).standard_normal((5, 96)))
    found = found_of(asked, baseline, D)
    weights = asked.split.model.head.weight.detach().numpy()
    W, V = embedded(asked.activations, D), embedded(baseline.activations.numpy(), D)
    held = W.mean((0, 1, 2)) - V.mean((0, 1, 2))
    assert found.carried == pytest.approx((weights @ D.T) * held, rel=1e-3, abs=1e-4)


def parts_of(asked, pictures):
    """A direction for each part and one for the ground: the mean of cells that it covers."""
    cells = np.moveaxis(asked.activations, 1, -1)
    names = dict.fromkeys(name for picture in pictures for name in picture.masks)
    whole = np.zeros((len(pictures), 12, 12), bool)
    found = []
    for name in names:
        masks = np.stack(
            [
                picture.masks[name].reshape(12, 8, 12, 8).mean((1, 3)) > 0.5
                if name in picture.masks
                else np.zeros((12, 12), bool)
                for picture in pictures
            ]
        )
        whole |= masks
        if name in world.CLASSES[asked.target].needs:
            found.append(cells[masks].mean(0))
    return np.stack([*found, cells[~whole].mean(0)])


@pytest.mark.parametrize("name", ["snail", "bee", "comet"])
def test_true_parts_carry_the_class_and_permuted_ones_do_not(name):
    asked, baseline, pictures = at("stage3", target=world.class_index(name))
    D = parts_of(asked, pictures)
    generator = np.random.default_rng(0)
    nonsense = np.stack([row[generator.permutation(64)] for row in D])
    true, permuted = (found_of(asked, baseline, one, (asked.target,)) for one in (D, nonsense))
    assert true.shares[0] > 0.6
    assert permuted.shares[0] < 0.1
    assert true.kept > permuted.kept + 0.4
