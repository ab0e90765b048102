"""Pictures by optimisation: the objective against loops, spaces against their inverses, and what is drawn."""

from __future__ import annotations

import html
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from helpers import nets
from helpers import part_detector as detector
from helpers.planted_nets import FORMS
from helpers.planted_world import WEIGHTS, Ran, model_arguments, quick, quick_arguments, whyclass
from whyclass import Explanation
from whyclass.checks.statistics import nonsense
from whyclass.errors import LayerError, ModelError, SettingsError
from whyclass.models.preprocessing import Preprocessing
from whyclass.models.split import split
from whyclass.models.tasks import Task
from whyclass.planted import demo, judgement, parts, world
from whyclass.planted import nets as planted_nets
from whyclass.pool.indexing_pass import Index, pooled_cells
from whyclass.pool.items import Item
from whyclass.pool.nearest_crops import Query, nearest
from whyclass.records import codec
from whyclass.report import json_objects, summary
from whyclass.report import page as report_page
from whyclass.study import crop_pictures
from whyclass.study.study import Study
from whyclass.visualise.optimise import SHARPNESS, best_cosines, channel, direction, draw, towards
from whyclass.visualise.parametrisations import Fourier, Generator, moved, normalised, raw

PLAIN = Preprocessing(None, (24, 32), mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
SMALL = Preprocessing(None, (nets.SIDE, nets.SIDE))


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def planted():
    return split(planted_nets.planted_net(), world.LAYER, random(1, 3, world.SIZE, world.SIZE))


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


def test_clipped_directions_know_only_positive_activations():
    x, vectors = random(2, 5, 3, 4), random(2, 5, seed=1).abs()
    assert torch.equal(direction(vectors, clipped=True)(x), direction(vectors)(x.clamp(min=0)))


@pytest.mark.parametrize("clipped", [False, True])
def test_a_pictures_cosine_is_measured_as_that_of_a_crop(clipped):
    x, vectors = random(2, 5, 4, 6), random(2, 5, seed=1).abs()
    cells = pooled_cells(x, 2).numpy()
    index = Index((Item("a", "a"), Item("b", "b")), np.zeros((2, 2), np.float32), cells, (2, 3), {}, Task(2))
    unit = (vectors / vectors.norm(dim=1, keepdim=True)).numpy()
    masks = {name: np.arange(2) == row for row, name in enumerate("ab")}
    (places,) = nearest(index, [Query(unit, masks, clipped)], 1)
    wanted = [places[name][row][0].cosine for row, name in enumerate("ab")]
    assert np.allclose(best_cosines(x, vectors, 2, clipped), wanted, atol=1e-6)


def test_then_the_cosine_of_pooled_cells_is_drawn_up_the_best_ones_foremost():
    x, vectors = random(2, 5, 4, 6), random(2, 5, seed=1)
    found = towards(vectors)(x)
    for row, vector in enumerate(vectors / vectors.norm(dim=1, keepdim=True)):
        each = [max(float(cell @ vector), 0.1) for cell in pooled_cells(x, 2)[row]]
        wanted = (sum(cosine**SHARPNESS for cosine in each) / len(each)) ** (1 / SHARPNESS)
        assert float(found[row]) == pytest.approx(wanted, abs=1e-5)
    assert (found <= best_cosines(x, vectors, 2).clamp(min=0.1)).all()
    assert towards(vectors)(torch.zeros(2, 5, 4, 6)).isfinite().all()


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


def test_moves_come_to_rest():
    pixels = torch.rand(1, 3, 24, 32)

    def off(strength: float) -> float:
        return float((moved(pixels, [torch.Generator().manual_seed(2)], strength) - pixels).abs().mean())

    assert off(0) == 0
    assert 0 < off(0.02) < off(0.3)


def test_what_is_moved_is_the_picture_itself(monkeypatch):
    for name, value in {"JITTER": 0.0, "DEGREES": 0.0, "SCALES": (1.0, 1.0)}.items():
        monkeypatch.setattr(f"whyclass.visualise.parametrisations.{name}", value)
    pixels = torch.rand(1, 3, 24, 32)
    assert torch.allclose(moved(pixels, [torch.Generator()]), pixels, atol=1e-4)


def spread(pixels: Tensor) -> tuple[float, float]:
    """Direction (radians from x, modulo pi) and length of the one bar in a grey picture (1, C, S, T)."""
    weight = (pixels[0, 0].double() - 0.5).abs()
    y, x = torch.meshgrid(*(torch.arange(side).double() for side in weight.shape), indexing="ij")
    weight, points = weight / weight.sum(), torch.stack([x, y])
    points = points - (points * weight).sum((1, 2), keepdim=True)
    lengths, axes = torch.linalg.eigh(torch.einsum("ahw,bhw,hw->ab", points, points, weight))
    return math.atan2(axes[1, 1], axes[0, 1]) % math.pi, float(lengths[1].sqrt())


def test_a_picture_that_is_not_square_is_turned_and_not_sheared(monkeypatch):
    for name, value in {"JITTER": 0.0, "DEGREES": 30.0, "SCALES": (1.0, 1.0)}.items():
        monkeypatch.setattr(f"whyclass.visualise.parametrisations.{name}", value)
    numbers = torch.rand(4, generator=torch.Generator().manual_seed(1))
    angle = (2 * float(numbers[0]) - 1) * math.radians(30)
    assert abs(angle) > 0.2
    for rows, columns in [((30, 34), (76, 116)), ((12, 52), (94, 98))]:  # a bar along x, one along y
        bar = torch.full((1, 3, 64, 192), 0.5)
        bar[..., slice(*rows), slice(*columns)] = 1
        turned = moved(bar, [torch.Generator().manual_seed(1)])
        (before, length), (after, kept) = spread(bar), spread(turned)
        assert math.remainder(before - after - angle, math.pi) == pytest.approx(0, abs=0.01)
        assert kept == pytest.approx(length, rel=0.01)


# ---------------------------------------------------------------- the optimisation


def test_a_picture_comes_closer_to_its_direction_than_noise(planted):
    vectors = torch.stack([channel(k, 64) for k in (3, 20)])
    space = Fourier(world.PREPROCESSING)
    told: list[int] = []
    noise = draw(planted, vectors, space, world.PREPROCESSING, steps=0)
    found = draw(planted, vectors, space, world.PREPROCESSING, steps=24, advance=told.append)
    assert (found.values > noise.values).all()
    assert (found.cosines > noise.cosines + 0.1).all()
    assert (found.steps, found.problems, told) == ((24, 24), ("", ""), [1] * 24)
    with torch.no_grad():
        assert torch.allclose(best_cosines(planted.trunk(found.images), vectors, 2), found.cosines, atol=1e-5)
    again = draw(planted, vectors, space, world.PREPROCESSING, steps=24)
    assert torch.equal(again.images, found.images)
    other = draw(planted, vectors, space, world.PREPROCESSING, steps=24, seed=1)
    assert not torch.equal(other.images, found.images)


def test_a_photograph_can_be_where_it_begins(planted):
    scene = planted_nets.as_input([world.planted_picture(0, 1).image])
    vector = channel(3, 64)[None]
    start = draw(planted, vector, Fourier(world.PREPROCESSING, scene), world.PREPROCESSING, steps=0)
    assert (start.images - scene).abs().max() < 0.1  # pixels near black and white are drawn in a little
    found = draw(planted, vector, Fourier(world.PREPROCESSING, scene), world.PREPROCESSING, steps=8)
    assert found.values > start.values
    assert (found.images - scene).abs().mean() < (found.images + scene).abs().mean()


@pytest.mark.parametrize("count", [1, 3])
def test_as_many_images_to_begin_from_as_directions(planted, count):
    images = torch.zeros(count, 3, world.SIZE, world.SIZE)
    with pytest.raises(SettingsError, match=f"images to begin from: {count}; directions: 2; give one"):
        draw(planted, random(2, 64), Fourier(world.PREPROCESSING, images), world.PREPROCESSING, steps=0)


def test_the_model_is_left_as_it_was(planted):
    before = {name: value.clone() for name, value in planted.model.state_dict().items()}
    draw(planted, channel(0, 64)[None], Fourier(world.PREPROCESSING), world.PREPROCESSING, steps=2)
    assert all(torch.equal(before[name], value) for name, value in planted.model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in planted.model.parameters())


@pytest.fixture(scope="module")
def stem():
    cut = split(nets.seeded(nets.Plain()).eval(), "stem", random(1, 3, nets.SIDE, nets.SIDE))
    return cut, torch.stack([channel(k, cut.shape[0]) for k in (0, 1)])


@pytest.mark.parametrize("lost", [[1], [0, 1]], ids=["one", "all"])
@pytest.mark.parametrize("at", [3, 5], ids=["midway", "last"])
def test_where_the_objective_is_no_number_the_last_good_picture_is_kept(stem, monkeypatch, at, lost):
    cut, vectors = stem
    for name, value in {"BEGIN": 2, "STILL": (2, 3), "LAST": 1 - 1e-9}.items():  # all steps are alike
        monkeypatch.setattr(f"whyclass.visualise.optimise.{name}", value)
    whole, early = (draw(cut, vectors, Fourier(SMALL), SMALL, steps=steps) for steps in (5, at - 1))

    class Spoiled(torch.optim.Adam):
        made = 0

        def step(self) -> None:
            super().step()
            self.made += 1
            if self.made == at:
                self.param_groups[0]["params"][0].data[lost] = math.nan

    monkeypatch.setattr(torch.optim, "Adam", Spoiled)
    found = draw(cut, vectors, Fourier(SMALL), SMALL, steps=5)
    for row in (0, 1):
        reason = f"stopped at step {at} of 5, where the objective is not finite" if row in lost else ""
        wanted = early if row in lost else whole
        assert (found.steps[row], found.problems[row]) == (at if row in lost else 5, reason)
        assert torch.allclose(found.images[row], wanted.images[row], atol=1e-6)
        assert torch.allclose(found.values[row], wanted.values[row], atol=1e-6)
        assert torch.allclose(found.cosines[row], wanted.cosines[row], atol=1e-6)


@pytest.mark.parametrize("steps", [0, 3])
def test_an_objective_that_is_no_number_from_the_start_is_refused(stem, steps):
    cut, vectors = stem
    vectors = torch.stack([vectors[0], vectors[1] * math.nan])
    with pytest.raises(
        ModelError, match="not finite for directions 1 of 2; does the model, the direction or the"
    ):
        draw(cut, vectors, Fourier(SMALL), SMALL, steps=steps)


# ---------------------------------------------------------------- a decoder's latent space


class Decoder(nn.Module):
    """Pixels by a linear map of ``z`` through a sigmoid; and back."""

    def __init__(
        self, size: tuple[int, ...] = (3, nets.SIDE, nets.SIDE), latent: object = 6, reach: float = 1
    ) -> None:
        super().__init__()
        self.latent, self.size, self.reach = latent, size, reach
        self.register_buffer("basis", random(6, math.prod(size), seed=5))
        self.register_buffer("inverse", torch.linalg.pinv(self.basis))

    def forward(self, z: Tensor) -> Tensor:
        return self.reach * (z @ self.basis).sigmoid().unflatten(1, self.size)

    def encode(self, pixels: Tensor) -> Tensor:
        return torch.logit(pixels, 1e-4).flatten(1) @ self.inverse


def test_a_decoders_latent_space_is_searched():
    cut = split(nets.seeded(nets.Plain()).eval(), "body", random(1, 3, nets.SIDE, nets.SIDE))
    space, vector = Generator(Decoder(), SMALL), channel(1, cut.shape[0])[None]
    space.candidates, space.rate = 1, 0.05
    start, found = (draw(cut, vector, space, SMALL, steps=steps) for steps in (0, 40))
    assert found.values > start.values
    assert found.images.shape == (1, 3, nets.SIDE, nets.SIDE)
    pixels = raw(found.images, SMALL)
    assert torch.allclose(Decoder()(Decoder().encode(pixels)), pixels, atol=1e-2)  # it lies in that space


def test_a_decoder_begins_from_what_it_encodes():
    pixels = Decoder()(random(1, 6, seed=9))
    space = Generator(Decoder(), SMALL, normalised(pixels, SMALL))
    assert torch.allclose(space.pixels(space.start([])), pixels, atol=1e-2)


def test_images_to_begin_from_need_a_decoder_that_encodes(monkeypatch):
    monkeypatch.delattr(Decoder, "encode")
    with pytest.raises(ModelError, match=r"has no method 'encode'.*; give it one, or begin without images"):
        Generator(Decoder(), SMALL, torch.zeros(1, 3, nets.SIDE, nets.SIDE))


def test_a_decoder_may_lie_on_another_device():
    """As only one device is sure to be here, the other is "meta": it takes tensors and gives none back."""
    decoder = Decoder()
    space = Generator(decoder, SMALL, torch.zeros(1, 3, nets.SIDE, nets.SIDE))
    decoder.to("meta")
    assert space.start([0]).device.type == "meta"
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
        space.pixels(torch.zeros(1, 6))


def test_a_longer_latent_costs_more():
    space = Generator(Decoder(), SMALL)
    assert (space.cost(2 * torch.ones(1, 6)) > space.cost(torch.ones(1, 6)) * 3.9).all()


@pytest.mark.parametrize(
    ("decoder", "reason"),
    [
        (Decoder((3, 8, 8)), r"gives images of .* \(3, 8, 8\); the model takes \(3, "),
        (Decoder((1, nets.SIDE, nets.SIDE)), r"gives images of .* \(1, "),
        (Decoder(reach=255), "pixels reach from .*; needed are 0 to 1"),
        (Decoder(reach=math.nan), "pixels reach from nan to nan; needed are 0 to 1"),
        (Decoder(latent=None), "attribute 'latent' is None; needed is the length or the shape"),
        (Decoder(latent=4), r"the decoder fails on z of shape \(2, 4\): RuntimeError: .*'latent' fit"),
    ],
    ids=["size", "channels", "range", "nan", "latent", "shape"],
)
def test_a_decoder_that_does_not_fit_is_refused(decoder, reason):
    with pytest.raises(ModelError, match=reason):
        Generator(decoder, SMALL)


def test_an_encoder_that_gives_no_z_is_refused(monkeypatch):
    monkeypatch.setattr(Decoder, "encode", lambda self, pixels: (pixels, pixels))
    with pytest.raises(
        ModelError, match=r"encode gives tuple; needed is z of shape \(1, 6\), the mean alone"
    ):
        Generator(Decoder(), SMALL, torch.zeros(1, 3, nets.SIDE, nets.SIDE))


def test_a_decoder_in_training_mode_is_used_in_evaluation_mode_and_left_as_it_was():
    decoder = planted_nets.planted_decoder().train()
    before = {name: value.clone() for name, value in decoder.state_dict().items()}
    scene = planted_nets.as_input([world.planted_picture(0, 1).image])
    space = Generator(decoder, world.PREPROCESSING, scene)
    found = space.pixels(space.start([]))
    assert torch.equal(found, Generator(decoder.eval(), world.PREPROCESSING, scene).pixels(space.start([])))
    assert all(torch.equal(value, before[name]) for name, value in decoder.state_dict().items())


def test_a_decoder_may_have_another_precision():
    decoder = planted_nets.planted_decoder().to(torch.bfloat16)
    pixels = Generator(decoder, world.PREPROCESSING).pixels(torch.zeros(1, *decoder.latent))
    assert pixels.dtype == torch.float32


def test_noise_that_decodes_to_no_number_is_not_begun_from(planted):
    class Broken(planted_nets.PlantedDecoder):
        def forward(self, z: Tensor) -> Tensor:
            return torch.where(z[:, :1, :1, :1] > 0.5, math.nan, super().forward(z))

    decoder = Broken()
    decoder.load_state_dict(planted_nets.planted_decoder().state_dict())
    space = Generator(planted_nets.planted_decoder(), world.PREPROCESSING)
    space._decoder = decoder.eval()
    found = draw(planted, channel(3, 64)[None], space, world.PREPROCESSING, steps=0)
    assert found.values.isfinite().all()


@pytest.mark.parametrize(
    "vectors", [torch.ones(64), torch.ones(0, 64), torch.eye(2, 64) * torch.tensor([[1], [0]])]
)
def test_directions_are_rows_that_point_somewhere(planted, vectors):
    with pytest.raises(
        LayerError, match=r"needed are rows \(n, channels\), one or more and none of them zero"
    ):
        draw(planted, vectors, Fourier(world.PREPROCESSING), world.PREPROCESSING, steps=0)


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
        shown = world.PREPROCESSING.tensor(np.asarray(crop_pictures.decode(concept.drawn.picture)))
        cut = split(planted_nets.planted_net(), world.LAYER, shown[None])
        with torch.no_grad():
            cosine = best_cosines(cut.trunk(shown[None]), torch.tensor(concept.vector)[None], 2)
        assert float(cosine) == pytest.approx(concept.drawn.cosine, abs=0.02)  # 8 bits
    assert explained.drawn_test.picture.height == explained.drawn_control.picture.height == 6 * world.SIZE
    assert explained.drawn_control.score != explained.drawn_test.score


def shuffled(vectors: Tensor, seed: int) -> Tensor:
    return torch.from_numpy(nonsense(vectors.numpy(), seed, len(vectors)))


def test_without_controls_no_random_directions_are_drawn(tmp_path):
    pool = world.write_pool(tmp_path / "pool", 3)
    settings = quick(pictures="fourier", picture_steps=2, controls=0)
    found = Study(demo.loaded(), world.LAYER, pool, tmp_path / "store", settings).explain("owl")
    assert found.drawn_control is None
    assert "with no control the test decides nothing" in report_page.page(found)


def test_random_directions_are_concepts_with_their_channels_in_another_order():
    vectors = torch.arange(12.0).view(2, 6)
    found = shuffled(vectors, 0)
    assert torch.equal(found.sort(1).values, vectors)
    orders = [row.argsort().tolist() for row in found]
    assert orders[0] != orders[1]
    assert list(range(6)) not in orders
    assert torch.equal(shuffled(vectors, 0), found)
    assert not torch.equal(shuffled(vectors, 1), found)


def test_where_concepts_are_clipped_so_are_the_cosines_of_their_pictures(tmp_path):
    pool = world.write_pool(tmp_path / "pool", 3)
    settings = quick(signed="clip", pictures="fourier", picture_steps=2)
    found = Study(demo.loaded(), "stage3.4", pool, tmp_path / "store", settings).explain("owl")
    for concept in found.concepts:
        shown = world.PREPROCESSING.tensor(np.asarray(crop_pictures.decode(concept.drawn.picture)))[None]
        with torch.no_grad():
            x = split(planted_nets.planted_net(), "stage3.4", shown).trunk(shown)
        clipped, signed = (
            float(best_cosines(x, torch.tensor(concept.vector)[None], 2, clip)) for clip in (True, False)
        )
        assert concept.drawn.cosine == pytest.approx(clipped, abs=0.02)  # 8 bits
        assert abs(clipped - signed) > 0.05


def test_pages_and_objects_tell_of_the_pictures(explained):
    page = report_page.page(explained)
    assert page.count("What it would itself draw, optimised in 12 steps") == 6
    assert "To pictures of as many random directions, the concepts with their channels in another" in page
    found = json_objects.as_object(explained)
    assert found["concepts"][0]["drawn"]["steps"] == 12
    assert found["drawn_test"]["score"] == explained.drawn_test.score
    assert found["drawn_control"]["score"] == explained.drawn_control.score
    assert codec.decode(type(explained), codec.encode(explained), explained.format) is not None
    assert any(label == "Drawn pictures" for label, _ in summary.rows(explained))


@pytest.mark.parametrize("form", ["vit", "unet"])
def test_tokens_and_segmentation_nets_draw_too(tmp_path, form):
    pool, planted = world.write_pool(tmp_path / "pool", 3), FORMS[form]
    settings = quick(pictures="fourier", picture_steps=16, controls=2)
    found = Study(planted.trained(), planted.layer, pool, settings=settings).explain("owl")
    assert np.mean([concept.drawn.cosine - concept.drawn.random for concept in found.concepts]) > 0.1
    assert "To pictures of as many random directions" in report_page.page(found)


def test_a_grey_net_draws_in_grey(tmp_path):
    pool = [np.random.default_rng(k).integers(0, 256, (nets.SIDE, nets.SIDE), np.uint8) for k in range(6)]
    model = nets.seeded(nets.Plain())
    first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    first.weight = nn.Parameter(first.weight[:, :1].detach())
    first.in_channels = 1
    grey = Preprocessing(None, (nets.SIDE, nets.SIDE), mean=(0.5,), std=(0.5,))
    settings = quick(pictures="fourier", picture_steps=3)
    study = Study(model, "body", pool, tmp_path / "store", settings, preprocessing=grey)
    found = study.explain(study.context().classes()[0])
    for concept in found.concepts:
        pixels = np.asarray(crop_pictures.decode(concept.drawn.picture).convert("RGB"))
        assert (pixels[..., 0] == pixels[..., 1]).all()


@pytest.mark.parametrize("space", ["fourier", "generator"])
def test_pictures_can_begin_from_the_image_of_the_best_crop(tmp_path, space):
    pool = world.write_pool(tmp_path / "pool", 3)
    settings = quick(pictures=space, picture_steps=2, picture_start="image", controls=0)
    decoder = planted_nets.planted_decoder()
    study = Study(demo.loaded(), world.LAYER, pool, tmp_path / "store", settings, decoder=decoder)
    found = study.explain("owl")
    for concept in found.concepts:
        begun = study.context().picture(study.context().position(concept.including[0].image.path))
        shown = (
            torch.from_numpy(np.asarray(crop_pictures.decode(concept.drawn.picture)) / 255)
            .permute(2, 0, 1)
            .float()
        )
        wanted = torch.from_numpy(np.asarray(begun) / 255).permute(2, 0, 1).float()
        if space == "generator":
            with torch.no_grad():
                wanted = decoder(decoder.encode(wanted[None]))[0]
        assert (shown - wanted).abs().mean() < 0.6 * (shown - (1 - wanted)).abs().mean()
    assert "from its best crop's image: cosine" in html.unescape(report_page.page(found))


# ---------------------------------------------------------------- a decoder of the user's own


def test_without_a_decoder_nothing_is_drawn_in_its_space(tmp_path):
    pool = world.write_pool(tmp_path / "pool", 2)
    study = Study(demo.loaded(), world.LAYER, pool, tmp_path / "store", quick(pictures="generator"))
    with pytest.raises(SettingsError, match=r"there is no decoder; give one .* or draw them as spectra"):
        study.explain("owl")


def test_a_decoder_that_does_not_fit_is_refused_before_anything_is_computed(tmp_path):
    pool = world.write_pool(tmp_path / "pool", 2)
    settings = quick(pictures="generator")
    study = Study(demo.loaded(), world.LAYER, pool, tmp_path / "store", settings, decoder=Decoder((3, 8, 8)))
    with pytest.raises(ModelError, match="the model takes"):
        study.explain("owl")
    assert study.progress.seconds.keys() == {"load"}


def test_what_was_drawn_by_another_recipe_is_not_shown(tmp_path, monkeypatch):
    pool = world.write_pool(tmp_path / "pool", 2)
    study, plain = (
        Study(demo.loaded(), world.LAYER, pool, tmp_path / "store", quick(pictures=pictures))
        for pictures in ("fourier", "none")
    )
    before = study.key(0), plain.key(0)
    monkeypatch.setattr("whyclass.visualise.optimise.RECIPE", 0)
    assert study.key(0) != before[0]
    assert plain.key(0) == before[1]


def test_a_decoder_that_cannot_encode_is_refused_before_anything_is_computed(tmp_path, monkeypatch):
    pool = world.write_pool(tmp_path / "pool", 2)
    monkeypatch.delattr(Decoder, "encode")
    settings = quick(pictures="generator", picture_start="image")
    decoder = Decoder((3, world.SIZE, world.SIZE))
    study = Study(demo.loaded(), world.LAYER, pool, tmp_path / "store", settings, decoder=decoder)
    with pytest.raises(ModelError, match="has no method 'encode'"):
        study.explain("owl")
    assert study.progress.seconds.keys() == {"load"}


def test_pictures_of_one_decoder_are_not_shown_as_those_of_another(tmp_path):
    pool = world.write_pool(tmp_path / "pool", 3)
    settings = quick(pictures="generator", picture_steps=2, controls=0)
    size = (3, world.SIZE, world.SIZE)
    other = Decoder(size)
    other.basis *= -1
    found = [
        Study(demo.loaded(), world.LAYER, pool, tmp_path / "store", settings, decoder=decoder).explain("owl")
        for decoder in (Decoder(size), other, Decoder(size))
    ]
    pictures = [[concept.drawn.picture.data for concept in one.concepts] for one in found]
    assert pictures[0] == pictures[2]
    assert pictures[0] != pictures[1]
    plain = Study(demo.loaded(), world.LAYER, pool, tmp_path / "store", quick()).key(0)
    unused = Study(demo.loaded(), world.LAYER, pool, tmp_path / "store", quick(), decoder=other).key(0)
    assert plain == unused  # where nothing is drawn from it, it changes nothing


DECODER = """
from whyclass.planted.nets import PlantedDecoder

def decoder():
    return PlantedDecoder()

class Small(PlantedDecoder):
    def forward(self, z):
        return super().forward(z)[..., ::2, ::2]

def number():
    return 3
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("decoder")
    world.write_pool(folder / "pool", 3)
    (folder / "factory.py").write_text(DECODER)  # the model's own file has that name too
    return folder


def drawn_by(folder, *more) -> Ran:
    arguments = [*model_arguments(folder / "model"), *quick_arguments(), "--set", "picture_steps=2"]
    places = ["--images", folder / "pool", "--store", folder / "store", "--quiet", "--json"]
    return whyclass("explain", *arguments, *places, "--class", "owl", *more)


def test_a_decoder_comes_from_a_file_with_its_weights(folder):
    weights = WEIGHTS.with_name("decoder.safetensors")
    ran = drawn_by(
        folder,
        "--pictures",
        "generator",
        "--decoder",
        f"{folder}/factory.py:decoder",
        "--decoder-weights",
        weights,
    )
    assert ran.code == 0, ran.err
    assert ran.json["settings"]["pictures"] == "generator"
    assert {concept["drawn"]["steps"] for concept in ran.json["concepts"]} == {2}
    assert "optimised in 2 steps in the decoder's space" in html.unescape(Path(ran.json["page"]).read_text())
    (file,) = (folder / "store" / "explanations").glob("*")
    study = Study(
        demo.loaded(),
        world.LAYER,
        folder / "pool",
        settings=quick(pictures="generator", picture_steps=2),
        decoder=planted_nets.planted_decoder(),
    )
    wanted = [concept.drawn.picture.data for concept in study.explain("owl").concepts]
    assert [concept.drawn.picture.data for concept in Explanation.load(file).concepts] == wanted


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["--pictures", "generator"], "there is no decoder; give one (--decoder path/to/file.py:factory)"),
        (
            ["--pictures", "generator", "--decoder", "decoder"],
            "'decoder' is not understood; give path/to/file.py",
        ),
        (["--pictures", "generator", "--decoder", "{}/none.py:decoder"], "there is no file"),
        (["--pictures", "generator", "--decoder", "{}/factory.py:other"], "has no function 'other'"),
        (
            ["--pictures", "generator", "--decoder", "{}/factory.py:number"],
            "gave a int; needed is a torch.nn",
        ),
        (
            ["--pictures", "generator", "--decoder", "{}/factory.py:Small"],
            "(3, 48, 48); the model takes (3, 96",
        ),
        (["--pictures", "generator", "--decoder-weights", "w.pt"], "came without --decoder"),
        (["--pictures", "fourier", "--decoder", "{}/factory.py:decoder"], "add --pictures generator"),
        (["--pictures", "oil"], "pictures is 'oil'; choose one of none, fourier, generator"),
        (["--set", "picture_start=crop"], "picture_start is 'crop'; choose one of noise, image"),
    ],
)
def test_what_cannot_be_drawn_is_refused(folder, more, reason):
    ran = drawn_by(folder, *(text.replace("{}", str(folder)) for text in more))
    assert (ran.code, ran.json["schema"]) == (1, "whyclass/error/1")
    assert reason in ran.message


# ---------------------------------------------------------------- what was planted


PLANTED = ("owl", "saturn", "jester", "bee")
"""Classes with nine parts between them, and a concept that points to each."""


@pytest.fixture(scope="module")
def pointing(tmp_path_factory):
    """Concepts that point to a planted part by their heat and crops, (n, 64), and the parts' numbers."""
    folder = tmp_path_factory.mktemp("pointing")
    pool = world.write_pool(folder / "pool", 20)
    settings = quick(images=20, copies=8, starts=2, crops=8, examples=12, controls=0)
    study = Study(demo.loaded(), world.LAYER, pool, folder / "store", settings)
    truth = {item.path: world.pool_picture(item.path).masks for item in study.pool.items}
    vectors, numbers = [], []
    for name in PLANTED:
        explained = study.explain(name)
        for finding in judgement.judge(explained, truth, 0):
            if finding.found and finding.planted:
                vectors.append(explained.concepts[finding.concept].vector)
                numbers.append(next(n for n, part in enumerate(parts.PARTS) if part.name == finding.part))
    return torch.tensor(np.stack(vectors)), torch.tensor(numbers)


@pytest.fixture(scope="module")
def scenes() -> tuple[Tensor, Tensor]:
    """Pixels of scenes that no network has seen, and which parts they show."""
    drawn = [
        world.planted_picture(index, 5_000 + seed) for index in range(len(world.CLASSES)) for seed in range(8)
    ]
    there = torch.tensor([[part.name in one.masks for part in parts.PARTS] for one in drawn])
    return torch.stack([torch.from_numpy(one.image) for one in drawn]).permute(0, 3, 1, 2) / 255, there


def extent(planted, space, directions: Tensor, numbers: Tensor, steps: int) -> Tensor:
    """How many cells of the detector's map show the part of that number in the picture of each direction."""
    found = draw(planted, directions, space, world.PREPROCESSING, steps=steps)
    cells = detector.cells(detector.detector(), raw(found.images, world.PREPROCESSING))
    return cells[torch.arange(len(numbers)), numbers]


def contains(planted, space, vectors: Tensor, numbers: Tensor, steps: int) -> None:
    """Pictures of concepts show their parts, those of random directions less of them, noise hardly any."""
    own = extent(planted, space, vectors, numbers, steps)
    assert (own >= detector.CELLS).all()
    # a direction of channels in any order is made of what the layer knows, which is parts: mostly others
    random = torch.stack([extent(planted, space, shuffled(vectors, s), numbers, steps) for s in range(2)])
    assert (random >= own).float().mean() <= 0.2
    assert random.float().median() <= 0.15 * own.median()
    space.candidates = 1
    assert (extent(planted, space, vectors, numbers, 0) < detector.CELLS).float().mean() >= 0.8


def test_a_picture_contains_the_planted_part_and_that_of_a_random_direction_less(planted, pointing):
    vectors, numbers = pointing
    assert len(vectors) >= 8
    contains(planted, Fourier(world.PREPROCESSING), vectors, numbers, 128)


@pytest.mark.slow
def test_so_does_one_in_a_decoders_space_where_the_decoder_can_draw_the_part(planted, pointing, scenes):
    vectors, numbers = pointing
    decoder, (pixels, there) = planted_nets.planted_decoder(), scenes
    with torch.no_grad():
        back = detector.shown(detector.detector(), decoder(decoder.encode(pixels)))
    can = (back & there).sum(0) > 0.5 * there.sum(0)
    vectors, numbers = vectors[can[numbers]], numbers[can[numbers]]
    assert len(vectors) >= 5
    contains(planted, Generator(decoder, world.PREPROCESSING), vectors, numbers, 96)


def test_the_detector_knows_parts(scenes):
    pixels, there = scenes
    assert (detector.shown(detector.detector(), pixels) == there).float().mean() > 0.98


def test_the_autoencoder_gives_scenes_back(scenes):
    pixels, decoder = scenes[0], planted_nets.planted_decoder()
    with torch.no_grad():
        z = decoder.encode(pixels)
        assert (decoder(z) - pixels).abs().mean() < 0.5 * (decoder(z.roll(1, 0)) - pixels).abs().mean()
    assert z.shape[1:] == decoder.latent


def test_of_a_decoders_noise_each_direction_begins_from_the_best(planted):
    space = Generator(planted_nets.planted_decoder(), world.PREPROCESSING)
    vectors = torch.stack([channel(k, 64) for k in (3, 20)])
    best = draw(planted, vectors, space, world.PREPROCESSING, steps=0)
    space.candidates = 1
    first = draw(planted, vectors, space, world.PREPROCESSING, steps=0)
    assert (best.values >= first.values).all()
    assert not torch.equal(best.values, first.values)
    alone = draw(
        planted,
        vectors[:1],
        Generator(planted_nets.planted_decoder(), world.PREPROCESSING),
        world.PREPROCESSING,
        steps=0,
    )
    assert torch.allclose(alone.images[0], best.images[0], atol=1e-5)
