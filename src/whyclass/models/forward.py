"""Run somebody's model: in evaluation mode, plainly, and given back as it came.

The only file with hooks. Each lives inside a ``with`` and the model is given back as it came:
its hooks, its training flags, its gradients; also after an error.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from threading import Lock
from typing import Any
from weakref import WeakSet

import torch
import torch.utils.checkpoint
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from whyclass.errors import ModelError, WhyclassError

Hook = Callable[[nn.Module, Any, Any], Any]
Outputs = dict[nn.Module, tuple[Any, ...]]

HALF = (torch.float16, torch.bfloat16)

_widened: WeakSet[nn.Module] = WeakSet()


class _Reached(Exception):  # noqa: N818 - a signal that stops the trunk early, not an error
    """Carries the layer's output out of the model."""

    def __init__(self, output: Any) -> None:
        self.output = output


@contextmanager
def borrowed(
    model: nn.Module, hooks: Mapping[nn.Module, Hook], known: Outputs | None = None
) -> Iterator[None]:
    """Evaluation mode, these forward hooks, and ``known`` outputs instead of calls, while the block runs."""
    modes = [(module, module.training) for module in model.modules()]
    with ExitStack() as stack:
        stack.enter_context(plainly(model))
        for module, hook in hooks.items():
            stack.callback(module.register_forward_hook(hook).remove)
        for module, outputs in (known or {}).items():
            stack.enter_context(_answering(module, outputs))
        try:
            model.eval()
            yield
        finally:
            for module, mode in modes:
                module.training = mode


@contextmanager
def _answering(module: nn.Module, outputs: tuple[Any, ...]) -> Iterator[None]:
    """The module gives these outputs, call by call, instead of computing."""
    before = module.__dict__.get("forward")
    answers = iter(outputs)
    module.__dict__["forward"] = lambda *_, **__: next(answers)
    try:
        yield
    finally:
        del module.__dict__["forward"]
        if before is not None:
            module.__dict__["forward"] = before


@contextmanager
def plainly(model: nn.Module) -> Iterator[None]:
    """What only saves time or memory in the model does nothing while the block runs.

    Compiled parts run as they were written, so that their modules can be seen; checkpointed ones run once;
    autocast leaves the precision, and inference mode the gradients, to the caller.
    """
    with ExitStack() as stack:
        if "torch._dynamo" in sys.modules:  # else nothing can be compiled
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(_Standing.all())
        if model in _widened:
            stack.enter_context(_Wide())
        yield


class _Straight:
    """Stands for the checkpoint's own function: the wrapped one is called and nothing is thrown away."""

    @staticmethod
    def apply(function: Callable[..., Any], _: bool, *args: Any) -> Any:
        return function(*args)


def _once(*_: Any, **__: Any) -> Iterator[None]:
    yield


class _Standing:
    """Stand-ins for some of torch's own, for as long as any thread needs them."""

    lock, users, before = Lock(), 0, list[tuple[Any, str, Any]]()

    @classmethod
    @contextmanager
    def all(cls) -> Iterator[None]:
        checkpoint: Any = torch.utils.checkpoint
        ways = ("_checkpoint_without_reentrant_generator", "_checkpoint_without_reentrant_generator_impl")
        wanted: list[tuple[Any, str, Any]] = [(checkpoint, "CheckpointFunction", _Straight)]
        wanted += [(checkpoint, way, _once) for way in ways]  # by torch's release
        for mode in (torch.inference_mode, torch.amp.autocast_mode.autocast):
            wanted += [(mode, "__enter__", lambda self: self), (mode, "__exit__", lambda *_: None)]
        with cls.lock:
            cls.users += 1
            if cls.users == 1:
                there = [row for row in wanted if hasattr(row[0], row[1])]
                cls.before = [(home, name, getattr(home, name)) for home, name, _ in there]
                for home, name, stand_in in there:
                    setattr(home, name, stand_in)
        try:
            yield
        finally:
            with cls.lock:
                cls.users -= 1
                for home, name, own in cls.before if not cls.users else ():
                    setattr(home, name, own)


class _Wide(TorchFunctionMode):
    """Half precision is asked for, and single precision given."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (Tensor.half, Tensor.bfloat16):
            return args[0].float()
        wide = [torch.float32 if _is_half(one) else one for one in args]
        named = {key: torch.float32 if _is_half(one) else one for key, one in (kwargs or {}).items()}
        return func(*wide, **named)


def _is_half(one: Any) -> bool:
    return isinstance(one, torch.dtype) and one in HALF


def widen(model: nn.Module) -> None:
    """Make a model of single precision that stays so, also where its own code asks for half."""
    model.float()
    _widened.add(model)


def is_widened(model: nn.Module) -> bool:
    """Whether a model was made to stay of single precision."""
    return model in _widened


class Following(TorchFunctionMode):
    """Gradients go through ``no_grad``, ``set_grad_enabled(False)`` and ``detach`` while this is active."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Any function of torch that is called meanwhile."""
        if func is torch._C._set_grad_enabled:
            return None
        if func in (Tensor.detach, torch.detach, Tensor.detach_) or func == _DATA:
            own = args[0]
            if own.requires_grad and not own.is_leaf:
                return own if func is Tensor.detach_ else own.view_as(own)
        if func in (Tensor.numpy, Tensor.__array__):  # there the way ends, whatever is done
            return func(args[0].detach(), *args[1:], **(kwargs or {}))
        return func(*args, **(kwargs or {}))


_DATA = Tensor.data.__get__  # type: ignore[attr-defined]


def run(model: nn.Module, images: Tensor) -> Tensor:
    """``model(images)`` in evaluation mode; the model's training flags are restored."""
    with evaluating(model):
        return call(model, images)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode while the block runs; training flags are restored."""
    with borrowed(model, {}):
        yield


def until(model: nn.Module, module: nn.Module, images: Tensor) -> Any:
    """What a module of the model gives for the images, where the model is stopped; gradients reach them.

    Raises
    ------
    LookupError
        If the model finished without calling it.
    """

    def stop(_: nn.Module, __: Any, output: Any) -> None:
        raise _Reached(output)

    with ExitStack() as stack:
        stack.enter_context(borrowed(model, {module: stop}))
        if torch.is_grad_enabled():
            stack.enter_context(Following())
        try:
            call(model, images)
        except _Reached as reached:
            return reached.output
    raise LookupError("the module was not called")


def call(model: nn.Module, images: Tensor) -> Tensor:
    """The logits of the model's output; what it raises is a ``ModelError``."""
    try:
        output = model(images)
    except (_Reached, WhyclassError):
        raise
    except Exception as error:  # somebody's model may raise anything, such as an assertion on sizes
        raise ModelError(
            f"the model failed on images of shape {tuple(images.shape)}: {type(error).__name__}: {error}"
        ) from error
    return tensor_of(output)  # type: ignore[no-any-return]


def tensor_of(output: Any) -> Any:
    """The logits of a model's output: a tensor as it is, or what libraries keep under a name of theirs.

    torchvision's segmentation nets give a mapping with ``"out"``, transformers' an object with ``logits``.
    Anything else comes back as it is.
    """
    if isinstance(output, Tensor):
        return output
    found = output.get("out", output.get("logits")) if isinstance(output, Mapping) else None
    return output if (found := getattr(output, "logits", found)) is None else found
