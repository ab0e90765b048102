"""Layers whose output is no map: channels last, and tokens on a grid with others that stand for no place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torchvision
from torch import Tensor, nn

from helpers.planted_world import quick
from whyclass.attribution import methods, smoothgrad
from whyclass.errors import LayerError
from whyclass.models.fast_trunk import fast_trunk
from whyclass.models.layer_layouts import Form, form_of
from whyclass.models.split import split, survey
from whyclass.models.tasks import logit
from whyclass.planted import demo, nets, world
from whyclass.study.study import Study

SQUARE = (64, 64)


@pytest.mark.parametrize(
    ("shape", "image", "wanted"),
    [
        ((1, 2048, 7, 7), (224, 224), Form("map", (2048, 7, 7))),
        ((1, 7, 7, 768), (224, 224), Form("channels last", (768, 7, 7))),
        ((1, 197, 768), (224, 224), Form("tokens", (768, 14, 14), 1)),
        ((1, 198, 768), (224, 224), Form("tokens", (768, 14, 14), 2)),
        ((1, 261, 384), (224, 224), Form("tokens", (384, 16, 16), 5)),
        ((1, 49, 768), (224, 224), Form("tokens", (768, 7, 7), 0)),
        ((1, 129, 8), (64, 128), Form("tokens", (8, 8, 16), 1)),
        ((1, 8, 16, 24), (64, 128), Form("channels last", (24, 8, 16))),
        ((1, 8, 16, 32), (64, 128), Form("map", (8, 16, 32))),  # either: maps are what most layers give
        ((1, 32, 8, 16), (64, 128), Form("map", (32, 8, 16))),
        ((1, 7, 7, 7), (224, 224), Form("map", (7, 7, 7))),
        ((1, 64, 128, 256), (512, 1024), Form("map", (64, 128, 256))),  # as many channels as half the rows
        ((1, 128, 256, 64), (512, 1024), Form("channels last", (64, 128, 256))),
        ((1, 768), (224, 224), None),
        ((1, 1, 768), (224, 224), None),
        ((1, 3, 768), (224, 224), None),
        ((5, 1, 2, 3, 4), (224, 224), None),
        ((1, 2048, 1, 1), (224, 224), Form("map", (2048, 1, 1))),
        ((1, 288, 25, 17), (224, 160), Form("map", (288, 25, 17))),  # convolutions without padding
        ((1, 13, 9, 96), (416, 300), Form("channels last", (96, 13, 9))),  # a stride that rounds
        ((1, 12, 197, 64), (224, 224), None),  # queries of 12 heads
        ((1, 64, 4, 16), (64, 64), None),  # 16 patches of 4 pixels, as MobileViT has them
        ((1, 64, 16, 1), (64, 64), None),
    ],
)
def test_the_form_of_an_output_is_told_by_its_shape(shape, image, wanted):
    assert form_of(shape, image) == wanted


@pytest.mark.parametrize(
    "form", [Form("map", (5, 2, 3)), Form("channels last", (5, 2, 3)), Form("tokens", (5, 2, 3), 2)]
)
def test_an_output_becomes_a_map_and_itself_again(form):
    shapes = {"map": (4, 5, 2, 3), "channels last": (4, 2, 3, 5), "tokens": (4, 8, 5)}
    output = torch.randn(shapes[form.name])
    activations = form.to_map(output)
    assert activations.shape == (4, 5, 2, 3)
    assert torch.equal(form.to_output(activations, output), output)


def test_a_token_stands_where_its_cell_is():
    output = torch.arange(6).view(1, 6, 1).float()
    assert Form("tokens", (1, 2, 2), 2).to_map(output).tolist() == [[[[2, 3], [4, 5]]]]


def vit() -> nn.Module:
    model = torchvision.models.vit_b_16(image_size=64, num_classes=10)
    nn.init.normal_(model.heads.head.weight, std=0.05)
    return model


def timm_model(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import timm

        return timm.create_model(name, num_classes=10, img_size=64)

    return build


NETS: dict[str, tuple[Callable[[], nn.Module], str, str, bool]] = {
    "vit_b_16": (vit, "encoder.layers.encoder_layer_9", "tokens", True),
    "swin_t": (lambda: torchvision.models.swin_t(num_classes=10), "features.5", "channels last", False),
    "timm vit with registers": (timm_model("vit_medium_patch16_reg4_gap_256"), "blocks.9", "tokens", True),
    "timm deit distilled": (timm_model("deit_tiny_distilled_patch16_224"), "blocks.9", "tokens", True),
    "convnext_tiny": (lambda: torchvision.models.convnext_tiny(num_classes=10), "features.6", "map", False),
}


@pytest.fixture(params=NETS)
def net(request) -> tuple[nn.Module, str, str, bool]:
    torch.manual_seed(0)
    build, layer, form, bypassed = NETS[request.param]
    return build().eval(), layer, form, bypassed


def images(count: int = 2) -> Tensor:
    return torch.randn(count, 3, *SQUARE, generator=torch.Generator().manual_seed(3))


def test_the_model_is_finished_from_its_map(net):
    """Signed layers of every form: head after trunk is the model, and tokens of no place go around it."""
    model, layer, form, bypassed = net
    cut = split(model, layer, images(1))
    assert cut.signed
    assert (cut.form.name if cut.form else "map") == form
    assert cut.bypassed is bypassed
    with torch.no_grad():
        activations = cut.trunk(images())
        assert activations.shape[1:] == cut.shape
        assert torch.equal(cut.head(activations, images()), model(images()))
        changed = activations.clone()
        changed[:, :, 0, 0] += 1
        assert not torch.equal(cut.head(changed, images()), model(images()))


def test_attribution_is_complete(net):
    model, layer, _, _ = net
    cut = split(model, layer, images(1))
    baseline = smoothgrad.prepare(cut, torch.ones(1, 3, *SQUARE), logit(4))
    with torch.no_grad():
        activations = cut.trunk(images())
    found = methods.METHODS["deeplift"](cut, activations, images(), baseline, logit(4))
    assert found.values.shape == activations.shape
    assert found.error.max() < 1e-4


def test_the_fast_trunk_gives_the_map_too(net):
    model, layer, _, _ = net
    cut = split(model, layer, images(1))
    with torch.no_grad():
        found, wanted = fast_trunk(cut, torch.float32)(images()), cut.trunk(images())
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= 1e-3 * wanted.abs().max()


def test_layers_of_tokens_are_listed_with_their_crops():
    torch.manual_seed(0)
    infos = {info.name: info for info in survey(vit().eval(), images(1))}
    info = infos["encoder.layers.encoder_layer_9"]
    assert (info.problem, info.crop, info.form) == ("", (32, 32), Form("tokens", (768, 4, 4), 1))
    assert "tokens of a grid" in infos["heads.head"].problem


class Attention(nn.Module):
    """Attention on a 4 x 4 grid of tokens whose inner outputs pass modules, and what else is no map."""

    HEADS, DEPTH = 2, 10

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Linear(2, 20)
        for name in ("windows", "queries", "scores", "weights", "transposed"):
            setattr(self, name, nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        n, count, channels = x.shape
        places = torch.stack(torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij"), -1)
        x = x + self.table(places.flatten(0, 1)[None])
        x = self.windows(x.reshape(4 * n, count // 4, channels)).reshape(n, count, channels)
        x = self.transposed(x.transpose(1, 2)).transpose(1, 2)
        heads = x.unflatten(2, (self.HEADS, self.DEPTH)).transpose(1, 2)
        queries = self.queries(heads)
        scores = self.scores((queries @ heads.mT).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return (self.weights(scores.softmax(-1)) @ heads).transpose(1, 2).flatten(2)


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.attention = nn.Conv2d(3, 20, 16, 16), Attention()
        self.last = nn.Linear(20, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.attention(self.stem(x).flatten(2).transpose(1, 2)).mean(1))


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        ("table", "1 rows for one image and 1 for two"),
        ("windows", "4 rows for one image and 8 for two"),
        ("queries", r"shape \(1, 2, 16, 10\), needed is"),
        ("scores", r"shape \(1, 16, 16, 2\) is that of attention between 16 tokens of 'attention'"),
        ("weights", r"shape \(1, 2, 16, 16\) is attention weights"),
        ("transposed", r"shape \(1, 20, 16\) is that of tokens transposed of 'attention'"),
    ],
)
def test_what_only_has_the_shape_of_a_map_is_refused(layer, reason):
    torch.manual_seed(0)
    model = Attending().eval()
    with pytest.raises(LayerError, match=f"{reason}.*Nearest that can: .*attention"):
        split(model, f"attention.{layer}", images(1))
    assert split(model, "attention", images(1)).form == Form("tokens", (20, 4, 4))


class Tokens(nn.Module):
    """The planted network, whose cells pass a layer as tokens behind a class token."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nets.planted_net()
        self.tokens = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        net = self.net
        cells = net.stage3(net.stage2(net.stage1(x)))
        flat = cells.flatten(2).transpose(1, 2)
        mean = flat.mean(1, keepdim=True)
        flat = self.tokens(torch.cat([mean, flat], 1))[:, 1:]
        cells = flat.transpose(1, 2).unflatten(2, cells.shape[2:])
        return net.head(net.stage4(cells).mean((2, 3)))


def test_the_planted_world_as_tokens_is_explained_as_the_planted_world(tmp_path):
    """Concepts at a layer of tokens are those of the map that the tokens are."""
    pool = world.write_pool(tmp_path / "pool", 3)
    planted = demo.loaded()
    one = Study(planted, world.LAYER, pool, settings=quick()).explain("hawk")
    net = replace(planted, model=Tokens().eval(), name="tokens")
    other = Study(net, "tokens", pool, settings=quick()).explain("hawk")
    for mine, wanted in zip(other.concepts, one.concepts, strict=True):
        assert mine.vector @ wanted.vector > 0.999
        spots = [(crop.image.path, crop.box) for crop in mine.including]
        assert spots == [(crop.image.path, crop.box) for crop in wanted.including]
    assert other.prediction_test.including.score == pytest.approx(
        one.prediction_test.including.score, abs=1e-3
    )
