"""Cut a model in two at a layer: ``head(trunk(images))`` is ``model(images)``, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from whyclass.errors import LayerError, ModelError
from whyclass.models.forward import Following, Outputs, borrowed, call, run, until
from whyclass.models.layer_info import beside, get_layer
from whyclass.models.layer_layouts import Form
from whyclass.models.outputs import LINKS
from whyclass.models.readings import Reading
from whyclass.models.refusals import check_kind, check_repeats
from whyclass.models.survey import survey

OUTPUT_BYTES = 256 << 20
"""Of the model's output for images that are finished together: a map of logits may be very large."""


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
    link
        What the model's output went through, a row of `outputs.LINKS`; the head gives logits.
    reading
        How the model's output is read; where there is none, ``link`` alone says so.
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
    link: str = ""
    reading: Reading | None = field(repr=False, default=None)

    def read(self, output: Any) -> Tensor:
        """Logits of what the model gives."""
        return LINKS[self.link](output) if self.reading is None else self.reading(output)

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
            return self.read(_head(self, activations, self.example, self.known))
        return self.read(_head(self, activations, images, {}))

    def whole(self, images: Tensor) -> Tensor:
        """The logits of the whole model, untouched, for ``images`` (n, channels, S, T)."""
        return self.read(run(self.model, images))


def split(model: nn.Module, layer: str, example: Tensor, reading: Reading | None = None) -> Split:
    """Cut ``model`` at the module path ``layer``, and prove the cut.

    Parameters
    ----------
    model
        Any ``torch`` module that maps images to an output.
    layer
        Module path, such as ``"layer4.2"``.
    example
        At least one image of the size the model will see, shape (n, channels, S, T).
    reading
        How the model's output is read; none takes it as it is.

    Raises
    ------
    LayerError
        If the layer does not exist (names the nearest), is called more than once, or has an output
        that is no map (names the layers beside it that can be explained).
    ModelError
        If the model fails, or its output is no tensor or not finite.
    """
    check_kind(model)
    get_layer(model, layer)
    generator = torch.Generator().manual_seed(0)
    probe = torch.randn(2, *example.shape[1:], generator=generator).to(example)
    # not the example: a constant image may hide that a layer's output can be negative
    infos = {info.name: info for info in survey(model, probe[:1], layer)}
    info = infos.get(layer)
    problem = "the model does not call it" if info is None else info.problem
    if info is None or problem:
        raise LayerError(f"layer {layer!r} cannot be explained: {problem}.{beside(model, layer, infos)}")
    assert info.form is not None  # else there is a problem
    form = None if info.form.name == "map" else info.form
    # sums are taken in an order of their own by a GPU, and where tokens were moved to their places and back
    moved = form is not None and (form.name == "tokens last" or bool(form.places))
    exact, one = example.device.type == "cpu" and not moved, example[:1].detach()
    cut = Split(model, layer, info.form.shape, False, one, _before(model, layer, one), info.signed, form)
    cut = _reading(cut, reading)
    with torch.no_grad():
        whole, activations = _finite(cut.whole(probe)), cut.trunk(probe)
        check_repeats(model, cut.whole, probe, whole)
        cut = replace(cut, outputs=whole[0].numel())
        if _agrees(lambda: cut.head(activations), whole, exact):
            return cut
        cut = replace(cut, bypassed=True, known={})
        if _agrees(lambda: cut.head(activations, probe), whole, exact):
            return cut
    raise LayerError(
        f"finishing the model from layer {layer!r} does not give the model's own output; is it random, or "
        "does it keep state between calls? What is random must be so only where self.training is set: "
        "dropout as a module or with training=self.training, augmentation outside the model"
    )


def _reading(cut: Split, reading: Reading | None) -> Split:
    return cut if reading is None else replace(cut, reading=reading, link=reading.scores)


def _trunk(model: nn.Module, layer: str, images: Tensor) -> Tensor:
    try:
        return until(model, get_layer(model, layer), images)  # type: ignore[no-any-return]
    except LookupError as error:
        raise LayerError(f"the model finished without calling layer {layer!r}") from error


def _head(cut: Split, activations: Tensor, images: Tensor, known: Outputs) -> Tensor:
    wants_grad = torch.is_grad_enabled()
    with ExitStack() as stack:

        def replace(_: nn.Module, __: Any, own: Any) -> Tensor:
            if wants_grad:
                torch.set_grad_enabled(True)
                stack.enter_context(Following())
            given = activations if activations.dtype == own.dtype else activations.to(own.dtype)
            if cut.form is not None:
                return cut.form.to_output(given, own).clone()
            # a copy: an in-place operation right after the layer may write neither into the caller's
            # tensor nor into a leaf of the graph
            return given.clone()

        # What lies before the layer needs no graph; leaving the block restores the caller's mode.
        stack.enter_context(torch.no_grad())
        stack.enter_context(borrowed(cut.model, {get_layer(cut.model, cut.layer): replace}, known))
        return call(cut.model, images)


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

    with torch.no_grad(), borrowed(model, dict.fromkeys(names, note)):
        call(model, example)
    done = {names[module]: module for module in early if module not in late}
    inside = {name for name in done if any(name.startswith(f"{other}.") for other in done)}
    # a container that also holds the layer ends after it, so none of these holds the layer
    return {module: tuple(early[module]) for name, module in done.items() if name not in inside}


def _finite(output: Any) -> Tensor:
    if not isinstance(output, Tensor):
        raise ModelError(f"the model's output is no tensor but a {type(output).__name__}")
    if not torch.isfinite(output).all():
        raise ModelError("the model's output is not finite; do its weights hold NaN?")
    return output


def _agrees(call: Callable[[], Tensor], whole: Tensor, exact: bool) -> bool:
    """Whether the finished output is the model's, up to what another order of sums may change."""
    try:
        output = call()
    except ModelError:  # rows of the one image meet rows of two: a bypass that cannot broadcast
        return False
    if exact:
        return torch.equal(output, whole)
    return output.shape == whole.shape and torch.allclose(output, whole, rtol=1e-4, atol=1e-5)
