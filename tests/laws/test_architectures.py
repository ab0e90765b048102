"""Completeness on whole networks, as their libraries build them and trained, with the model untouched."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from helpers.architectures import (
    ARCHITECTURES,
    SMALL,
    Architecture,
    build,
    case,
    explain,
    logits,
    noise,
    pictures,
    prepared,
)
from whyclass.errors import LayerError
from whyclass.models.split import run, split

TOLERANCE = 1e-4


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda architecture: architecture.name)
def test_attribution_is_complete(architecture: Architecture) -> None:
    model = build(architecture)
    images = pictures(2, architecture.size)
    for layer in architecture.layers:
        given = case(split(model, layer, images[:1]), images)
        found = explain(given)
        assert not found.unruled
        assert found.error.max() < TOLERANCE
        with torch.no_grad():
            plain = logits(given.cut.head(given.activations, images))[:, given.target]
        torch.testing.assert_close(found.output, plain, rtol=1e-4, atol=1e-4)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_the_document_lists_these_architectures_and_their_errors() -> None:
    document = (Path(__file__).parents[2] / "docs" / "architectures.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in document.splitlines() if "`" in line
    ]
    rows = [row for row in rows if len(row) == 5]
    wanted = [(a.name, a.library, layer) for a in ARCHITECTURES for layer in a.layers]
    assert [(row[0].strip("`"), row[1], row[2].strip("`")) for row in rows] == wanted
    assert all(float(row[3]) < TOLERANCE for row in rows)


# --- every layer ---


@pytest.mark.parametrize("name", SMALL)
def test_every_layer_works_or_says_why_not(name: str) -> None:
    """What is named instead of a layer that does not work does; every fifth that does is attributed to.

    In float64, since some layers change the logit by little more than the rounding of float32.
    """
    assert name in {architecture.name for architecture in ARCHITECTURES}
    size, make = SMALL[name]
    model, images = prepared(make, size).double(), pictures(2, size).double()
    working, named = [], set()
    for layer in [name for name, _ in model.named_modules() if name]:
        try:
            cut = split(model, layer, images[:1])
        except LayerError as error:
            said = re.findall(r"layer '.+' cannot be explained: .+\. Nearest that can: (.+)\.$", str(error))
            named.update(said[0].split(", "))
            continue
        with torch.no_grad():
            activations, whole = cut.trunk(images), logits(run(model, images))
            assert activations.shape == (2, *cut.shape)
            assert torch.equal(logits(cut.head(activations, images)), whole)
        if len(working) % 5 == 0:
            found = explain(case(cut, images))
            assert found.values.isfinite().all()
            assert found.error.max() < TOLERANCE, layer
        working.append(layer)
    assert named <= set(working)
    assert len(working) > len(named)


# --- trained networks ---

MODELS = Path(__file__).parents[3] / "shared" / "data" / "models"


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


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "layer", "size"),
    [
        ("resnet50_imagenet", "layer3.5", 224),
        ("resnet50_imagenet", "layer4.1", 224),
        ("cifar10_resnet56", "layer2.8", 32),
        ("deeplabv3_mnv2_voc", "features.7", 129),
        ("deeplabv3_mnv2_voc", "aspp0", 129),
    ],
)
def test_attribution_is_complete_on_trained_networks(name: str, layer: str, size: int) -> None:
    images = noise(2, 3, size, size)
    given = case(split(trained(name), layer, images[:1]), images)
    assert given.cut.bypassed is (layer == "aspp0")
    found = explain(given)
    assert not found.unruled
    assert found.error.max() < TOLERANCE
