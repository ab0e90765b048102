"""The snippets of ``docs/data-and-models.md``, run one after the other on tiny nets and pictures."""

from __future__ import annotations

import csv
import importlib.util
import io
import tarfile
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch.utils.data import IterableDataset, TensorDataset

import whyclass
from helpers.colours import AS_IS, NAMES, Colours, single
from helpers.dicom_files import dicom
from helpers.hub_models import hub
from helpers.planted_world import quick
from test_docs_names import ROOT, blocks

SNIPPETS = blocks((ROOT / "docs" / "data-and-models.md").read_text())[1:]
NEEDED = ("datasets", "timm", "transformers", "peft", "pydicom")
FACTORY = """
import sys
sys.path.insert(0, {tests!r})
from helpers.colours import Colours

def net():
    return Colours()
"""


class Stream(IterableDataset):
    def __iter__(self):
        return iter([AS_IS.sample(image).tensor for image, _ in single(4)])


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A reader's folder: photographs, a table, shards, a scan, a checkpoint, a model of transformers."""
    folder = tmp_path_factory.mktemp("reader")
    rows = []
    for number, (image, label) in enumerate(single(9)):
        file = folder / "photos" / NAMES[label] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        image.save(file)
        rows.append({"file": f"photos/{NAMES[label]}/{number}.png", "label": NAMES[label]})
    with (folder / "table.csv").open("w", newline="") as table:
        writer = csv.DictWriter(table, ["file", "label"])
        writer.writeheader()
        writer.writerows(rows)
    with tarfile.open(folder / "shard-0.tar", "w") as archive:
        for row, one in enumerate(rows):
            archive.add(folder / one["file"], f"{row:04d}.png")
            member, text = tarfile.TarInfo(f"{row:04d}.cls"), one["label"].encode()
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
    (folder / "nets").mkdir()
    (folder / "nets" / "own.py").write_text(FACTORY.format(tests=str(ROOT / "tests")))
    state = {f"model.{name}": value for name, value in Colours().state_dict().items()}
    torch.save({"state_dict": state, "epoch": 1}, folder / "lightning.ckpt")
    return folder


def given() -> dict[str, object]:
    """What a reader has before a snippet."""
    scores = ((60.0, 0.0, 0.0), (0.0, 60.0, 0.0), (0.0, 0.0, 60.0))
    return {
        "whyclass": whyclass,
        "NAMES": NAMES,
        "net": Colours(),
        "net_to_tune": Colours(),
        "binary_net": Colours(((30.0, 0.0, -30.0),), (-1.0,)),
        "multilabel_net": Colours(scores, (-3.0,) * 3),
        "age_net": Colours(((60.0, -60.0, 0.0),)),
        "image_encoder": Colours(bias=(1.0,) * 3),
        "text_embeddings": torch.eye(3) + 0.1,
        "tensor_dataset": TensorDataset(torch.stack([AS_IS.sample(image).tensor for image, _ in single(6)])),
        "iterable_dataset": Stream(),
    }


class QuickStudy(whyclass.Study):
    """A study with quick settings, silent, and prepared for small pictures."""

    def __init__(self, *arguments, **named) -> None:
        known = isinstance(arguments[0], whyclass.Loaded)
        named.setdefault("preprocessing", None if known and "hf:" in arguments[0].name else AS_IS)
        super().__init__(*arguments, settings=quick(concepts=2), progress=False, **named)


@pytest.mark.parametrize("snippet", SNIPPETS, ids=[code.split("\n")[0][:40] for code in SNIPPETS])
def test_a_snippet_runs(place, monkeypatch, snippet):
    needed = [name for name in NEEDED if f"import {name}" in snippet]
    needed += ["transformers"] * ("hf:" in snippet) + ["pydicom"] * ("scans" in snippet)
    if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
        pytest.skip(f"{missing[0]} is not installed")
    monkeypatch.chdir(place)
    if "hf:" in snippet:
        snippet = snippet.replace("google/vit-base-patch16-224", str(hub(place / "vit", "vit")))
    if "scans" in snippet:
        (place / "scans").mkdir(exist_ok=True)
        for number in range(2):
            dicom(place / "scans" / f"{number}.dcm", np.arange(1024).reshape(32, 32) + number)
    held = given()
    with patch.object(whyclass, "Study", QuickStudy):
        exec(compile(snippet, "data-and-models.md", "exec"), held)
    assert len(held["study"].index().items) > 1
    assert held["study"].classes()


def test_every_section_has_snippets():
    assert len(SNIPPETS) >= 18
