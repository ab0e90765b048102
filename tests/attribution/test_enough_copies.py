"""As many noisy copies as it takes: the plain mean over opposite copies, and when it ends."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers import nets
from whyclass.attribution import enough_copies
from whyclass.attribution.enough_copies import FEWEST, MOST, standard_error
from whyclass.attribution.methods import METHODS
from whyclass.attribution.noise import opposite_copies
from whyclass.attribution.smoothgrad import Asked, Question, prepare, score_cells
from whyclass.models.split import split
from whyclass.models.tasks import logit
from whyclass.settings import Settings, preset

AUTO = Settings(copies="auto")
ONES = torch.ones(1, 3, nets.SIDE, nets.SIDE)
NETS = {
    "plain": (nets.Plain(), "stem"),
    "residual": (nets.Residual(), "stem"),
    "bypassed": (nets.Bypassed("cat"), "mid"),
}


def cut(name="residual"):
    model, layer = NETS[name]
    return split(nets.seeded(model), layer, nets.images(1))


def given(count=3):
    return [(image, f"digest {i}") for i, image in enumerate(nets.images(count))]


def question(own, target=2):
    return Question(target, prepare(own, ONES, logit(target)))


def scored(own, images, settings=AUTO, targets=(2,)):
    return enough_copies.scores(own, own.trunk, images, [question(own, k) for k in targets], settings)


def same(one, other) -> bool:
    names = ("cells", "signed", "missed", "changes")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("relu", ["after", "before"])
@pytest.mark.parametrize("name", NETS)
def test_scores_are_the_mean_over_the_opposite_copies(name, relu, method):
    own, settings = cut(name), Settings(copies="auto", relu=relu, method=method)
    images = given(7)  # of which not all fit into one batch
    (found,) = scored(own, images, settings)
    m = found.missed.shape[1]
    assert 2 * FEWEST <= m <= 2 * MOST
    assert m % 2 == 0
    asked = question(own)
    for row, (image, digest) in enumerate(images):
        copies = opposite_copies(image, digest, range(m // 2), settings)
        with torch.no_grad():
            activations = own.trunk(copies)
        made = METHODS[method](own, activations, copies, asked.baseline, logit(2))
        mean = made.values.mean(0)
        np.testing.assert_allclose(found.cells[row], score_cells(mean, relu), atol=1e-6)
        np.testing.assert_allclose(found.signed[row], mean.mean(0), atol=1e-6)
        np.testing.assert_allclose(found.missed[row], made.missed, atol=1e-5)
        np.testing.assert_allclose(found.changes[row], made.difference.abs(), atol=1e-4)


def test_copies_end_when_the_scores_are_sure(monkeypatch):
    own, images = cut(), given()
    few, many = (scored(own, images, Settings(copies="auto", noise=noise))[0] for noise in (0.01, 5.0))
    assert few.missed.shape == (3, 2 * FEWEST)
    assert many.missed.shape == (3, 2 * MOST)
    monkeypatch.setattr(enough_copies, "ENOUGH", 1e9)
    assert scored(own, images, Settings(copies="auto", noise=5.0))[0].missed.shape == (3, 2 * FEWEST)
    maps = np.stack([_maps(own, *one, range(5)) for one in images])
    monkeypatch.setattr(enough_copies, "ENOUGH", standard_error(maps) * 1.0001)
    assert scored(own, images)[0].missed.shape[1] <= 10
    lasting = [standard_error(maps[:, :pairs]) for pairs in (3, 4)]
    assert (scored(own, images)[0].missed.shape[1] == 10) == (min(lasting) > enough_copies.ENOUGH)


def _maps(own, image, digest, pairs, target=2) -> np.ndarray:
    """Each pair's mean attribution (P, h, w)."""
    copies = opposite_copies(image, digest, pairs, AUTO)
    activations, asked = own.trunk(copies).detach(), question(own, target)
    made = METHODS["deeplift"](own, activations, copies, asked.baseline, logit(target))
    return made.values.mean(1).unflatten(0, (-1, 2)).mean(1).detach().numpy()


def test_the_same_seed_gives_the_same_bytes_and_another_one_others():
    own, images = cut(), given()
    (found,), (again,) = scored(own, images), scored(own, images)
    assert same(found, again)
    (other,) = scored(own, images, Settings(copies="auto", seed=1))
    assert not np.array_equal(found.cells, other.cells)


def test_what_is_asked_beside_changes_no_byte(monkeypatch):
    """Each question ends by itself, though the copies are those of all."""
    own, images, targets = cut(), given(), (0, 2, 3)
    first = [[_maps(own, *one, range(FEWEST), k) for one in images] for k in targets]
    errors = sorted(standard_error(np.stack(maps)) for maps in first)
    monkeypatch.setattr(enough_copies, "ENOUGH", (errors[0] + errors[-1]) / 2)
    alone = [scored(own, images, targets=(k,))[0] for k in targets]
    assert len({one.missed.shape for one in alone}) > 1
    together = scored(own, images, targets=targets)
    assert all(same(one, other) for one, other in zip(alone, together, strict=True))


def test_small_batches_give_the_same(monkeypatch):
    own, images = cut(), given(5)
    (wide,) = scored(own, images)
    monkeypatch.setattr(enough_copies, "BATCH", 7)
    (narrow,) = scored(own, images)
    assert narrow.missed.shape == wide.missed.shape
    np.testing.assert_allclose(narrow.cells, wide.cells, atol=1e-6)


def test_a_number_of_copies_is_left_to_the_plain_way():
    own, images, settings = cut(), given(), Settings(copies=4)
    (found,) = scored(own, images, settings)
    plain = enough_copies.smoothgrad.smoothgrad(own, own.trunk, images, question(own), settings)
    assert same(found, plain)
    asked = [Asked(own, question(own))]
    assert same(found, enough_copies.at_layers(asked, lambda x: [own.trunk(x)], images, settings)[0])


def test_pairs_are_opposite_as_wide_as_set_and_each_its_own():
    (image,) = nets.images(1)
    copies = opposite_copies(image, "x", range(40), AUTO)
    noise = (copies - image).unflatten(0, (-1, 2))
    assert torch.allclose(noise[:, 0], -noise[:, 1], atol=1e-6)
    assert noise.std() == pytest.approx(0.25, rel=0.01)
    assert torch.equal(opposite_copies(image, "x", [7], AUTO), copies[14:16])
    assert not torch.equal(opposite_copies(image, "y", [7], AUTO), copies[14:16])
    assert len({float(one.sum()) for one in noise[:, 0]}) == 40


def test_copies_drawn_ahead_are_the_same_in_the_same_order():
    own, images, drawn_here = cut(), given(9), replace(AUTO, noise_on="processor")
    asked = Asked(own, question(own))
    plain = list(enough_copies._drawn(asked, images, range(3), drawn_here))
    elsewhere = type("E", (), {"device": torch.device("cuda")})()  # no card is touched: copies are only drawn
    moved = type("S", (), {"example": elsewhere, "together": lambda self, most: most})()
    ahead = list(enough_copies._drawn(Asked(moved, asked.question), images, range(3), drawn_here))
    assert [rows for rows, _ in plain] == [rows for rows, _ in ahead]
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(plain, ahead, strict=True))


def test_the_standard_error_is_what_it_says():
    rng = np.random.default_rng(0)
    true = rng.normal(0.5, 1, (30, 1, 4, 4))

    def drawn():
        return true + rng.normal(0, 0.4, (30, 6, 4, 4))

    kept = true[:, 0] > 0
    off = [np.linalg.norm((drawn().mean(1) - true[:, 0])[kept]) for _ in range(20)]
    wanted = np.mean(off) / np.linalg.norm(true[:, 0][kept]) / np.sqrt(30)
    assert np.mean([standard_error(drawn()) for _ in range(20)]) == pytest.approx(wanted, rel=0.1)
    assert standard_error(-np.ones((2, 3, 4, 4))) == float("inf")


def test_how_many_copies_are_expected():
    assert enough_copies.expected(AUTO) == 2 * FEWEST
    assert enough_copies.together(AUTO, 32) == 30
    assert enough_copies.together(AUTO, 3) == 2 * FEWEST
    assert enough_copies.expected(Settings()) == enough_copies.together(Settings(), 32) == 20
    assert enough_copies.together(Settings(copies=50), 32) == 32
    assert preset("fast") == AUTO
