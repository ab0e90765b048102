"""The segmentation net of this example: a factory for `--model examples/tissue/net.py:build`."""

from __future__ import annotations

import segmentation_models_pytorch as smp
from torch import nn

from whyclass import Preprocessing

CLASSES = ("tumour epithelium", "stroma", "normal", "background")


def build(num_classes: int = len(CLASSES)) -> nn.Module:
    """U-Net on a ResNet-50 that sees tiles of 160 pixels at their own scale."""
    model = smp.Unet("resnet50", encoder_weights=None, classes=num_classes)
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and any(module.padding):
            # Zeros at the border tell the deep cells where in the tile they are, and concepts become places.
            module.padding_mode = "replicate"
    model.preprocessing = Preprocessing(resize=None, crop=(160, 160))
    model.class_names = list(CLASSES)
    return model
