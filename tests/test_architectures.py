"""Completeness on whole networks, as torchvision builds them and trained, with the model untouched."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from whyclass.deeplift import Attribution, attribute, record
from whyclass.split import Split

TOLERANCE = 1e-4

# Model, size of the image, and layers early enough for the head to hold what is peculiar to the model.
ARCHITECTURES: dict[str, tuple[int, list[str]]] = {
    "resnet18": (96, ["layer1.1"]),
    "resnet50": (96, ["layer2.3", "layer3.5", "layer4.1"]),
    "vgg16": (64, ["features.9"]),
    "densenet121": (64, ["features.pool0"]),
    "mobilenet_v2": (96, ["features.3"]),
    "mobilenet_v3_small": (96, ["features.1"]),
    "efficientnet_b0": (96, ["features.2"]),
    "regnet_y_400mf": (96, ["trunk_output.block1"]),
    "googlenet": (96, ["conv2"]),
    "inception_v3": (96, ["Conv2d_2b_3x3"]),
    "shufflenet_v2_x1_0": (96, ["conv1"]),
    "squeezenet1_1": (96, ["features.1"]),
    "convnext_tiny": (64, ["features.1"]),
    "swin_t": (64, ["features.1"]),
    "swin_v2_t": (64, ["features.1"]),
    "maxvit_t": (64, ["blocks.0"]),
    "vit_b_16": (64, ["encoder.layers.encoder_layer_5"]),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "googlenet": {"init_weights": True, "aux_logits": False},
    "inception_v3": {"init_weights": True, "aux_logits": False},
    "vit_b_16": {"image_size": 64},
    "maxvit_t": {
        "input_size": (64, 64),
        "stem_channels": 16,
        "block_channels": [16, 32],
        "block_layers": [1, 1],
        "head_dim": 8,
        "stochastic_depth_prob": 0.0,
        "partition_size": 4,
    },
}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def random_model(name: str, size: int) -> nn.Module:
    """Random weights whose normalisation has seen data, so that activations are on a realistic scale."""
    torch.manual_seed(0)
    build = torchvision.models.maxvit.MaxVit if name == "maxvit_t" else getattr(torchvision.models, name)
    model: nn.Module = build(num_classes=10, **SETTINGS.get(name, {}))
    if name == "vit_b_16":  # whose last layer torchvision fills with zeros
        nn.init.normal_(model.heads.head.weight, std=0.05)
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        norm.momentum = None
        norm.reset_running_stats()
    if norms:
        with torch.no_grad():
            model.train()(noise(16, 3, size, size, seed=1))
    return model.eval()


def explain(
    model: nn.Module, layer: str, images: Tensor, target: Callable[[Any], Tensor], bypassed: bool = False
) -> Attribution:
    cut = Split(model, layer, (0, 0, 0), bypassed, images[:1])
    with torch.no_grad():
        activations, baseline = cut.trunk(images), cut.trunk(torch.ones_like(images[:1]))
    if not bypassed:
        return attribute(cut.head, activations, record(cut.head, baseline, target), target)

    def head(a: Tensor) -> Tensor:
        return cut.head(a, images)

    return attribute(head, activations, record(head, baseline.expand_as(activations), target), target)


@pytest.mark.parametrize(
    ("name", "layer"), [(name, layer) for name, (_, layers) in ARCHITECTURES.items() for layer in layers]
)
def test_attribution_is_complete(name: str, layer: str) -> None:
    size = ARCHITECTURES[name][0]
    model = random_model(name, size)
    images = noise(2, 3, size, size)
    found = explain(model, layer, images, target=lambda logits: logits[:, 3])
    assert not found.unruled
    assert found.error.max() < TOLERANCE
    with torch.no_grad():
        torch.testing.assert_close(found.output, model(images)[:, 3], rtol=1e-4, atol=1e-4)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


# --- trained networks ---

MODELS = Path(__file__).parents[2] / "shared" / "data" / "models"


def weights(name: str) -> dict[str, Tensor]:
    path = MODELS / f"{name}.safetensors"
    if not path.exists():
        pytest.skip(f"needs trained weights that are not part of the project: shared/data/models/{path.name}")
    safetensors = pytest.importorskip("safetensors.torch")
    return dict(safetensors.load_file(path))


def source(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, MODELS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def trained(name: str) -> nn.Module:
    state = weights(name)
    model: nn.Module
    if name == "resnet50_imagenet":
        model = torchvision.models.resnet50()
    elif name == "cifar10_resnet56":
        model = source("cifar_resnet").resnet56()
    else:
        model = source("deeplabv3_mnv2").DeepLabV3MNV2()
    model.load_state_dict(state)
    return model.eval()


def class_logit(logits: Tensor) -> Tensor:
    return logits[:, 3]


def mean_of_the_class_map(logits: Tensor) -> Tensor:
    return logits[:, 12].mean((1, 2))


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "layer", "size", "target", "bypassed"),
    [
        ("resnet50_imagenet", "layer3.5", 224, class_logit, False),
        ("resnet50_imagenet", "layer4.1", 224, class_logit, False),
        ("cifar10_resnet56", "layer2.8", 32, class_logit, False),
        ("deeplabv3_mnv2_voc", "features.7", 129, mean_of_the_class_map, False),
        ("deeplabv3_mnv2_voc", "aspp0", 129, mean_of_the_class_map, True),
    ],
)
def test_attribution_is_complete_on_trained_networks(
    name: str, layer: str, size: int, target: Callable[[Any], Tensor], bypassed: bool
) -> None:
    found = explain(trained(name), layer, noise(2, 3, size, size), target, bypassed)
    assert not found.unruled
    assert found.error.max() < TOLERANCE
