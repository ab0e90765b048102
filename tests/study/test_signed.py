"""Layers with signed activations: what is planted is found, a control is not, and the page says so."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.planted_world import quick
from whyclass import Settings
from whyclass.checks import interventions
from whyclass.concepts import nmf
from whyclass.concepts.nmf import factorise
from whyclass.models.split import split
from whyclass.planted import demo, judgement, nets, world
from whyclass.report.page import page
from whyclass.settings import SIGNED
from whyclass.study.study import Study

LAYER = "stage3.4"
"""The last normalisation before the planted layer's ReLU."""


@pytest.fixture(scope="module")
def pool(tmp_path_factory) -> Path:
    return world.write_pool(tmp_path_factory.mktemp("world") / "pool", 20)


@pytest.fixture(scope="module")
def truth(pool):
    paths = [path.relative_to(pool).as_posix() for path in sorted(pool.glob("*/*.png"))]
    return {path: world.pool_picture(path, 0).masks for path in paths}


@pytest.fixture(scope="module", params=["split", "clip", "semi"])
def hawk(request, pool, tmp_path_factory):
    settings = Settings(images=20, copies=8, starts=4, examples=12, signed=request.param, precision="float32")
    return Study(demo.loaded(), LAYER, pool, tmp_path_factory.mktemp("s") / "store", settings).explain("hawk")


def found(findings) -> set[str]:
    return {finding.part for finding in findings if finding.found}


def test_what_was_planted_is_found(hawk, truth):
    needs = set(world.CLASSES[hawk.target.index].needs)
    assert len(found(judgement.judge(hawk, truth)) & needs) >= 2
    assert found(judgement.judge(hawk, truth)) <= needs
    assert hawk.prediction_test.including.predicted
    assert hawk.completeness.mean < 1e-4


def test_control_concepts_of_shuffled_channels_find_nothing(hawk, truth):
    """Heat and crops of other concepts' places: what makes them agree is the planted part alone."""
    order = np.random.default_rng(0).permutation(len(hawk.concepts))
    order = np.roll(order, 1) if (order == np.arange(len(order))).any() else order
    mixed = tuple(
        replace(concept, including=hawk.concepts[other].including)
        for concept, other in zip(hawk.concepts, np.roll(np.arange(len(order)), 1), strict=True)
    )
    right = found(judgement.judge(hawk, truth))
    assert len(found(judgement.judge(replace(hawk, concepts=mixed), truth))) < len(right)


def test_the_page_says_how_signed_activations_were_seen(hawk):
    words = {
        "split": "as channels of their own",
        "clip": "negative part was left out",
        "semi": "factorised as they are (semi-NMF)",
    }[hawk.settings["signed"]]
    assert words in page(hawk)
    assert any(words in warning for warning in hawk.warnings)


def test_concepts_have_both_signs_but_for_clipped_layers(hawk):
    least = min(concept.vector.min() for concept in hawk.concepts)
    assert (least < 0) == (hawk.settings["signed"] != "clip")
    for concept in hawk.concepts:
        assert np.linalg.norm(concept.vector) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("signed", ["split", "semi"])
@pytest.mark.parametrize("k", [2, 6])
def test_signed_factors_are_found_again(signed, k):
    """Cells made of directions of both signs, each in cells of its own."""
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(k, 16))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    cells = directions[np.arange(300) % k] * rng.uniform(0.5, 2, (300, 1)) + 0.01 * rng.normal(size=(300, 16))
    factors = factorise(cells.T.reshape(1, 16, 15, 20).astype(np.float32), EVERY, mixed(signed, concepts=k))
    cosine = factors.concepts @ directions.T  # not of the absolute values: the sign is known
    assert cosine.max(0).min() > 0.99
    assert factors.residual < 0.03


@pytest.fixture
def mixtures() -> np.ndarray:
    """Activations (1, 16, 15, 20) whose cells mix three directions of both signs, and a little noise."""
    rng = np.random.default_rng(2)
    directions = rng.normal(size=(3, 16))
    cells = rng.gamma(0.5, 1, (300, 3)) @ directions + 0.02 * rng.normal(size=(300, 16))
    return cells.T.reshape(1, 16, 15, 20).astype(np.float32)


EVERY = np.ones((1, 15, 20), np.float32)


def mixed(signed: str, **changes) -> Settings:
    return replace(quick(), **{"concepts": 3, "starts": 4, "iterations": 500} | changes, signed=signed)


def reconstruction(factors, activations: np.ndarray) -> float:
    """What the signed concepts leave of the cells, at the best scale: |X - WH| / |X|."""
    X = activations[0].reshape(16, -1).T
    WH = factors.embeddings.reshape(300, -1) @ factors.concepts
    return float(np.linalg.norm(X - WH * np.vdot(WH, X) / np.vdot(WH, WH)) / np.linalg.norm(X))


def test_semi_factorisation_leaves_less_of_mixtures_than_parts_do(mixtures):
    semi, parts = (factorise(mixtures, EVERY, mixed(how)) for how in ("semi", "split"))
    assert reconstruction(semi, mixtures) == pytest.approx(semi.residual, abs=1e-4)
    assert semi.residual < 0.03
    assert 2 * semi.residual < reconstruction(parts, mixtures)
    assert (semi.embeddings >= 0).all()


def twin(X: np.ndarray, k: int, rounds: int) -> float:
    """The alternating updates as Ding, Li and Jordan (2010) print them; the residual they end at."""

    def plus(M: np.ndarray) -> np.ndarray:
        return (np.abs(M) + M) / 2

    G = np.random.default_rng(5).random((len(X), k)) + 0.2
    for _ in range(rounds):
        F = X.T @ G @ np.linalg.pinv(G.T @ G)
        XF, FF = X @ F, F.T @ F
        G = G * np.sqrt((plus(XF) + G @ plus(-FF)) / (plus(-XF) + G @ plus(FF) + 1e-12))
    return float(np.linalg.norm(X - G @ (X.T @ G @ np.linalg.pinv(G.T @ G)).T) / np.linalg.norm(X))


def test_semi_factorisation_ends_where_the_published_updates_end(mixtures):
    found = factorise(mixtures, EVERY, mixed("semi", starts=1, tolerance=1e-5))
    assert found.converged
    assert found.residual == pytest.approx(twin(mixtures[0].reshape(16, -1).T, 3, 1000), rel=1e-2)
    assert not factorise(mixtures, EVERY, mixed("semi", tolerance=0.0, iterations=2)).converged


def test_semi_factorisation_is_the_same_on_any_number_of_threads_and_no_worse_for_more_starts(mixtures):
    one, two = (factorise(mixtures, EVERY, mixed("semi"), threads=threads) for threads in (1, 3))
    assert np.array_equal(one.concepts, two.concepts)
    assert one.residual <= factorise(mixtures, EVERY, mixed("semi", starts=1)).residual


def peak_of(work) -> int:
    """Bytes that are in use at most while something is done, beyond those from before."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def signed_cells() -> tuple[np.ndarray, np.ndarray]:
    """Activations (16, 256, 10, 10) of both signs, and scores."""
    activations = np.random.default_rng(4).normal(size=(16, 256, 10, 10)).astype(np.float32)
    return activations, np.ones((16, 10, 10), np.float32)


def test_starts_of_the_semi_factorisation_share_the_cells():
    activations, scores = signed_cells()
    settings = mixed("semi", starts=8, iterations=3)
    peak = peak_of(lambda: factorise(activations, scores, settings, threads=8))
    # cells in both precisions, directions, a clustering's copy of these, and embeddings of each start
    assert peak < 13 * activations.nbytes


@pytest.mark.parametrize(("signed", "most"), [("split", 3.2), ("clip", 1.2), ("semi", 1.2)])
def test_cells_are_made_without_copies(signed, most, monkeypatch):
    class EnoughError(Exception):
        pass

    def stop(X, settings, threads):
        raise EnoughError

    def work():
        with pytest.raises(EnoughError):
            factorise(activations, scores, mixed(signed))

    monkeypatch.setattr(nmf, "_nmf", stop)
    activations, scores = signed_cells()
    assert peak_of(work) < most * activations.nbytes


def test_more_signed_concepts_than_the_cells_hold_are_left_out():
    rng = np.random.default_rng(3)
    cells = rng.normal(size=4)[:, None] * np.arange(1, 5)
    found = factorise(
        cells.reshape(1, 4, 2, 2).astype(np.float32),
        np.ones((1, 2, 2), np.float32),
        mixed("semi", concepts=6),
    )
    assert 1 <= len(found.concepts) <= 6
    assert np.isfinite(found.concepts).all()
    assert found.residual < 1e-5


def test_a_layer_without_negatives_is_the_same_under_every_setting():
    rng = np.random.default_rng(1)
    activations, scores = rng.random((2, 5, 4, 4), np.float32), rng.random((2, 4, 4), np.float32)
    one, *others = (factorise(activations, scores, replace(quick(), signed=how)) for how in SIGNED)
    assert len(others) == 2
    for other in others:
        assert np.array_equal(one.concepts, other.concepts)


def test_clipping_forgets_cells_that_are_negative_throughout():
    activations = -np.ones((1, 3, 2, 2), np.float32)
    settings = replace(quick(), concepts=1, signed="clip")
    with pytest.raises(Exception, match="all zero"):
        factorise(activations, np.ones((1, 2, 2), np.float32), settings)
    found = factorise(activations, np.ones((1, 2, 2), np.float32), replace(settings, signed="split"))
    assert found.concepts[0] == pytest.approx([-(3**-0.5)] * 3, abs=1e-4)


def test_signed_cells_are_shifted_without_a_relu():
    model = nets.planted_net()
    images = torch.randn(2, 3, 96, 96)
    cut = split(model, LAYER, images)
    assert cut.signed
    with torch.no_grad():
        activations = cut.trunk(images)
        w = torch.randn(activations.shape[1])
        wanted = cut.head(activations + 2 * w[:, None, None]).double().softmax(1).numpy()
    found = interventions.shift(cut, activations.numpy(), images, w.numpy(), (0.0, 2.0))
    assert found[1] == pytest.approx(wanted, abs=1e-5)
