"""Pictures by optimisation: the objective against loops, spaces against their inverses, and what is drawn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import nets
from planted import quick
from whyclass import codec, data, demo, report, world
from whyclass.data import Preprocessing
from whyclass.errors import LayerError, ModelError
from whyclass.split import split
from whyclass.study import Study
from whyclass.visualise import (
    Fourier,
    Generator,
    best_cosines,
    channel,
    direction,
    draw,
    moved,
    normalised,
    raw,
)

PLAIN = Preprocessing(None, (24, 32), mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
SMALL = Preprocessing(None, (nets.SIDE, nets.SIDE))


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def planted():
    return split(world.planted_net(), world.LAYER, random(1, 3, world.SIZE, world.SIZE))


# ---------------------------------------------------------------- what is to be large


def test_the_objective_is_dot_times_cosine_of_every_cell():
    x, vectors = random(2, 5, 3, 4), random(2, 5, seed=1)
    wanted = []
    for row, vector in zip(x, vectors / vectors.norm(dim=1, keepdim=True), strict=True):
        cells = row.reshape(5, -1).T
        each = [float(c @ vector) * max(float(c @ vector) / float(c.norm()), 0.1) ** 2 for c in cells]
        wanted.append(sum(each) / len(each))
    assert np.allclose(direction(vectors)(x), wanted, atol=1e-5)
    assert torch.allclose(direction(3 * vectors)(x), direction(vectors)(x))


def test_a_direction_of_another_layer_is_refused():
    with pytest.raises(LayerError, match="has 4 channels and the layer 5; draw it at the layer"):
        direction(random(1, 4))(random(1, 5, 2, 2))


def test_a_channel_is_a_direction():
    x = random(1, 5, 3, 3).abs()
    assert torch.allclose(best_cosines(x, channel(2, 5)[None], 1), (x / x.norm(dim=1))[:, 2].amax())
    with pytest.raises(LayerError, match="no channel 5; the layer has channels 0 to 4"):
        channel(5, 5)


# ---------------------------------------------------------------- what pictures are made from


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_picture_is_its_spectrum(channels):
    preprocessing = Preprocessing(None, (23, 32), mean=(0.4,) * channels, std=(0.3,) * channels)
    pixels = torch.rand(2, channels, 23, 32, generator=torch.Generator().manual_seed(0)) * 0.9 + 0.05
    space = Fourier(preprocessing, normalised(pixels, preprocessing))
    assert torch.allclose(space.pixels(space.start([])), pixels, atol=1e-4)
    assert torch.allclose(raw(normalised(pixels, preprocessing), preprocessing), pixels, atol=1e-6)


def test_a_start_is_its_own_whatever_stands_beside_it():
    space = Fourier(PLAIN)
    assert torch.equal(space.start([3, 4, 5])[1], space.start([4])[0])
    pixels = space.pixels(space.start([3, 4]))
    assert pixels.shape == (2, 3, 24, 32)
    assert not torch.equal(pixels[0], pixels[1])


def test_pictures_are_moved_each_by_its_own_generator():
    pixels = torch.rand(2, 3, 24, 32)
    both = moved(pixels, [torch.Generator().manual_seed(seed) for seed in (1, 2)])
    alone = moved(pixels[1:], [torch.Generator().manual_seed(2)])
    assert torch.allclose(both[1:], alone, atol=1e-6)
    assert both.shape == pixels.shape
    assert not torch.allclose(both, pixels, atol=0.05)


def test_what_is_moved_is_the_picture_itself(monkeypatch):
    for name, value in {"JITTER": 0.0, "DEGREES": 0.0, "SCALES": (1.0, 1.0)}.items():
        monkeypatch.setattr(f"whyclass.visualise.{name}", value)
    pixels = torch.rand(1, 3, 24, 32)
    assert torch.allclose(moved(pixels, [torch.Generator()]), pixels, atol=1e-4)


# ---------------------------------------------------------------- the optimisation


def test_a_picture_comes_closer_to_its_direction_than_noise(planted):
    vectors = torch.stack([channel(k, 64) for k in (3, 20)])
    space = Fourier(world.PREPROCESSING)
    told: list[int] = []
    noise = draw(planted, vectors, space, world.PREPROCESSING, steps=0)
    found = draw(planted, vectors, space, world.PREPROCESSING, steps=24, advance=told.append)
    assert (found.values > noise.values).all()
    assert (found.cosines > noise.cosines + 0.1).all()
    assert (found.steps, found.problem, told) == (24, "", [1] * 24)
    with torch.no_grad():
        assert torch.allclose(best_cosines(planted.trunk(found.images), vectors, 2), found.cosines, atol=1e-5)
    again = draw(planted, vectors, space, world.PREPROCESSING, steps=24)
    assert torch.equal(again.images, found.images)
    other = draw(planted, vectors, space, world.PREPROCESSING, steps=24, seed=1)
    assert not torch.equal(other.images, found.images)


def test_a_photograph_can_be_where_it_begins(planted):
    scene = world.as_input([world.scene(0, 1).image])
    vector = channel(3, 64)[None]
    start = draw(planted, vector, Fourier(world.PREPROCESSING, scene), world.PREPROCESSING, steps=0)
    assert (start.images - scene).abs().max() < 0.1  # pixels near black and white are drawn in a little
    found = draw(planted, vector, Fourier(world.PREPROCESSING, scene), world.PREPROCESSING, steps=8)
    assert found.values > start.values
    assert (found.images - scene).abs().mean() < (found.images + scene).abs().mean()


def test_the_model_is_left_as_it_was(planted):
    before = {name: value.clone() for name, value in planted.model.state_dict().items()}
    draw(planted, channel(0, 64)[None], Fourier(world.PREPROCESSING), world.PREPROCESSING, steps=2)
    assert all(torch.equal(before[name], value) for name, value in planted.model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in planted.model.parameters())


class Failing(nets.Plain):
    """Gives NaN from its ``after``-th call on."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after, self.calls, self.counting = after, 0, False

    def forward(self, x: Tensor) -> Tensor:
        self.calls += self.counting
        return super().forward(x * (math.nan if self.calls > self.after else 1))


def test_where_the_objective_is_no_number_the_last_good_picture_is_kept():
    net = nets.seeded(Failing(3)).eval()
    cut = split(net, "stem", random(1, 3, nets.SIDE, nets.SIDE))
    net.counting = True
    vector = channel(0, cut.shape[0])[None]
    found = draw(cut, vector, Fourier(SMALL), SMALL, steps=9)
    assert found.problem == "stopped at step 3 of 9, where the objective is not finite"
    assert found.steps == 3
    assert found.images.isfinite().all()
    net.calls, net.counting = 0, False
    assert torch.allclose(found.images, draw(cut, vector, Fourier(SMALL), SMALL, steps=2).images)


def test_a_model_that_gives_no_number_from_the_start_is_refused():
    net = nets.seeded(Failing(0)).eval()
    cut = split(net, "stem", random(1, 3, nets.SIDE, nets.SIDE))
    net.counting = True
    with pytest.raises(ModelError, match="not finite at its start; does the model hold NaN"):
        draw(cut, channel(0, cut.shape[0])[None], Fourier(SMALL), SMALL, steps=3)


# ---------------------------------------------------------------- a decoder's latent space


class Decoder(nn.Module):
    """Pixels by a linear map of ``z`` through a sigmoid; and back."""

    def __init__(
        self, size: tuple[int, ...] = (3, nets.SIDE, nets.SIDE), latent: object = 6, reach: float = 1
    ) -> None:
        super().__init__()
        self.latent, self.size, self.reach = latent, size, reach
        self.register_buffer("basis", random(6, math.prod(size), seed=5))

    def forward(self, z: Tensor) -> Tensor:
        return self.reach * (z @ self.basis).sigmoid().unflatten(1, self.size)

    def encode(self, pixels: Tensor) -> Tensor:
        return torch.linalg.lstsq(self.basis.T, torch.logit(pixels, 1e-4).flatten(1).T).solution.T


def test_a_decoders_latent_space_is_searched():
    cut = split(nets.seeded(nets.Plain()).eval(), "body", random(1, 3, nets.SIDE, nets.SIDE))
    space, vector = Generator(Decoder(), SMALL), channel(1, cut.shape[0])[None]
    start, found = (draw(cut, vector, space, SMALL, steps=steps) for steps in (0, 40))
    assert found.values > start.values
    assert found.images.shape == (1, 3, nets.SIDE, nets.SIDE)
    pixels = raw(found.images, SMALL)
    assert torch.allclose(Decoder()(Decoder().encode(pixels)), pixels, atol=1e-2)  # it lies in that space


def test_a_decoder_begins_from_what_it_encodes():
    pixels = Decoder()(random(1, 6, seed=9))
    space = Generator(Decoder(), SMALL, normalised(pixels, SMALL))
    assert torch.allclose(space.pixels(space.start([])), pixels, atol=1e-2)


def test_a_longer_latent_costs_more():
    space = Generator(Decoder(), SMALL)
    assert (space.cost(2 * torch.ones(1, 6)) > space.cost(torch.ones(1, 6)) * 3.9).all()


@pytest.mark.parametrize(
    ("decoder", "reason"),
    [
        (Decoder((3, 8, 8)), r"gives images of .* \(3, 8, 8\); the model takes \(3, "),
        (Decoder((1, nets.SIDE, nets.SIDE)), r"gives images of .* \(1, "),
        (Decoder(reach=255), "pixels reach from .*; needed are 0 to 1"),
        (Decoder(latent=None), "needs an attribute 'latent'"),
        (Decoder(latent=4), "the model failed on images of shape"),
    ],
    ids=["size", "channels", "range", "latent", "shape"],
)
def test_a_decoder_that_does_not_fit_is_refused(decoder, reason):
    with pytest.raises(ModelError, match=reason):
        Generator(decoder, SMALL)


# ---------------------------------------------------------------- in record and page


@pytest.fixture(scope="module")
def explained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    pool = world.write_pool(folder / "pool", 3)
    settings = quick(pictures="fourier", picture_steps=12)
    return Study(demo.loaded(), world.LAYER, pool, folder / "store", settings).explain("owl")


def test_each_concept_is_shown_with_what_it_would_draw(explained):
    for concept in explained.concepts:
        assert concept.drawn.steps == 12
        assert concept.drawn.cosine > concept.drawn.random
        shown = world.PREPROCESSING.tensor(np.asarray(data.decode(concept.drawn.picture)))
        cut = split(world.planted_net(), world.LAYER, shown[None])
        with torch.no_grad():
            cosine = best_cosines(cut.trunk(shown[None]), torch.tensor(concept.vector)[None], 2)
        assert float(cosine) == pytest.approx(concept.drawn.cosine, abs=0.02)  # 8 bits
    assert explained.drawn_test.picture.height == 6 * world.SIZE
    assert explained.drawn_test.control is None


def test_pages_and_objects_tell_of_the_pictures(explained):
    page = report.page(explained)
    assert page.count("What it would itself draw, optimised in 12 steps") == 6
    assert "with no control the test decides nothing" in page
    found = report.as_object(explained)
    assert found["concepts"][0]["drawn"]["steps"] == 12
    assert found["drawn_test"]["score"] == explained.drawn_test.score
    assert codec.decode(type(explained), codec.encode(explained), explained.format) is not None
    assert any(label == "Drawn pictures" for label, _ in report.rows(explained))
