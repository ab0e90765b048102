"""A task as the command line names it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from whyclass.errors import SettingsError
from whyclass.models.readings import KINDS, Reading
from whyclass.models.sources import function_in


def named_task(text: str) -> Reading:
    """How an output is read: the name of a kind, ``embedding:FILE``, or ``path/to/file.py:function``.

    Raises
    ------
    SettingsError
        If it is none of these, or the file holds no matrix.
    ModelError
        If there is no such function.
    """
    kind, _, rest = text.partition(":")
    if kind == "embedding" and rest:
        return Reading("embedding", matrix=_matrix(Path(rest)))
    file, _, name = text.rpartition(":")
    if file.endswith(".py"):
        return Reading("callable", function=function_in(file, name))
    if text not in KINDS or text in ("embedding", "callable"):
        plain = ", ".join(name for name in KINDS if name not in ("embedding", "callable"))
        raise SettingsError(
            f"--task is {text[:60]!r}; choose one of {plain}, embedding:FILE, or path/to/file.py:function"
        )
    return Reading(text)


def _matrix(path: Path) -> Any:
    """The one array of a file of numpy or safetensors."""
    try:
        if path.suffix == ".npy":
            return np.load(path)  # which reads no pickle
        held = load_file(path)
    except Exception as error:  # a damaged file makes the readers raise nearly anything
        raise SettingsError(
            f"{path} cannot be read as a class matrix: {str(error).splitlines()[0]}"
        ) from error
    if len(held) != 1:
        raise SettingsError(f"{path} holds {', '.join(held)}; needed is one array, the class matrix")
    return next(iter(held.values()))
