"""Every command and snippet of README, and of documents that take its project, is executed.

The reader's ResNet-50 is the planted net here: its layers have the ResNet's names, its classes README's.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_model

from helpers.commands import command_lines, words_of
from helpers.documents import blocks
from helpers.planted_world import QUICK, whyclass
from whyclass import settings
from whyclass.cli import project
from whyclass.models.loading import load
from whyclass.planted import nets, world
from whyclass.study import study

ROOT = Path(__file__).parent.parent
NAMES = (
    "chain saw",  # an owl
    "French horn",  # a hawk
    "English springer",
    "tench",
    "church",
    "parachute",
    "golf ball",
    "cassette player",
    "garbage truck",
)
FACTORY = f"""
from torch import nn

from whyclass.planted import nets, world


class Renamed(nn.Module):
    def __init__(self):
        super().__init__()
        net = nets.planted_net()
        self.conv1, self.layer2, self.fc = net.stage1, net.stage2, net.head
        self.layer3 = nn.Sequential(*[nn.Identity() for _ in range(5)], net.stage3)
        self.layer4 = nn.Sequential(nn.Identity(), nn.Identity(), net.stage4)

    def forward(self, images):
        cells = self.layer4(self.layer3(self.layer2(self.conv1(images))))
        return self.fc(cells.mean((2, 3)))


def build():
    model = Renamed().eval()
    model.preprocessing = world.PREPROCESSING
    model.class_names = {NAMES!r}
    return model
"""

ELSEWHERE = {
    "make demo": "a minute; tests/planted",
    "make test": "these",
    ". .venv/bin/activate": "the shell's",
}
"""Lines that something else runs."""

INSTEAD = {
    "init --model torchvision:resnet50": "init --model net.py:build",
    "person.jpg:10,20,60,160": "person.jpg:10,20,16,40",  # the net sees 96 pixels
}
"""Parts of lines that need a larger net."""

TINY: dict[str, Any] = {
    **{name: value for name, value in QUICK.items() if name != "precision"},
    **{
        "plane_permutations": 2,
        "plane_bootstraps": 2,
        "plane_starts": 2,
        "picture_steps": 2,
        "iterations": 50,
    },
}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A reader's folder."""
    folder: Path = tmp_path_factory.mktemp("reader")
    world.write_pool(folder / "imagenet" / "val", 6)
    for name in ("pool", "photos"):
        (folder / name).symlink_to(folder / "imagenet" / "val")
    (folder / "net.py").write_text(FACTORY)
    for name in ("photograph.jpg", "mistaken.jpg"):
        Image.fromarray(world.planted_picture(1, 99).image).save(folder / name)
    Image.fromarray(world.planted_picture(1, 98).image).crop((0, 0, 40, 70)).save(folder / "person.jpg")
    drawn = np.random.default_rng(0).random((4, 96), np.float32)
    save_file({"directions": drawn}, folder / "mine.safetensors")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        state = load("net.py:build").model.state_dict()
    changed = {name: value * 0.98 if value.is_floating_point() else value for name, value in state.items()}
    save_model(changed, folder / "finetuned.safetensors")
    return folder


def run(line: str) -> None:
    """One line, as a shell would run it."""
    for what, instead in INSTEAD.items():
        line = line.replace(what, instead)
    for words in words_of([line]):
        if " ".join(words) in ELSEWHERE:
            continue
        assert words[0] == "whyclass", line
        file = Path(project.FILE)
        if words[1] == "init":
            file.unlink(missing_ok=True)
        ran = whyclass(*words[1:])
        assert ran.code == 0, f"{line}\n{ran.err}"
        if words[1] == "init":
            # the weights of a reader's net are its own, and the factory's here
            kept = re.sub(r"^weights.*\n", "", file.read_text(), flags=re.MULTILINE)
            file.write_text(kept + "".join(f'{name} = "{value}"\n' for name, value in TINY.items()))


@pytest.fixture
def _reader(place, monkeypatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr(study, "Settings", lambda: settings.Settings(**TINY | {"refits": 1}))


@pytest.mark.slow
@pytest.mark.usefixtures("_reader")
def test_readmes_commands_can_be_pasted_one_after_the_other():
    lines = command_lines((ROOT / "README.md").read_text(encoding="utf-8"))
    assert sum("whyclass" in line for line in lines) >= 14
    for line in lines:
        run(line)
    run(
        next(one for one in command_lines((ROOT / "docs" / "pictures.md").read_text()) if "--pictures" in one)
    )


def given(place: Path) -> dict[str, Any]:
    """What a reader has before a snippet."""
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(place)
        model = load("net.py:build").model
    direction = torch.rand(96, generator=torch.Generator().manual_seed(0))
    example = nets.as_input([world.planted_picture(1, 0).image])
    shared = {"preprocessing": world.PREPROCESSING, "hyperplane": direction, "concept": direction.flip(0)}
    return {"model": model, "names": list(NAMES), "example": example, **shared}


@pytest.mark.slow
@pytest.mark.usefixtures("_reader")
@pytest.mark.parametrize(
    "document", ["README.md", "docs/one-image.md", "docs/comparison.md", "docs/pictures.md"]
)
def test_a_documents_python_runs(place, document):
    snippets = blocks((ROOT / document).read_text(encoding="utf-8"))
    assert snippets
    for code in snippets:
        # one net stands for the other: its name, its channels; and a picture is drawn in fewer steps
        code = (
            code.replace("torchvision:resnet50", "net.py:build")
            .replace("2048", "96")
            .replace("steps=256", "steps=2")
        )
        exec(compile(code, document, "exec"), given(place))
