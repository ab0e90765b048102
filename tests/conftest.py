"""What several test files share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.pictures import noise

torch.set_num_threads(1)  # the nets are tiny; threads would only wait for each other


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file first: on two processes the other one does all the rest meanwhile."""
    items.sort(key=lambda item: item.path.name != "test_real.py")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Seven pictures in two folders."""
    place = tmp_path / "pool"
    for number in range(7):
        (place / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        noise(rng).save(place / "ab"[number % 2] / f"{number}.png")
    return place
