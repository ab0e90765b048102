"""Transforms of torchvision and timm, and image processors, against what they give themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import models, transforms
from torchvision.transforms import v2

from helpers.colours import AS_IS, LAYER, Colours, colour_mean, single
from helpers.planted_world import quick
from whyclass import Preprocessing, Study
from whyclass.errors import DataError, SettingsError
from whyclass.models.transforms import Own, understood
from whyclass.pool.images import pool

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NORMALISED = (transforms.ToTensor(), transforms.Normalize(MEAN, STD))


def a_picture(size: tuple[int, int] = (90, 70)) -> Image.Image:
    pixels = np.random.default_rng(3).integers(0, 256, (9, 11, 3), np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def timms():
    timm = pytest.importorskip("timm")
    config = {
        "input_size": (3, 48, 48),
        "mean": MEAN,
        "std": STD,
        "crop_pct": 0.75,
        "interpolation": "bicubic",
    }
    return timm.data.create_transform(**config, is_training=False)


PLAIN = {
    "resize and crop": (
        lambda: transforms.Compose([transforms.Resize(40), transforms.CenterCrop(32), *NORMALISED]),
        Preprocessing(40, (32, 32), MEAN, STD),
    ),
    "bicubic": (
        lambda: transforms.Compose(
            [
                transforms.Resize(40, transforms.InterpolationMode.BICUBIC),
                transforms.CenterCrop((24, 32)),
                *NORMALISED,
            ]
        ),
        Preprocessing(40, (24, 32), MEAN, STD, "bicubic"),
    ),
    "without statistics": (
        lambda: transforms.Compose([transforms.CenterCrop(32), transforms.ToTensor()]),
        Preprocessing(None, (32, 32), (0.0,) * 3, (1.0,) * 3),
    ),
    "nested": (
        lambda: transforms.Compose(
            [transforms.Compose([transforms.Resize(40), transforms.CenterCrop(32)]), *NORMALISED]
        ),
        Preprocessing(40, (32, 32), MEAN, STD),
    ),
    "timm": (timms, Preprocessing(64, (48, 48), MEAN, STD, "bicubic")),
}


@pytest.mark.parametrize("name", PLAIN)
def test_what_a_preprocessing_can_say_becomes_one(name):
    make, wanted = PLAIN[name]
    assert understood(make()) == wanted


def test_weights_own_transforms_are_understood():
    given = models.ResNet18_Weights.IMAGENET1K_V1.transforms()
    found = understood(given)
    assert torch.allclose(found.sample(a_picture()).tensor, given(a_picture()), atol=1e-5)
    assert (found.crop, found.mean) == ((224, 224), MEAN)


def squashed():
    return transforms.Compose([transforms.Resize((32, 32)), *NORMALISED])


def curved():
    return transforms.Compose(
        [transforms.Resize((32, 32)), transforms.ToTensor(), lambda x: x.sqrt() * 3 - 7]
    )


@pytest.mark.parametrize(("make", "exact"), [(squashed, True), (curved, False)])
def test_any_other_is_called_as_it_is(make, exact):
    given, picture = make(), a_picture()
    found = understood(given)
    assert isinstance(found, Own)
    sample = found.sample(picture)
    assert torch.equal(sample.tensor, given(picture))
    assert found.exact == exact
    wanted = np.asarray(picture.resize((32, 32), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(np.asarray(sample.picture).astype(int) - wanted).max() <= 1  # undone, or as it came
    shown = np.asarray(found.undo(sample.tensor)).astype(int)
    assert np.abs(shown - wanted).mean() < (1 if exact else 30)
    assert ("cannot be undone" in found.describe()) == (not exact)


def test_what_differs_only_where_pictures_become_smaller_is_no_preprocessing():
    rough = v2.Compose(
        [
            v2.ToImage(),
            v2.Resize(40, antialias=False),
            v2.CenterCrop(32),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    found = understood(rough)
    assert isinstance(found, Own)
    assert torch.equal(found.sample(a_picture((300, 200))).tensor, rough(a_picture((300, 200))))


def test_two_transforms_are_kept_apart_and_the_same_one_is_known_again():
    def described(power: float) -> str:
        return understood(
            transforms.Compose([transforms.Resize((32, 32)), transforms.ToTensor(), lambda x: x**power])
        ).describe()

    assert described(0.5) == described(0.5)
    assert described(0.5) != described(0.6)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (7, "came as int"),
        (transforms.Compose([transforms.Resize(40), *NORMALISED]), "several sizes"),
        (transforms.Compose([transforms.RandomResizedCrop(32), *NORMALISED]), "is random"),
        (
            transforms.Compose([transforms.CenterCrop(32), transforms.RandomHorizontalFlip(), *NORMALISED]),
            "is random",
        ),
        (transforms.Compose([transforms.CenterCrop(32)]), "gives Image; needed is a float tensor"),
        (transforms.Compose([transforms.CenterCrop(32), transforms.PILToTensor()]), "gives torch.uint8"),
        (lambda picture: picture.nothing, "failed on an RGB picture: AttributeError"),
    ],
)
def test_what_cannot_prepare_a_picture_is_refused(given, reason):
    with pytest.raises(SettingsError, match=reason):
        understood(given)


def processor(**changes):
    transformers = pytest.importorskip("transformers")
    settings = {
        "size": {"height": 32, "width": 32},
        "image_mean": [0.5] * 3,
        "image_std": [0.25] * 3,
        "resample": 2,
    }
    return transformers.ViTImageProcessor(**settings | changes)


@pytest.mark.parametrize(
    "make",
    [
        processor,
        squashed,
        lambda: transforms.Compose([transforms.Resize(32), transforms.CenterCrop(32), transforms.ToTensor()]),
        lambda: v2.Compose(
            [
                v2.ToImage(),
                v2.Resize((32, 32)),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(MEAN, STD),
            ]
        ),
    ],
    ids=["processor", "squashed", "plain", "v2"],
)
def test_a_class_is_explained_through_any(make):
    given = make()
    wide = [(image.resize((64, 48), Image.Resampling.NEAREST), label) for image, label in single(12)]
    found = Study(Colours(), LAYER, wide, None, quick(concepts=2), preprocessing=given, progress=False)
    tensors = [found.pool.sample(k, found.loaded.preprocessing).tensor for k in range(12)]
    direct = [_given(given, image) for image, _ in wide]
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(tensors, direct, strict=True))
    explained = found.explain(1)
    assert explained.n_predicted >= 1
    assert not explained.pool.warnings
    assert colour_mean(explained.concepts[0].including[0].picture).argmax() == 1


def _given(given, image):
    if hasattr(given, "image_mean"):
        return given(images=image, return_tensors="pt")["pixel_values"][0]
    return given(image)


def test_a_processor_is_known_again_by_its_configuration():
    assert understood(processor()).describe() == understood(processor()).describe()
    other = understood(processor(image_mean=[0.4] * 3)).describe()
    assert understood(processor()).describe() != other


def test_a_picture_that_a_transform_fails_on_is_skipped():
    given = understood(lambda picture: _halves(picture))
    found = pool([single(1)[0][0], a_picture((10, 10))])
    assert found.sample(0, given).tensor.shape == (3, 32, 32)
    with pytest.raises(DataError, match=r"needed is \(3, 32, 32\) for every picture"):
        found.sample(1, given)


def _halves(picture):
    side = 32 if picture.width >= 32 else 16
    return transforms.functional.to_tensor(picture.resize((side, side)))


def test_a_size_that_the_model_was_not_made_for_is_told():
    net = Colours()
    net.pretrained_cfg = {"input_size": (3, 64, 64)}
    told = Study(net, LAYER, single(3), None, quick(), preprocessing=AS_IS, progress=False).loaded.notes
    assert told == ("it was made for images of 64 x 64 pixels and is given 32 x 32",)
    net.pretrained_cfg = {"input_size": (3, 32, 32)}
    assert not Study(net, LAYER, single(3), None, quick(), preprocessing=AS_IS, progress=False).loaded.notes
