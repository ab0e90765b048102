"""Cut a model in two at a layer: ``head(trunk(images))`` is ``model(images)``, bit for bit.

The only file with hooks. Each lives inside a ``with`` and the model is given back as it came:
its hooks, its training flags, its gradients; also after an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from whyclass.errors import LayerError, ModelError, WhyclassError
from whyclass.models.layer_info import (
    LayerInfo,
    beside,
    called_once,
    describe,
    get_layer,
    of_images,
    of_places,
)
from whyclass.models.layer_layouts import Form

Hook = Callable[[nn.Module, Any, Any], Any]
Outputs = dict[nn.Module, tuple[Any, ...]]


OUTPUT_BYTES = 256 << 20
"""Of the model's output for images that are finished together: a map of logits may be very large."""


class _Reached(Exception):  # noqa: N818 - a signal that stops the trunk early, not an error
    """Carries the layer's output out of the model."""

    def __init__(self, output: Any) -> None:
        self.output = output


@contextmanager
def _borrowed(
    model: nn.Module, hooks: Mapping[nn.Module, Hook], known: Outputs | None = None
) -> Iterator[None]:
    """Evaluation mode, these forward hooks, and ``known`` outputs instead of calls, while the block runs."""
    modes = [(module, module.training) for module in model.modules()]
    with ExitStack() as stack:
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


@dataclass(frozen=True)
class Split:
    """A model and the layer it is cut at.

    Attributes
    ----------
    model, layer
        The model, untouched, and the module path of the layer.
    shape
        (c, h, w) of the layer's output for one image.
    signed
        Whether its activations can be negative, as before a ReLU, or after GELU or SiLU.
    form
        How the layer's output is a map; None where it is one.
    outputs
        Numbers that the model gives for one image.
    bypassed
        Whether something goes around the layer (the skip connections of a U-Net). Then the
        activations alone do not decide the output, and ``head`` needs the images too.
    example
        One image, shape (1, channels, S, T); what stands for the images while the head runs.
    known
        The outputs of the modules before the layer for the example. The head answers with them
        instead of computing: what lies before the layer costs it nothing.
    """

    model: nn.Module
    layer: str
    shape: tuple[int, int, int]
    bypassed: bool
    example: Tensor = field(repr=False)
    known: Outputs = field(repr=False, default_factory=dict)
    signed: bool = False
    form: Form | None = None
    outputs: int = 1

    def together(self, most: int) -> int:
        """For how many images at most the model is finished at a time, so that its output stays small."""
        return max(1, min(most, OUTPUT_BYTES // (4 * self.outputs)))

    def trunk(self, images: Tensor) -> Tensor:
        """Activations at the layer, shape (n, c, h, w), of ``images`` (n, channels, S, T); stops there.

        Raises
        ------
        LayerError
            If the model finished without calling the layer.
        """
        return self.as_map(_trunk(self.model, self.layer, images))

    def as_map(self, output: Tensor) -> Tensor:
        """The layer's output as a map (n, c, h, w)."""
        return output if self.form is None else self.form.to_map(output)

    def head(self, activations: Tensor, images: Tensor | None = None) -> Tensor:
        """The model's output, finished from ``activations`` (n, c, h, w).

        The part before the layer is not run. Where the layer is bypassed, pass the ``images``
        (n, channels, S, T) that the activations belong to; the whole model then runs on them with
        the layer's output replaced.
        """
        if self.bypassed and images is None:
            raise LayerError(
                f"layer {self.layer!r} is bypassed by another path of the model; "
                "head() needs the images its activations came from"
            )
        if images is None or not self.bypassed:
            return _head(self, activations, self.example, self.known)
        return _head(self, activations, images, {})


def split(model: nn.Module, layer: str, example: Tensor) -> Split:
    """Cut ``model`` at the module path ``layer``, and prove the cut.

    Parameters
    ----------
    model
        Any ``torch`` module that maps images to an output.
    layer
        Module path, such as ``"layer4.2"``.
    example
        At least one image of the size the model will see, shape (n, channels, S, T).

    Raises
    ------
    LayerError
        If the layer does not exist (names the nearest), is called more than once, or has an output
        that is no map (names the layers beside it that can be explained).
    ModelError
        If the model fails, or its output is no tensor or not finite.
    """
    get_layer(model, layer)
    generator = torch.Generator().manual_seed(0)
    probe = torch.randn(2, *example.shape[1:], generator=generator).to(example)
    # not the example: a constant image may hide that a layer's output can be negative
    infos = {info.name: info for info in survey(model, probe[:1])}
    info = infos.get(layer)
    problem = "the model does not call it" if info is None else info.problem
    if info is None or problem:
        raise LayerError(f"layer {layer!r} cannot be explained: {problem}.{beside(model, layer, infos)}")
    assert info.form is not None  # else there is a problem
    form = None if info.form.name == "map" else info.form
    one = example[:1].detach()
    cut = Split(model, layer, info.form.shape, False, one, _before(model, layer, one), info.signed, form)
    with torch.no_grad():
        whole, activations = _finite(run(model, probe)), cut.trunk(probe)
        cut = replace(cut, outputs=whole[0].numel())
        if _agrees(lambda: cut.head(activations), whole):
            return cut
        cut = replace(cut, bypassed=True, known={})
        if _agrees(lambda: cut.head(activations, probe), whole):
            return cut
    raise LayerError(
        f"finishing the model from layer {layer!r} does not give the model's own output; "
        "is it random, or does it keep state between calls?"
    )


def run(model: nn.Module, images: Tensor) -> Tensor:
    """``model(images)`` in evaluation mode; the model's training flags are restored."""
    with evaluating(model):
        return _call(model, images)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode while the block runs; training flags are restored."""
    with _borrowed(model, {}):
        yield


def survey(model: nn.Module, example: Tensor) -> list[LayerInfo]:
    """Every layer the model calls, in the order in which they finish, from two forward passes.

    The second is of the image twice: what has not twice as many rows then is no output for images, such
    as windows of an image or a table of positions.

    Parameters
    ----------
    example
        One image, shape (1, channels, S, T); of several the first is taken.
    """
    names = {module: name for name, module in model.named_modules() if name}
    calls: dict[str, list[LayerInfo]] = {}
    rows: dict[str, int] = {}

    def note(module: nn.Module, _: Any, output: Any) -> None:
        info = describe(names[module], module, output, (example.shape[2], example.shape[3]))
        calls.setdefault(info.name, []).append(info)

    def count(module: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim:
            rows[names[module]] = len(output)

    one = example[:1]
    with torch.no_grad():
        for images, hook in ((one, note), (torch.cat([one, one]), count)):
            with _borrowed(model, dict.fromkeys(names, hook)):
                _call(model, images)
    infos = {name: of_images(called_once(found), rows.get(name, 0)) for name, found in calls.items()}
    return [of_places(info, infos) for info in infos.values()]


def _trunk(model: nn.Module, layer: str, images: Tensor) -> Tensor:
    def stop(_: nn.Module, __: Any, output: Any) -> None:
        raise _Reached(output)

    with _borrowed(model, {get_layer(model, layer): stop}):
        try:
            _call(model, images)
        except _Reached as reached:
            return reached.output  # type: ignore[no-any-return]
    raise LayerError(f"the model finished without calling layer {layer!r}")


def _head(cut: Split, activations: Tensor, images: Tensor, known: Outputs) -> Tensor:
    wants_grad = torch.is_grad_enabled()

    def replace(_: nn.Module, __: Any, own: Any) -> Tensor:
        torch.set_grad_enabled(wants_grad)
        if cut.form is not None:
            return cut.form.to_output(activations, own).clone()
        # a copy: an in-place operation right after the layer may write neither into the caller's
        # tensor nor into a leaf of the graph
        return activations.clone()

    # What lies before the layer needs no graph; leaving the block restores the caller's mode.
    with torch.no_grad(), _borrowed(cut.model, {get_layer(cut.model, cut.layer): replace}, known):
        return _call(cut.model, images)


def _before(model: nn.Module, layer: str, example: Tensor) -> Outputs:
    """Outputs of the modules whose every call ends before the layer's: the outermost ones only.

    The values are those of the example and stand for nothing but their shapes: ``split`` proves that
    none of them reaches the output other than through the layer.
    """
    names = {module: name for name, module in model.named_modules() if name}
    here = get_layer(model, layer)
    early: dict[nn.Module, list[Any]] = {}
    late: set[nn.Module] = set()

    def note(module: nn.Module, _: Any, output: Any) -> None:
        if module is here or late:
            late.add(module)
        else:
            early.setdefault(module, []).append(output)

    with torch.no_grad(), _borrowed(model, dict.fromkeys(names, note)):
        _call(model, example)
    done = {names[module]: module for module in early if module not in late}
    inside = {name for name in done if any(name.startswith(f"{other}.") for other in done)}
    # a container that also holds the layer ends after it, so none of these holds the layer
    return {module: tuple(early[module]) for name, module in done.items() if name not in inside}


def _call(model: nn.Module, images: Tensor) -> Tensor:
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


def _finite(output: Any) -> Tensor:
    if not isinstance(output, Tensor):
        raise ModelError(f"the model's output is no tensor but a {type(output).__name__}")
    if not torch.isfinite(output).all():
        raise ModelError("the model's output is not finite; do its weights hold NaN?")
    return output


def _agrees(call: Callable[[], Tensor], whole: Tensor) -> bool:
    """Whether the finished output is the model's, up to what a GPU's free order of sums may change."""
    try:
        output = call()
    except ModelError:  # rows of the one image meet rows of two: a bypass that cannot broadcast
        return False
    if whole.device.type == "cpu":
        return torch.equal(output, whole)
    return output.shape == whole.shape and torch.allclose(output, whole, rtol=1e-4, atol=1e-5)
