"""The architectures on which completeness is proved, for the tests, the benchmark and the document.

Weights are random. Parameters that libraries begin with a constant or nearly zero (the last norm of a block,
LayerScale, a position's bias, a head) are drawn, so that no path of the network is silent, and batch norms
hold the statistics of noise that is as smooth and as rough as pictures, so that activations keep their scale.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as nnf
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.models._utils import IntermediateLayerGetter

from whyclass.attribution.deeplift import Attribution, attribute, record
from whyclass.models.split import Split

CLASSES = 10


@dataclass(frozen=True)
class Architecture:
    """A network, the side of its images, and layers early enough for the head to hold what is peculiar to it.

    ``library`` says who builds it, ``settings`` with what beside the number of classes.
    """

    name: str
    library: str
    size: int
    layers: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)


def _torchvision(name: str, size: int, *layers: str, **settings: Any) -> Architecture:
    return Architecture(name, "torchvision", size, layers, settings)


def _segmentation(name: str, size: int, *layers: str) -> Architecture:
    return Architecture(name, "torchvision.segmentation", size, layers, {"weights_backbone": None})


def _timm(name: str, size: int, *layers: str, **settings: Any) -> Architecture:
    return Architecture(name, "timm", size, layers, settings)


ARCHITECTURES = (
    _torchvision("resnet18", 96, "layer1.1"),
    _torchvision("resnet50", 96, "layer2.3", "layer3.5", "layer4.1"),
    _torchvision("vgg16", 64, "features.9"),
    _torchvision("densenet121", 64, "features.pool0"),
    _torchvision("mobilenet_v2", 96, "features.3"),
    _torchvision("mobilenet_v3_small", 96, "features.1"),
    _torchvision("efficientnet_b0", 96, "features.2"),
    _torchvision("regnet_y_400mf", 96, "trunk_output.block1"),
    _torchvision("googlenet", 96, "conv2", init_weights=True, aux_logits=False),
    _torchvision("inception_v3", 96, "Conv2d_2b_3x3", init_weights=True, aux_logits=False),
    _torchvision("shufflenet_v2_x1_0", 96, "conv1"),
    _torchvision("squeezenet1_1", 96, "features.1"),
    _torchvision("convnext_tiny", 64, "features.1"),
    _torchvision("swin_t", 64, "features.1"),
    _torchvision("swin_v2_t", 64, "features.1"),
    _torchvision(
        "maxvit_t",
        64,
        "blocks.0",
        input_size=(64, 64),
        stem_channels=16,
        block_channels=[16, 32],
        block_layers=[1, 1],
        head_dim=8,
        stochastic_depth_prob=0.0,
        partition_size=4,
    ),
    _torchvision("vit_b_16", 64, "encoder.layers.encoder_layer_5", image_size=64),
    _segmentation("deeplabv3_mobilenet_v3_large", 64, "backbone.6"),
    _segmentation("lraspp_mobilenet_v3_large", 64, "backbone.6"),
    _segmentation("fcn_resnet50", 64, "backbone.layer2.3"),
    Architecture("unet", "tests", 64, ("down.1", "middle", "up.1")),
    _timm("beit_base_patch16_224", 64, "blocks.5", img_size=64),
    _timm("cait_xxs24_224", 64, "blocks.5", img_size=64),
    _timm("caformer_s18", 64, "stages.1"),
    _timm("coatnet_nano_rw_224", 64, "stages.1", img_size=64),
    _timm("convnextv2_atto", 64, "stages.0"),
    _timm("davit_tiny", 64, "stages.1"),
    _timm("deit_tiny_distilled_patch16_224", 64, "blocks.3", img_size=64),
    _timm("dla34", 64, "level2"),
    _timm("eca_nfnet_l0", 64, "stages.1"),
    _timm("edgenext_xx_small", 64, "stages.1"),
    _timm("efficientformerv2_s0", 64, "stages.1", img_size=64),
    _timm("efficientvit_b0", 64, "stages.1"),
    _timm("efficientvit_m0", 64, "stages.0", img_size=64),
    _timm("eva02_tiny_patch14_224", 56, "blocks.3", img_size=56),
    _timm("fastvit_t8", 64, "stages.1"),
    _timm("ghostnet_050", 64, "blocks.2"),
    _timm("hrnet_w18_small", 64, "layer1"),
    _timm("inception_next_atto", 64, "stages.1"),
    _timm("levit_128s", 64, "stages.0", img_size=64),
    _timm("maxxvit_rmlp_nano_rw_256", 64, "stages.1", img_size=64),
    _timm("mixer_s16_224", 64, "blocks.1", img_size=64),
    _timm("mobilenetv4_hybrid_medium", 64, "blocks.1"),
    _timm("mobilevit_xxs", 64, "stages.1"),
    _timm("mobilevitv2_050", 64, "stages.1"),
    _timm("poolformer_s12", 64, "stages.1"),
    _timm("pvt_v2_b0", 64, "stages.1"),
    _timm("regnetz_005", 64, "s2"),
    _timm("repvgg_a0", 64, "stages.1"),
    _timm("res2net50_26w_4s", 64, "layer2"),
    _timm("resnest14d", 64, "layer2"),
    _timm("resnetv2_50x1_bit", 64, "stages.1"),
    _timm("seresnet18", 64, "layer2"),
    _timm("skresnet18", 64, "layer2"),
    _timm("swin_tiny_patch4_window7_224", 64, "layers.1", img_size=64),
    _timm("tf_efficientnet_lite0", 64, "blocks.2"),
    _timm("vit_base_patch16_siglip_224", 64, "blocks.5", img_size=64),
    _timm("vit_small_patch14_reg4_dinov2", 56, "blocks.5", img_size=56),
    _timm("vit_small_patch16_dinov3", 64, "blocks.5"),
    _timm("vit_tiny_patch16_224", 64, "blocks.5", img_size=64),
    _timm("xception41", 64, "blocks.1"),
    _timm("xcit_nano_12_p16_224", 64, "blocks.1", img_size=64),
)


SMALL: dict[str, tuple[int, Callable[[], nn.Module]]] = {
    "resnet18": (
        32,
        lambda: torchvision.models.ResNet(
            torchvision.models.resnet.BasicBlock, [2, 1, 1, 1], num_classes=CLASSES
        ),
    ),
    "squeezenet1_1": (48, lambda: _of_torchvision("squeezenet1_1")()),
    "swin_t": (
        32,
        lambda: torchvision.models.SwinTransformer(
            [4, 4], 24, [2, 2], [3, 6], [4, 4], num_classes=CLASSES, stochastic_depth_prob=0.0
        ),
    ),
    "fcn_resnet50": (32, lambda: _small_fcn()),
    "unet": (32, lambda: UNet(8, 2)),
    "cait_xxs24_224": (32, lambda: _of_timm("cait_xxs24_224")(img_size=32, patch_size=8, depth=2)),
    "convnextv2_atto": (
        32,
        lambda: _of_timm("convnextv2_atto")(depths=(1, 1, 1, 1), dims=(8, 16, 24, 32)),
    ),
    "deit_tiny_distilled_patch16_224": (
        32,
        lambda: _of_timm("deit_tiny_distilled_patch16_224")(img_size=32, patch_size=8, depth=1),
    ),
    "swin_tiny_patch4_window7_224": (
        32,
        lambda: _of_timm("swin_tiny_patch4_window7_224")(
            img_size=32, window_size=4, embed_dim=12, depths=(2, 1), num_heads=(3, 6)
        ),
    ),
    "vit_small_patch16_dinov3": (
        32,
        lambda: _of_timm("vit_small_patch16_dinov3")(patch_size=8, depth=1, embed_dim=48, num_heads=3),
    ),
    "vit_tiny_patch16_224": (
        32,
        lambda: _of_timm("vit_tiny_patch16_224")(img_size=32, patch_size=8, depth=2, embed_dim=48),
    ),
}
"""Some of them with fewer blocks, and the side of their images: small enough to try every single layer."""


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pictures(count: int, size: int, seed: int = 0) -> Tensor:
    """Noise on every scale, as pictures are (count, 3, size, size); its standard deviation is 1."""
    sides = [1, *(size // 2**k for k in range(4, -1, -1))]
    layers = [noise(count, 3, side, side, seed=seed + i) for i, side in enumerate(sides)]
    total = sum(nnf.interpolate(layer, (size, size), mode="nearest") for layer in layers)
    return total / len(sides) ** 0.5


def build(architecture: Architecture) -> nn.Module:
    """The network in evaluation mode, nothing of it silent, its batch norms calibrated."""
    make = BUILDERS[architecture.library](architecture.name)
    return prepared(lambda: make(**architecture.settings), architecture.size)


def prepared(make: Callable[[], nn.Module], size: int) -> nn.Module:
    """What ``make`` gives, with random weights as described above, for images of that side."""
    torch.manual_seed(0)
    model = make()
    _fill(model)
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        norm.momentum = None
        norm.reset_running_stats()
    if norms:
        with torch.no_grad():
            model.train()(pictures(16, size, seed=100))
    return model.eval()


def _fill(model: nn.Module) -> None:
    """Draw what is constant, and enlarge what is too small to be heard."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        low, high = parameter.min().item(), parameter.max().item()
        if low == high:  # of a single value: a trained one is near 1, or an offset
            middle, spread = (1.0, 0.2) if low == 1 else (0.3, 0.1) if low else (0.0, 0.05)
            parameter.data.normal_(middle, spread, generator=generator)
        elif parameter.ndim > 1 and high - low < 1e-2:
            parameter.data.mul_(0.05 / parameter.std())


def _of_torchvision(name: str) -> Callable[..., nn.Module]:
    own = {"maxvit_t": torchvision.models.maxvit.MaxVit}  # maxvit_t cannot be made for small images
    return partial(own.get(name, getattr(torchvision.models, name)), num_classes=CLASSES)


def _of_torchvision_segmentation(name: str) -> Callable[..., nn.Module]:
    return partial(getattr(torchvision.models.segmentation, name), num_classes=CLASSES)


def _small_fcn() -> nn.Module:
    """As fcn_resnet50, with two stages of one block."""
    resnet = torchvision.models.ResNet(torchvision.models.resnet.Bottleneck, [1, 1, 1, 1])
    backbone = IntermediateLayerGetter(resnet, {"layer2": "out"})
    return torchvision.models.segmentation.fcn.FCN(
        backbone, torchvision.models.segmentation.fcn.FCNHead(512, CLASSES)
    )


def _of_timm(name: str) -> Callable[..., nn.Module]:
    """Skips the test where the extra is missing, or where its release does not have the network yet."""

    def make(**settings: Any) -> nn.Module:
        timm = pytest.importorskip("timm")
        if not timm.is_model(name):
            pytest.skip(f"timm {timm.__version__} has no {name}")
        found: nn.Module = timm.create_model(name, num_classes=CLASSES, **settings)
        return found

    return make


class UNet(nn.Module):
    """After Ronneberger et al. 2015 (https://arxiv.org/abs/1505.04597), with batch norms and padding.

    Every level of the way down is handed to the same level of the way up.
    """

    def __init__(self, width: int = 16, depth: int = 3) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(depth + 1)]
        self.down = nn.ModuleList(_twice(a, b) for a, b in zip([3, *widths], widths[:-1], strict=False))
        self.middle = _twice(widths[-2], widths[-1])
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.raise_ = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, 2) for a, b in pairs)
        self.up = nn.ModuleList(_twice(2 * b, b) for _, b in pairs)
        self.last = nn.Conv2d(width, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for down in self.down:
            x = down(x)
            skips.append(x)
            x = nnf.max_pool2d(x, 2)
        x = self.middle(x)
        for lift, up in zip(self.raise_, self.up, strict=True):
            x = up(torch.cat([skips.pop(), lift(x)], 1))
        return self.last(x)


def _twice(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(inside, outside, 3, padding=1), nn.BatchNorm2d(outside), nn.ReLU(inplace=True)),
        *(nn.Conv2d(outside, outside, 3, padding=1), nn.BatchNorm2d(outside), nn.ReLU(inplace=True)),
    )


BUILDERS: dict[str, Callable[[str], Callable[..., nn.Module]]] = {
    "torchvision": _of_torchvision,
    "torchvision.segmentation": _of_torchvision_segmentation,
    "timm": _of_timm,
    "tests": lambda name: UNet,
}
"""Who builds an architecture: its name -> what takes the settings."""


def logits(output: Tensor) -> Tensor:
    """Each class's logit (n, classes): of a segmentation net the mean of its map."""
    return output if output.ndim == 2 else output.mean((2, 3))


@dataclass(frozen=True)
class Case:
    """A layer of a network, images, and a class whose logit the layer's baseline changes for all of them."""

    cut: Split
    images: Tensor
    reference: Tensor
    activations: Tensor
    baseline: Tensor
    target: int

    def of_class(self, output: Tensor) -> Tensor:
        return logits(output)[:, self.target]


def case(cut: Split, images: Tensor) -> Case:
    """The layer with the class whose logit changes most: the least change of an image counts.

    A change that happens to be nearly zero would show the rounding of float32 relative to nothing.
    """
    reference = torch.ones_like(images[:1])
    with torch.no_grad():
        activations, baseline = cut.trunk(images), cut.trunk(reference)
        changed = logits(cut.head(activations, images)) - logits(
            cut.head(baseline.expand_as(activations), images)
        )
    target = int(changed.abs().amin(0).argmax())
    return Case(cut, images, reference, activations, baseline, target)


def explain(case: Case) -> Attribution:
    """Our DeepLift; where the layer is bypassed each image has a baseline of its own."""
    cut, images = case.cut, case.images
    if not cut.bypassed:
        return attribute(
            cut.head, case.activations, record(cut.head, case.baseline, case.of_class), case.of_class
        )

    def head(activations: Tensor) -> Tensor:
        return cut.head(activations, images)

    rows = case.baseline.expand_as(case.activations)
    return attribute(head, case.activations, record(head, rows, case.of_class), case.of_class)
