"""Where torch has the older flags alone, as before 2.9, products are exact inside the block too."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from whyclass import exact_products as products


@pytest.fixture
def cudnn(monkeypatch) -> SimpleNamespace:
    """Flags of a torch that has no newer ones."""
    flags = SimpleNamespace(allow_tf32=True)
    monkeypatch.setattr(
        torch, "backends", SimpleNamespace(cudnn=flags, cuda=SimpleNamespace(matmul=object()))
    )
    return flags


def test_the_older_flags_are_off_inside_and_the_users_after_it(cudnn):
    before = torch.get_float32_matmul_precision()
    with products.exact_products():
        assert not cudnn.allow_tf32
        assert torch.get_float32_matmul_precision() == "highest"
    assert cudnn.allow_tf32
    assert torch.get_float32_matmul_precision() == before
