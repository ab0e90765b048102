"""A model's weights: read without a pickle, fitted to a model, and known again by a hash."""

from __future__ import annotations

import hashlib
import inspect
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from whyclass.errors import ModelError, WeightsError

WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "module", "weights")
"""Keys under which checkpoints keep the weights."""

PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
"""Prefixes that wrappers put before every name."""

COMPANIONS = ("normalizer.", "attacker.")
"""What adversarially trained checkpoints keep beside the model: mean and deviation, which are
preprocessing here, and the same model once more inside the attack."""


OF_THE_HUB = ("name_or_path", "loss_type")
"""Attributes of transformers' models that cannot change their output: where the weights were read from, and
the loss that they are trained with."""


def fingerprint(model: nn.Module) -> str:
    """Hash of a model's weights, structure and own source: what results of it are kept under."""
    total = hashlib.blake2b(digest_size=16)
    total.update(str(model).encode())
    for source in sorted({_source(type(module)) for module in model.modules()}):
        total.update(source.encode())
    values = {**_attributes(model), **dict(model.named_buffers()), **model.state_dict()}
    for name, value in sorted(values.items()):
        if not isinstance(value, Tensor):
            total.update(f"{name} {value!r}".encode())
            continue
        total.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        total.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def _attributes(model: nn.Module) -> dict[str, Any]:
    """What modules keep beside weights and buffers: plain values and tensors, which may change the output."""
    plain = (bool, int, float, str, tuple, Tensor)
    return {
        f"{path}.{name}": value
        for path, module in model.named_modules()
        for name, value in vars(module).items()
        if isinstance(value, plain) and name not in _silent(module)
    }


def _silent(module: nn.Module) -> tuple[str, ...]:
    """Names of a module's attributes that say nothing of its output; in another's, a loss_type might."""
    return ("training", *(OF_THE_HUB if "name_or_path" in vars(module) else ()))


def _source(kind: type) -> str:
    """Source of a module's class; libraries', and what was typed into a prompt, are known by name alone."""
    try:
        own = kind.__module__.partition(".")[0] not in ("torch", "torchvision")
        return inspect.getsource(kind) if own else kind.__qualname__
    except (OSError, TypeError):
        return kind.__qualname__


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, with wrappers taken off.

    Raises
    ------
    WeightsError
        If the file is missing, damaged, no checkpoint, holds NaN or infinity, or would have to be
        unpickled.
    """
    if not path.is_file():
        raise WeightsError(f"there is no weights file {path}")
    state = _unwrap(_read_checkpoint(path), path)
    broken = [key for key, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise WeightsError(f"{path} holds NaN or infinity in {', '.join(broken[:3])}; the file is damaged")
    return state


def _read_checkpoint(path: Path) -> Any:
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


def _unwrap(state: Any, path: Path) -> dict[str, Tensor]:
    for _ in WRAPPERS:  # a bound, since a checkpoint may hold itself
        inner = [key for key in WRAPPERS if isinstance(state, dict) and isinstance(state.get(key), dict)]
        state = state[inner[0]] if inner else state
    tensors = {k: v for k, v in state.items() if isinstance(v, Tensor)} if isinstance(state, dict) else {}
    if not tensors:
        raise WeightsError(f"{path} holds no tensors by name; needed is a state_dict")
    return tensors


def _without_prefixes(state: dict[str, Tensor], own: set[str]) -> dict[str, Tensor]:
    """The tensors by the model's ``own`` names: wrappers' prefixes and companions are taken off."""
    while own.isdisjoint(state):
        prefix = next((p for p in PREFIXES if all(k.startswith(p) for k in state)), "")
        alone = {key: value for key, value in state.items() if not key.startswith(COMPANIONS)}
        if prefix:
            state = {key.removeprefix(prefix): value for key, value in state.items()}
        elif 0 < len(alone) < len(state):
            state = alone
        else:
            break
    return state


def fit(
    build: Callable[..., nn.Module], weights: Path, name: str, state: dict[str, Tensor] | None = None
) -> nn.Module:
    """Build the model and load the weights (or their ``state``), with as many classes as they have."""
    state = read_weights(weights) if state is None else state
    model = built(build, name)
    state = _without_prefixes(state, set(model.state_dict()))
    problems = _misfit(model, state)
    if problems and (classes := _class_count(model, state)):
        try:
            model = built(lambda: build(num_classes=classes), name)
            problems = _misfit(model, state)
        except ModelError:
            pass  # the factory takes no num_classes; the first misfit is what the user should see
    if problems:
        raise WeightsError(f"{weights} does not fit {name}: {'; '.join(problems[:4])}")
    model.load_state_dict(state, strict=False)
    return model


def _misfit(model: nn.Module, state: dict[str, Tensor]) -> list[str]:
    own = {key: tuple(value.shape) for key, value in model.state_dict().items() if isinstance(value, Tensor)}
    # old checkpoints lack these counters, which evaluation does not use
    missing = sorted(key for key in set(own) - set(state) if not key.endswith("num_batches_tracked"))
    extra = sorted(set(state) - set(own))
    shapes = [
        f"{key} is {tuple(value.shape)}, the model's is {own[key]}"
        for key, value in state.items()
        if key in own and tuple(value.shape) != own[key]
    ]
    texts = [f"it lacks {len(missing)}, such as {missing[0]}"] if missing else []
    texts += [f"it has {len(extra)} that the model lacks, such as {extra[0]}"] if extra else []
    return texts + shapes


def _class_count(model: nn.Module, state: dict[str, Tensor]) -> int:
    """Rows of the last layer in the weights, where they differ from the model's; else 0."""
    own = model.state_dict()
    rows = {
        (value.shape[0], own[key].shape[0])
        for key, value in state.items()
        if key in own and value.shape != own[key].shape and value.dim() and own[key].dim()
    }
    return next(iter(rows))[0] if len(rows) == 1 else 0


def built(build: Callable[[], Any], name: str) -> nn.Module:
    """What a factory builds; anything it raises, or that is no module, is a ``ModelError``."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as torchvision's notes on its default initialisation
            model = build()
    except (Exception, SystemExit) as error:  # somebody's factory may raise anything: that is the answer
        raise ModelError(f"{name} could not be built: {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"{name} gave a {type(model).__name__}; needed is a torch.nn.Module")
    return model
