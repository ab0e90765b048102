"""Weights fitted to a model, and a model known again by a hash."""

from __future__ import annotations

import hashlib
import inspect
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from whyclass.errors import ModelError, WeightsError
from whyclass.models.checkpoints import COUNTER, Checkpoint, by_own_names
from whyclass.models.written import PLAIN, derived

OF_THE_HUB = ("name_or_path", "loss_type")
"""Attributes of transformers' models that cannot change their output: where the weights were read from, and
the loss that they are trained with."""


def fingerprint(model: nn.Module, without: frozenset[str] = frozenset()) -> str:
    """Hash of a model's weights, structure and own source: what results of it are kept under.

    ``without`` are paths of what its own passes write (`written`), which says nothing of it.
    """
    total = hashlib.blake2b(digest_size=16)
    total.update(str(model).encode())
    for source in sorted({_source(type(module)) for module in model.modules()}):
        total.update(source.encode())
    values = {**_attributes(model), **dict(model.named_buffers()), **model.state_dict()}
    for name, value in sorted(values.items()):
        if name.lstrip(".") in without:
            continue
        if not isinstance(value, Tensor):
            total.update(f"{name} {value!r}".encode())
            continue
        total.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        total.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def _attributes(model: nn.Module) -> dict[str, Any]:
    """What modules keep beside weights and buffers: plain values and tensors, which may change the output."""
    return {
        f"{path}.{name}": value
        for path, module in model.named_modules()
        for name, value in vars(module).items()
        if isinstance(value, PLAIN) and name not in _silent(module) and not derived(module, name, value)
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


def fit(build: Callable[..., nn.Module], weights: Checkpoint, name: str) -> tuple[nn.Module, tuple[str, ...]]:
    """Build the model and load the weights, with as many classes as they have; and what was chosen."""
    model = built(build, name)
    state, notes = by_own_names(weights, set(model.state_dict()))
    problems = _misfit(model, state)
    if problems and (classes := _class_count(model, state)):
        try:
            other = built(lambda: build(num_classes=classes), name)
            if not _misfit(other, state):
                model, problems = other, []
        except ModelError:
            pass  # the factory takes no num_classes; the first misfit is what the user should see
    if problems:
        raise WeightsError(f"{weights.path} does not fit {name}: {'; '.join(problems[:4])}")
    try:
        model.load_state_dict(state, strict=False)
    except Exception as error:  # a module may read its weights in its own way
        raise WeightsError(f"{weights.path} does not load into {name}: {error}") from error
    return model, weights.notes + notes


def _misfit(model: nn.Module, state: dict[str, Tensor]) -> list[str]:
    own = {key: tuple(value.shape) for key, value in model.state_dict().items() if isinstance(value, Tensor)}
    missing = sorted(key for key in set(own) - set(state) if not key.endswith(COUNTER))
    extra = sorted(set(state) - set(own))
    shapes = [
        f"{key} is {tuple(value.shape)}, the model's is {own[key]}"
        for key, value in state.items()
        if key in own and tuple(value.shape) != own[key]
    ]
    texts = [f"it lacks {len(missing)}, such as {missing[0]}"] if missing else []
    texts += [f"it has {len(extra)} that the model lacks, such as {extra[0]}"] if extra else []
    return texts + shapes + _other_kinds(model, state)


def _other_kinds(model: nn.Module, state: dict[str, Tensor]) -> list[str]:
    """Weights that are no real numbers where the model's are: they would be bent into some."""
    own = {key: value for key, value in model.state_dict().items() if isinstance(value, Tensor)}
    return [
        f"{key} is {value.dtype}, the model's is {own[key].dtype}"
        for key, value in state.items()
        if key in own and own[key].is_floating_point() and not value.is_floating_point()
    ]


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
