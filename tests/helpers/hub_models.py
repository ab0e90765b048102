"""Tiny classifiers of transformers with random weights, in a folder as it would be downloaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from helpers.colours import NAMES


def hub(place: Path, kind: str, **changes) -> Path:
    """A tiny classifier with random weights, as it would be downloaded."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    named = {"id2label": dict(enumerate(NAMES)), "label2id": {name: k for k, name in enumerate(NAMES)}}
    config = {
        "vit": lambda: transformers.ViTConfig(
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=24,
            image_size=32,
            patch_size=4,
            **named | changes,
        ),
        "resnet": lambda: transformers.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic", **named | changes
        ),
    }[kind]()
    model = transformers.AutoModelForImageClassification.from_config(config).eval()
    with torch.no_grad():
        for one in model.parameters():
            if one.dim() > 1:
                one.normal_(0, 0.2)
    model.save_pretrained(place)
    transformers.ViTImageProcessor(
        size={"height": 32, "width": 32}, image_mean=[0.5] * 3, image_std=[0.25] * 3
    ).save_pretrained(place)
    return place
