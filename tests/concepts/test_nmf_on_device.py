"""Factorisations side by side are scikit-learn's one after the other; here on the processor."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from whyclass.concepts import nmf, nmf_on_device
from whyclass.concepts.nmf_on_device import Given, factorise_all, factorise_on
from whyclass.errors import AttributionError
from whyclass.records import Factors
from whyclass.settings import Settings

HERE = torch.device("cpu")
SETTINGS = Settings(concepts=3, starts=4, iterations=2000)


def given(seed=0, n=5, c=12, side=4, k=3, settings=SETTINGS, lost=0.3) -> Given:
    """Activations that are nearly of rank ``k``, some cells without a score."""
    rng = np.random.default_rng(seed)
    cells = rng.gamma(0.5, 1, (n * side * side, k)) @ rng.gamma(0.7, 1, (k, c))
    cells += 0.05 * rng.random(cells.shape)
    activations = cells.reshape(n, side, side, c).transpose(0, 3, 1, 2).astype(np.float32)
    scores = rng.random((n, side, side)).astype(np.float32)
    scores[rng.random(scores.shape) < lost] = 0
    return Given(np.ascontiguousarray(activations), scores, settings)


def plain(one: Given) -> Factors:
    return nmf.factorise(one.activations, one.scores, one.settings, 1)


def assert_same(found, wanted, cosine=0.9999):
    assert isinstance(found, Factors)
    assert found.concepts.shape == wanted.concepts.shape
    assert found.embeddings.shape == wanted.embeddings.shape
    both = np.abs(found.concepts @ wanted.concepts.T)
    assert both.max(1).min() > cosine
    assert found.residual == pytest.approx(wanted.residual, rel=1e-3)
    assert found.shares.sum() == pytest.approx(1)


@pytest.mark.parametrize("starts", [1, 2, 5])
def test_each_is_scikit_learns(starts):
    settings = replace(SETTINGS, starts=starts)
    every = [given(seed, settings=settings) for seed in range(3)]
    for found, one in zip(factorise_all(every, HERE), every, strict=True):
        wanted = plain(one)
        assert_same(found, wanted)
        assert found.converged == wanted.converged
        np.testing.assert_allclose(found.embeddings, wanted.embeddings, atol=2e-3 * wanted.embeddings.max())


@pytest.mark.parametrize("start", [0, 1])
def test_a_single_round_is_scikit_learns(start, monkeypatch):
    """What follows hides a wrong start; after one round nothing has been forgotten."""
    settings = replace(SETTINGS, starts=1, iterations=1, seed=3)
    if start:  # too many concepts for singular vectors, so the start is random
        settings = replace(settings, concepts=13)
    one = given(4, settings=settings, lost=0.0)
    (found,) = factorise_all([one], HERE)
    assert_same(found, plain(one), 0.99999)
    assert not found.converged


def test_what_stands_beside_changes_no_byte():
    every = [given(seed) for seed in range(5)]
    together, alone = factorise_all(every, HERE), factorise_all(every[1:2], HERE)[0]
    assert np.array_equal(together[1].concepts, alone.concepts)
    assert np.array_equal(together[1].embeddings, alone.embeddings)


def test_each_stops_by_itself():
    """A matrix that converges late does not carry the others on."""
    every = [given(seed, settings=replace(SETTINGS, tolerance=1e-3)) for seed in range(4)]
    slow = [given(seed, k=9, settings=replace(SETTINGS, tolerance=1e-3)) for seed in range(4)]
    found = factorise_all([*every, *slow], HERE)
    for one, wanted in zip(found, [plain(one) for one in (*every, *slow)], strict=True):
        assert_same(one, wanted)


def test_too_few_rounds_are_told():
    one = given(settings=replace(SETTINGS, iterations=3))
    (found,) = factorise_all([one], HERE)
    assert not found.converged
    assert_same(found, plain(one))


def test_scores_of_whole_images_may_be_zero():
    """Halves of a class's images are its activations with the other half's scores left out."""
    one = given()
    scores = one.scores.copy()
    scores[3:] = 0
    (found,) = factorise_all([replace(one, scores=scores)], HERE)
    half = Given(one.activations[:3], one.scores[:3], one.settings)
    wanted = plain(half)
    assert np.abs(found.concepts @ wanted.concepts.T).max(1).min() > 0.9999
    assert not found.embeddings[3:].any()


@pytest.mark.parametrize("signed", ["split", "clip", "semi"])
def test_signed_activations_as_on_the_processor(signed):
    one = given(settings=replace(SETTINGS, signed=signed))
    one = replace(one, activations=one.activations - np.float32(0.7 * one.activations.mean()), signed=True)
    (found,) = factorise_all([one], HERE)
    wanted = plain(one)
    assert np.abs(found.concepts @ wanted.concepts.T).max(1).min() > 0.99
    assert found.residual <= 1.005 * wanted.residual


def test_kinds_are_taken_apart_and_come_back_in_order():
    every = [given(0), given(1, c=10), given(2), given(3, n=3), given(4, n=7)]
    assert len({nmf_on_device._kind(one) for one in every}) == 3  # of 5 and of 7 images stand side by side
    for found, one in zip(factorise_all(every, HERE), every, strict=True):
        assert_same(found, plain(one))


def test_a_class_of_which_nothing_speaks_is_told_and_the_others_go_on():
    silent = replace(given(1), scores=np.zeros_like(given(1).scores))
    dead = replace(given(2), activations=np.zeros_like(given(2).activations))
    found = factorise_all([given(0), silent, dead], HERE)
    assert isinstance(found[0], Factors)
    for one, wanted in ((found[1], silent), (found[2], dead)):
        assert isinstance(one, AttributionError)
        with pytest.raises(AttributionError, match=str(one)[:30]):
            plain(wanted)


def test_the_processor_is_left_to_scikit_learn():
    one = given()
    found, wanted = factorise_on(HERE, one), plain(one)
    assert np.array_equal(found.concepts, wanted.concepts)


def test_singular_vectors_are_exact():
    rng = np.random.default_rng(0)
    X = torch.from_numpy(rng.gamma(0.3, 1, (2, 40, 24)).astype(np.float32))
    values, U, V = nmf_on_device._leading(X, 4)
    for i in range(2):
        u, s, vt = np.linalg.svd(X[i].numpy().astype(float), full_matrices=False)
        np.testing.assert_allclose(values[i].numpy(), s[:4], rtol=1e-5)
        assert (np.abs((U[i].numpy() * u[:, :4].T).sum(1)) > 0.9999).all()
        assert (np.abs((V[i].numpy() * vt[:4]).sum(1)) > 0.9999).all()
