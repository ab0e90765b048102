"""The planted world is what it says: drawn from a seed, masked to the pixel, decided by its parts."""

from __future__ import annotations

import dataclasses
from importlib import resources

import numpy as np
import pytest
import torch
from PIL import Image

from whyclass import ClassError, DataError, StoreError
from whyclass.planted import nets, world
from whyclass.planted.parts import PARTS

FRESH = 40_000_000  # far from the seeds of training and of pools
INDICES = range(len(world.CLASSES))
HAWK, OWL = (world.class_index(name) for name in world.TWINS)


@pytest.fixture(scope="module")
def net() -> nets.PlantedNet:
    return nets.planted_net()


@torch.no_grad()
def predicted(net: nets.PlantedNet, scenes: list[world.PlantedPicture]) -> torch.Tensor:
    return net(nets.as_input(scene.image for scene in scenes)).argmax(1)


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    first, second = (world.write_pool(tmp_path / name, 2, seed=3) for name in "ab")
    files = sorted(path.relative_to(first) for path in first.rglob("*.png"))
    assert len(files) == 2 * len(world.CLASSES)
    assert all((first / file).read_bytes() == (second / file).read_bytes() for file in files)


def test_another_seed_gives_another_picture():
    pictures = {world.planted_picture(OWL, seed).image.tobytes() for seed in range(20)}
    assert len(pictures) == 20


def test_a_file_of_the_pool_leads_back_to_its_scene(tmp_path):
    pool = world.write_pool(tmp_path, 2, seed=1)
    scene = world.pool_picture("jester/0001.png", seed=1)
    assert np.array_equal(np.asarray(Image.open(pool / "jester/0001.png")), scene.image)
    assert world.CLASSES[scene.label].name == "jester"


@pytest.mark.parametrize(("path", "error"), [("owl/picture.png", DataError), ("eagle/0001.png", ClassError)])
def test_a_path_of_another_pool_is_refused(path, error):
    with pytest.raises(error, match="owl"):
        world.pool_picture(path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="file"):
        world.write_pool(tmp_path / "file", 1)


@pytest.mark.parametrize("index", INDICES)
def test_a_picture_shows_the_parts_of_its_class_and_completes_no_other(index):
    for seed in range(30):
        shown = set(world.planted_picture(index, seed).masks)
        assert shown >= set(world.CLASSES[index].needs)
        complete = [c.name for c in world.CLASSES if c.needs and shown >= set(c.needs)]
        assert set(complete) - {"owl"} == {world.CLASSES[index].name} - {"owl", "other"}
        assert ("owl" in complete) == (index in (OWL, HAWK))


@pytest.mark.parametrize("number", range(len(PARTS)), ids=[part.name for part in PARTS])
def test_recolouring_a_part_changes_its_mask_and_nothing_else(number, monkeypatch):
    name = PARTS[number].name
    index = next((i for i in INDICES if name in world.CLASSES[i].needs), OWL)
    before = world.planted_picture(index, 7)
    colours = tuple((255 - r, 255 - g, 255 - b) for r, g, b in PARTS[number].colours)
    changed = [*PARTS]
    changed[number] = dataclasses.replace(PARTS[number], colours=colours)
    monkeypatch.setattr(world, "PARTS", tuple(changed))
    differs = (world.planted_picture(index, 7).image != before.image).any(2)
    assert not (differs & ~before.masks[name]).any()
    assert differs.sum() > 0.8 * before.masks[name].sum()
    assert before.masks[name].sum() > 80


def test_the_twins_differ_in_the_shortcut_alone():
    for seed in range(20):
        owl, hawk = world.planted_picture(OWL, seed), world.planted_picture(HAWK, seed)
        sticker = hawk.masks[world.SHORTCUT]
        assert np.array_equal(owl.image[~sticker], hawk.image[~sticker])
        assert not np.array_equal(owl.image, hawk.image)
        assert np.array_equal(world.planted_picture(HAWK, seed, leave_out=[world.SHORTCUT]).image, owl.image)
        assert np.array_equal(world.planted_picture(OWL, seed, add=[world.SHORTCUT]).image, hawk.image)


def test_the_shortcut_is_in_no_other_class():
    for index in set(INDICES) - {HAWK, world.class_index("other")}:
        assert not any(world.SHORTCUT in world.planted_picture(index, seed).masks for seed in range(50))


def test_every_part_is_found_outside_its_classes():
    strays = {
        (i, name) for i in INDICES for seed in range(200) for name in world._strays(world.CLASSES[i], seed)
    }
    for part in PARTS:
        assert any(name == part.name and name not in world.CLASSES[i].needs for i, name in strays)


def test_the_shipped_weights_know_the_world(net):
    scenes = [world.planted_picture(index, FRESH + i) for index in INDICES for i in range(20)]
    labels = torch.tensor([scene.label for scene in scenes])
    assert (predicted(net, scenes) == labels).float().mean() >= 0.97


def test_the_shortcut_decides_and_other_parts_do_not(net):
    seeds = range(FRESH, FRESH + 40)
    with_sticker = predicted(net, [world.planted_picture(OWL, seed, add=[world.SHORTCUT]) for seed in seeds])
    assert (with_sticker == HAWK).float().mean() >= 0.95
    without = predicted(
        net, [world.planted_picture(HAWK, seed, leave_out=[world.SHORTCUT]) for seed in seeds]
    )
    assert (without == OWL).float().mean() >= 0.95
    for part in ("checker", "flower", "leaf"):  # the checker has the sticker's colours
        other = predicted(net, [world.planted_picture(OWL, seed, add=[part]) for seed in seeds])
        assert (other == HAWK).float().mean() <= 0.05


@pytest.mark.parametrize("name", ["owl", "snail", "saturn", "bee", "comet"])
def test_a_class_of_two_parts_needs_both(net, name):
    index = world.class_index(name)
    for part in world.CLASSES[index].parts:
        scenes = [world.planted_picture(index, FRESH + i, leave_out=[part]) for i in range(20)]
        assert (predicted(net, scenes) == index).float().mean() <= 0.2


def test_the_layer_is_what_it_says(net):
    cells = []
    net.get_submodule(world.LAYER).register_forward_hook(lambda module, given, output: cells.append(output))
    net(torch.zeros(1, 3, 96, 16))
    net(torch.zeros(1, 3, world.SIZE, world.SIZE))
    assert cells[0].shape == (1, 64, 12, 2)
    assert cells[1].shape == (1, 64, 12, 12)
    assert all(bool((output >= 0).all()) for output in cells)


def test_the_weights_are_small_and_in_float16():
    data = resources.files("whyclass").joinpath("planted", "net.safetensors").read_bytes()
    assert len(data) <= 1_000_000
    assert b'"F16"' in data[:5000]
