"""The code published with CRAFT (package craft-xai), whose module of samplers asks for TensorFlow in vain."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest


def published(name: str) -> ModuleType:
    """A module of the package; the test is skipped where it is not installed."""
    if "tensorflow" not in sys.modules:  # used by one sampler, which is not asked for
        sys.modules["tensorflow"] = ModuleType("tensorflow")
        try:
            return pytest.importorskip(name, reason="craft-xai, the published code, is not installed")
        finally:
            del sys.modules["tensorflow"]
    return pytest.importorskip(name, reason="craft-xai, the published code, is not installed")
