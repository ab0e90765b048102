"""Weights files: read without a pickle, with what training wrapped around the weights taken off."""

from __future__ import annotations

import pickle
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from whyclass.errors import WeightsError

AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "params_ema", "ema_model", "ema")
"""Keys under which checkpoints keep the running average of the weights: taken before the raw ones, as timm
does, since it is the average that was evaluated."""

WRAPPERS = (
    *AVERAGED,
    *("state_dict", "model_state_dict", "model_state", "model", "net", "module", "weights", "params"),
)
"""Keys under which checkpoints keep the weights, the first that is there is taken."""

PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "backbone.", "network.", "encoder.", "classifier.")
"""Prefixes that wrappers put before every name."""

COMPANIONS = ("normalizer.", "attacker.")
"""What adversarially trained checkpoints keep beside the model: mean and deviation, which are
preprocessing here, and the same model once more inside the attack."""

COUNTER = "num_batches_tracked"
"""How counters of batch norms end, which old checkpoints lack and evaluation does not use."""

OLD_DENSE = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.\w+)$")
"""DenseNet's layers as its published files name them: ``norm.1.weight`` is ``norm1.weight``."""


@dataclass(frozen=True)
class Checkpoint:
    """What a weights file holds.

    Attributes
    ----------
    path
        The file.
    state
        Its tensors by name.
    key
        First part of the wanted names, where the user said so.
    notes
        What was chosen, for people.
    """

    path: Path
    state: dict[str, Tensor] = field(repr=False)
    key: str = ""
    notes: tuple[str, ...] = ()


def opened(weights: str | Path) -> Checkpoint:
    """The tensors of a checkpoint by name, with wrappers taken off.

    Parameters
    ----------
    weights
        A file, or ``FILE:KEY`` where it holds several: the key of the weights in it, such as ``state_dict``
        or ``model_ema``, or the first part of their names, such as ``teacher``.

    Raises
    ------
    WeightsError
        If the file is missing, damaged, no checkpoint, holds NaN or infinity, or would have to be
        unpickled.
    """
    path, key = _parted(weights)
    held = _read(path)
    if key and isinstance(held, dict) and isinstance(held.get(key), dict):
        held, key = held[key], ""
    state, notes = _unwrapped(held, path)
    if key and not _under(state, f"{key}."):
        kinds = sorted({name.partition(".")[0] for name in state})
        raise WeightsError(f"{path} has nothing under {key!r}; its names begin with {', '.join(kinds[:8])}")
    if empty := [name for name, value in state.items() if value.is_meta]:
        raise WeightsError(f"{path}: {empty[0]} holds no values (a meta tensor); save the trained weights")
    floats = {name: _stored(value) for name, value in state.items() if value.is_floating_point()}
    if broken := [name for name, value in floats.items() if not value.isfinite().all()]:
        raise WeightsError(f"{path} holds NaN or infinity in {', '.join(broken[:3])}; the file is damaged")
    return Checkpoint(path, state, key, notes)


def read_weights(weights: str | Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name; see `opened`."""
    return opened(weights).state


def _parted(weights: str | Path) -> tuple[Path, str]:
    """The file, and the key in it that was named after a colon."""
    path = Path(weights)
    if path.is_file():
        return path, ""
    file, _, key = str(weights).rpartition(":")
    if file and key and Path(file).is_file():
        return Path(file), key
    raise WeightsError(f"there is no weights file {path}")


def _read(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as torch's notes on a pickle's protocol
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} is damaged, or a pickle that could run code when it is loaded, so it was refused; "
            "save only the model's state_dict, best as safetensors"
        ) from error
    except Exception as error:  # a damaged file makes the readers raise nearly anything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise WeightsError(f"{path} cannot be read as weights: {reason}") from error


def _unwrapped(state: Any, path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The named tensors in a checkpoint, and what was chosen among several."""
    notes: list[str] = []
    for _ in WRAPPERS:  # a bound, since a checkpoint may hold itself
        inner = [name for name in WRAPPERS if isinstance(state, dict) and _holds(state.get(name))]
        if len(inner) > 1 and inner[0] in AVERAGED:
            notes.append(
                f"{path.name} holds {' and '.join(inner)}; {inner[0]} was taken, the average, as timm "
                f"does; for the other give {path.name}:{inner[1]}"
            )
        state = state[inner[0]] if inner else state
    if not isinstance(state, dict) or not _holds(state):
        raise WeightsError(f"{path} holds no tensors by name; needed is a state_dict")
    return _named(state, path), tuple(notes)


def _named(state: dict[Any, Any], path: Path) -> dict[str, Tensor]:
    """The tensors of a dictionary by their names."""
    if other := [name for name in state if not isinstance(name, str)]:
        raise WeightsError(
            f"{path} names its tensors {other[0]!r} and the like; needed is a state_dict, by names such as "
            "'layer1.0.conv1.weight'"
        )
    return {_modern(name): _dense(path, name, v) for name, v in state.items() if isinstance(v, Tensor)}


def _holds(value: Any, depth: int = 4) -> bool:
    """Whether a dictionary holds tensors, or one of its own that does."""
    if not isinstance(value, dict) or not depth:
        return False
    return any(isinstance(v, Tensor) for v in value.values()) or any(
        _holds(value.get(name), depth - 1) for name in WRAPPERS
    )


def _modern(name: str) -> str:
    return OLD_DENSE.sub(r"\1\2", name)


def _dense(path: Path, name: str, value: Tensor) -> Tensor:
    """A tensor as torch computes with it: those of 8 bits in float32, sparse ones filled up."""
    if value.layout != torch.strided:
        if value.numel() > 2**31:
            raise WeightsError(f"{path}: {name} is sparse, of {tuple(value.shape)}; save it dense")
        value = value.to_dense()
    if value.is_floating_point() and value.element_size() < 2:
        try:
            return value.to(torch.float32)
        except (RuntimeError, NotImplementedError) as error:
            raise WeightsError(f"{path}: {name} is {value.dtype}; save it as float32") from error
    return value


def _stored(value: Tensor) -> Tensor:
    """The numbers that a tensor really has: one that was expanded repeats a few without end."""
    if value.is_quantized or value.numel() * value.element_size() <= value.untyped_storage().nbytes():
        return value
    count = value.untyped_storage().nbytes() // value.element_size()
    return value.as_strided((count,), (1,), 0)


def by_own_names(checkpoint: Checkpoint, own: set[str]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors by the model's ``own`` names: wrappers' prefixes and companions are taken off.

    Beside a wrapped model's weights a checkpoint may keep others, such as a loss's; they are left out where
    every name of the model is there under one prefix. Of several such prefixes the user's is taken, or else
    an average's, or the first of ``PREFIXES``; the second value says so.
    """
    needed = {name for name in own if not name.endswith(COUNTER)}
    state = _under(checkpoint.state, f"{checkpoint.key}." if checkpoint.key else "")
    if needed <= set(state):
        return state, ()
    starts = sorted(_whole(state, needed), key=_rank)
    if not starts:
        return _peeled(state, own), ()
    name, (start, *others) = checkpoint.path.name, starts
    if others:
        return _under(state, start), (
            f"{name} holds the model {len(starts)} times; {start.rstrip('.')} was taken; for another give "
            f"{name}:{others[0].rstrip('.')}",
        )
    left = sorted({key.partition(".")[0] for key in state if not key.startswith(start)} - _SILENT)
    told = f"of {name} what is under {start.rstrip('.')} was taken, and {', '.join(left[:4])} left out"
    return _under(state, start), (told,) if left else ()


_SILENT = {"n_averaged", *(name.rstrip(".") for name in COMPANIONS)}
"""What is left out of checkpoints without a word."""


def _under(state: dict[str, Tensor], start: str) -> dict[str, Tensor]:
    return {key.removeprefix(start): value for key, value in state.items() if key.startswith(start)}


def _whole(state: dict[str, Tensor], needed: set[str]) -> list[str]:
    """Prefixes under which every needed name is there, but for companions."""
    if not needed:
        return []
    one = min(needed)
    starts = {key[: -len(one)] for key in state if key.endswith(f".{one}")}
    whole = [start for start in starts if all(start + name in state for name in needed)]
    return [start for start in whole if not start.startswith(COMPANIONS)]


def _rank(start: str) -> tuple[bool, int, str]:
    """Averages first, then wrappers as they are usually called."""
    first = start.partition(".")[0] + "."
    return ("ema" not in start.lower(), PREFIXES.index(first) if first in PREFIXES else len(PREFIXES), start)


def _peeled(state: dict[str, Tensor], own: set[str]) -> dict[str, Tensor]:
    """Prefixes and companions off as far as they go, so that what does not fit is told by its own names."""
    while state and own.isdisjoint(state):
        prefix = next((p for p in PREFIXES if all(k.startswith(p) for k in state)), "")
        alone = {key: value for key, value in state.items() if not key.startswith(COMPANIONS)}
        if prefix:
            state = {key.removeprefix(prefix): value for key, value in state.items()}
        elif 0 < len(alone) < len(state):
            state = alone
        else:
            break
    return state
