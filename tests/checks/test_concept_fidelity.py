"""The literature's measures: known answers, cases in which they must come out low, and the published code."""

import numpy as np
import pytest
import torch
from torch import nn

from helpers.published_craft import published
from whyclass.checks import concept_fidelity
from whyclass.checks.concept_fidelity import Asked, rebuilt
from whyclass.concepts.reconstruction import embedded
from whyclass.models.split import split


class Net(nn.Module):
    """Cells of six channels, their mean, and a linear layer; bent in between where that is asked for."""

    def __init__(self, bend: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cells = nn.Sequential(nn.Conv2d(3, 6, 4, 4), nn.ReLU())
        self.bend = nn.Sequential(nn.Conv2d(6, 6, 1), nn.ReLU()) if bend else nn.Identity()
        self.last = nn.Linear(6, 4)

    def forward(self, x):
        return self.last(self.bend(self.cells(x)).mean((2, 3)))


def asked(bend=False, n=5):
    net = Net(bend).eval()
    images = torch.randn(n, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 3
    cut = split(net, "cells", images[:1])
    with torch.no_grad():
        activations = cut.trunk(images).numpy()
    return Asked(cut, activations, images, 2)


def measured(one, D):
    W = embedded(one.activations, D)
    return W, one.logits(one.activations), one.logits(rebuilt(W, D))


def test_what_is_rebuilt_beside_the_model_is_what_is_rebuilt_here():
    one, D = asked(True), np.abs(np.random.default_rng(0).standard_normal((3, 6)))
    W = embedded(one.activations, D)
    rows = np.array([4, 0, 2])
    assert one.logits_rebuilt(W[rows], D, rows) == pytest.approx(
        one.logits(rebuilt(W, D))[rows], rel=1e-6, abs=1e-7
    )


@pytest.mark.parametrize("bend", [False, True])
def test_directions_that_span_all_lose_nothing(bend):
    one = asked(bend)
    _, before, after = measured(one, np.eye(6))
    kept = concept_fidelity.ice(before, after, 2)
    assert kept.error == pytest.approx(0, abs=1e-4)
    assert kept.agreement == 1


def test_directions_that_rebuild_nothing_lose_it():
    one = asked()
    _, before, after = measured(one, -np.eye(6)[:2])
    assert concept_fidelity.ice(before, after, 2).error > 0.5
    assert after == pytest.approx(np.broadcast_to(one.split.model.last.bias.detach().numpy(), after.shape))


def test_the_fidelity_error_is_the_formula():
    before, after = np.array([[1.0, 4], [3, 2]]), np.array([[1.5, 5], [3, 4]])
    kept = concept_fidelity.ice(before, after, 0)
    assert kept.error == pytest.approx(0.25 / (2 + 1e-4))
    assert kept.agreement == 0.5


def test_total_indices_of_a_sum_are_the_shares_of_its_variance():
    weights = np.array([3.0, 0, 1, 2])
    found = concept_fidelity.total_indices(concept_fidelity.design(4, 256) @ weights, 4)
    assert found == pytest.approx(weights**2 / (weights**2).sum(), abs=0.03)
    assert concept_fidelity.total_indices(np.ones(6 * 16), 4).tolist() == [0] * 4


def test_total_indices_and_their_design_are_the_published_ones(rng):
    sampler = published("craft.sobol.sampler").HaltonSequence()(5, nb_design=16)
    design = concept_fidelity.design(5, 16)
    assert design == pytest.approx(sampler, abs=1e-6)
    outputs = np.sin(3 * design[:, 0]) + design[:, 1] * design[:, 2] + rng.random(len(design))
    estimator = published("craft.sobol.estimators").JansenEstimator()
    assert concept_fidelity.total_indices(outputs, 5) == pytest.approx(
        estimator(design, outputs, 16), rel=1e-5
    )


def test_what_the_class_hangs_on_is_most_important():
    one = asked()
    D = np.eye(6)
    W = embedded(one.activations, D)
    found = concept_fidelity.importances(one, W, D)
    # the logit is linear in what each direction holds: variances are squares of what they add
    added = (W.mean((1, 2)) * one.split.model.last.weight.detach().numpy()[2]) ** 2
    wanted = (added / added.sum(1, keepdims=True)).mean(0)
    assert np.argsort(-found)[:2].tolist() == np.argsort(-wanted)[:2].tolist()
    assert found == pytest.approx(wanted, abs=0.2)  # so few points know it no better


@pytest.mark.filterwarnings("ignore:To copy construct:UserWarning")
def test_importances_are_those_of_the_published_code(monkeypatch):
    module = published("craft.craft_torch")
    one, D = asked(bend=True), np.eye(6, dtype=np.float32)
    W = embedded(one.activations, D)
    craft = module.Craft(lambda x: x, lambda a: one.split.head(a.float()), 6, device="cpu")
    craft.W, craft.reducer = D, object()
    monkeypatch.setattr(craft, "transform", lambda inputs: W)
    wanted = craft.estimate_importance(None, 2, nb_design=concept_fidelity.DESIGN)
    assert concept_fidelity.importances(one, W, D) == pytest.approx(wanted, rel=1e-3)


def test_curves_begin_and_end_where_they_must():
    one = asked()
    D = np.eye(6)[:4]
    W = embedded(one.activations, D)
    found = concept_fidelity.curves(one, W, D, [2, 0, 1, 3])

    def score(activations):
        return one.probabilities(one.logits(activations))[:, 2].mean()

    nothing, rebuilt_all = np.zeros_like(one.activations), rebuilt(W, D)
    assert found.inserted[[0, -1]] == pytest.approx([score(nothing), score(rebuilt_all)])
    assert found.deleted[[0, -1]] == pytest.approx([score(rebuilt_all), score(nothing)])
    assert found.deleted_beside_rest[0] == pytest.approx(score(one.activations))
    alone = rebuilt(W * np.array([0, 0, 1, 0]), D)
    assert found.inserted[1] == pytest.approx(score(alone))
    assert found.deleted[1] == pytest.approx(score(rebuilt_all - alone), abs=1e-6)


def test_nonsense_is_called_best_by_bare_deletion_and_worst_beside_the_rest():
    one = asked()
    weights = one.split.model.last.weight.detach().numpy()[2]
    # a bias against the class, so that nothing at all is not the class
    one.split.model.last.bias.data = torch.tensor([4.0, 0, -4, 0])
    order = np.argsort(-weights)
    real, nonsense = np.eye(6)[order[:3]], -np.eye(6)[:3]
    areas = {}
    for name, D in (("real", real), ("nonsense", nonsense)):
        W = embedded(one.activations, D)
        found = concept_fidelity.curves(one, W, D, [0, 1, 2])
        areas[name] = found.deleted.mean(), found.deleted_beside_rest.mean(), found.inserted.mean()
    assert areas["nonsense"][0] < areas["real"][0]  # low is called good
    assert areas["nonsense"][1] > areas["real"][1]
    assert areas["nonsense"][2] < areas["real"][2]


def test_a_linear_head_is_known_and_another_is_not():
    one = asked()
    head = concept_fidelity.linear_head(one)
    assert head.weights == pytest.approx(one.split.model.last.weight.detach().numpy(), abs=1e-4)
    assert head.bias == pytest.approx(one.split.model.last.bias.detach().numpy(), abs=1e-6)
    assert concept_fidelity.linear_head(asked(bend=True)) is None


def test_the_surrogate_is_the_model_where_directions_span_all_and_far_off_where_they_hold_nothing():
    one = asked()
    head = concept_fidelity.linear_head(one)
    whole, none = np.eye(6), -np.eye(6)[:3]
    exact = concept_fidelity.surf(one, head, embedded(one.activations, whole), whole)
    assert (exact.mae, exact.emd) == pytest.approx((0, 0), abs=1e-3)
    lost = concept_fidelity.surf(one, head, embedded(one.activations, none), none)
    logits = one.logits(one.activations)
    p, q = one.probabilities(logits), one.probabilities(np.broadcast_to(head.bias, logits.shape))
    assert lost.mae == pytest.approx(np.abs(logits - head.bias).mean(), rel=1e-4)
    assert lost.emd == pytest.approx(0.5 * np.abs(p - q).sum(1).mean(), rel=1e-4)
    assert lost.mae > 0.1
