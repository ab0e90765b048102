"""One explorer for all tests that only look."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the extra serve is not installed")

from helpers.explored import Running, made, opener_of, running


@pytest.fixture(scope="session")
def planted_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a pool and a store of the planted world."""
    return made(tmp_path_factory.mktemp("explored"))


@pytest.fixture(scope="session")
def explored(planted_store: Path) -> Iterator[Running]:
    """An explorer of it, with its model open."""
    with running(planted_store, opener_of(planted_store)) as found:
        yield found
