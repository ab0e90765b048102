"""A faster copy of the trunk: batch norms folded into convolutions, ReLU and sums fused with them.

The copy is used where the model may be left for an approximation of known size (noisy copies of
images); it is compared with the model's own trunk when it is made, and not used where it differs.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx.experimental.optimization import fuse as fold_batch_norms

from whyclass.exact_products import exact_products
from whyclass.models.split import Split

Trunk = Callable[[Tensor], Tensor]

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 5e-2}
"""Largest difference of a fused trunk from the model's own, relative to the largest activation."""

_RELU_CALLS = (F.relu, torch.relu, torch.relu_)
_SUMS = (operator.add, operator.iadd, torch.add)


def fast_trunk(split: Split, dtype: torch.dtype) -> Trunk:
    """The trunk as a fused copy of the model in ``dtype``; images and activations stay float32.

    Falls back to a plain copy in ``dtype`` where the model cannot be traced, and to the model's own
    trunk where the copy does not reproduce it within ``TOLERANCE``.
    """
    return _first_close(split, dtype, (_fused, _plain))


def smooth_trunk(split: Split, dtype: torch.dtype) -> Trunk:
    """The same for gradients to the images: fused convolutions have none, folded batch norms do."""
    return _first_close(split, dtype, (_folded, _plain))


def _first_close(
    split: Split, dtype: torch.dtype, builds: Sequence[Callable[[Split, torch.dtype], Trunk]]
) -> Trunk:
    for build in builds:
        try:
            trunk = build(split, dtype)
            with exact_products():  # TF32 would part them by more than folding does
                close = _close(trunk, split, dtype)
            if close:
                return trunk
        except Exception:  # an untraceable model, or an operation that ``dtype`` does not have
            continue
    return split.trunk


def shared_trunk(
    splits: Sequence[Split], own: Sequence[Trunk], dtype: torch.dtype, images: int
) -> Callable[[Tensor], list[Tensor]] | None:
    """Activations at several layers of one model from one pass, bit by bit those of their ``own`` trunks.

    None where there is no such copy: it is compared with each of them, on so many ``images``.
    """
    probe = torch.randn(images, *splits[0].example.shape[1:], generator=torch.Generator().manual_seed(1))
    probe = probe.to(splits[0].example)
    try:
        graph = _graph(splits[-1], dtype, [one.layer for one in splits])
        if probe.device.type == "cpu" and torch.backends.mkldnn.is_available():
            _fuse_convolutions(graph)

        def together(images: Tensor) -> list[Tensor]:
            found = graph(_prepare(images, dtype))
            return [one.as_map(found[one.layer].float()) for one in splits]

        with exact_products(), torch.no_grad():
            got = together(probe)
            same = all(torch.equal(a, trunk(probe)) for a, trunk in zip(got, own, strict=True))
    except Exception:  # an untraceable model, or an operation that ``dtype`` does not have
        return None
    return together if same else None


def noisy_precision(precision: str, cut: Split) -> torch.dtype:
    """Precision of the noisy copies' trunk: bfloat16 under ``auto`` where the device has units for it."""
    if precision != "auto":
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    device = cut.example.device.type
    if device == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    native = device == "cpu" and any(
        getattr(torch.cpu, name, lambda: False)()
        for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    )
    return torch.bfloat16 if native else torch.float32


def _close(trunk: Trunk, split: Split, dtype: torch.dtype) -> bool:
    images = torch.randn(2, *split.example.shape[1:], generator=torch.Generator().manual_seed(1))
    images = images.to(split.example)
    with torch.no_grad():
        wanted, got = split.trunk(images), trunk(images)
    bound = TOLERANCE[dtype] * float(wanted.abs().max())
    return got.shape == wanted.shape and bool((got - wanted).abs().max() <= bound)


def _plain(split: Split, dtype: torch.dtype) -> Trunk:
    model = _own(split.model).to(dtype).to(memory_format=torch.channels_last)
    cut = Split(
        model,
        split.layer,
        split.shape,
        split.bypassed,
        split.example.to(dtype),
        signed=split.signed,
        form=split.form,
    )
    return lambda images: cut.trunk(_prepare(images, dtype)).float()


def _fused(split: Split, dtype: torch.dtype) -> Trunk:
    graph = _graph(split, dtype)
    if split.example.device.type == "cpu" and torch.backends.mkldnn.is_available():
        _fuse_convolutions(graph)
    return lambda images: split.as_map(graph(_prepare(images, dtype))[split.layer].float())


def _folded(split: Split, dtype: torch.dtype) -> Trunk:
    graph = _graph(split, dtype)
    return lambda images: split.as_map(graph(_prepare(images, dtype))[split.layer].float())


def _graph(split: Split, dtype: torch.dtype, layers: Sequence[str] = ()) -> fx.GraphModule:
    graph = fold_batch_norms(_truncated(_own(split.model), layers or [split.layer]))
    assert isinstance(graph, fx.GraphModule)
    return graph.to(dtype).to(memory_format=torch.channels_last)


def _own(model: nn.Module) -> nn.Module:
    model = copy.deepcopy(model).eval()
    return model.requires_grad_(False)


def _prepare(images: Tensor, dtype: torch.dtype) -> Tensor:
    return images.to(dtype=dtype, memory_format=torch.channels_last)


def _truncated(model: nn.Module, layers: Sequence[str]) -> fx.GraphModule:
    """The model's graph, up to the last of some layers; it gives the output of each by its name."""
    from torchvision.models.feature_extraction import create_feature_extractor

    extractor = create_feature_extractor(
        model, {layer: layer for layer in layers}, suppress_diff_warning=True
    )
    # torchvision keeps one graph for each mode, and the modules' own flags may be left in training mode
    return fx.GraphModule(extractor, extractor.graph).eval()


class _Convolution(nn.Module):
    """A convolution with what follows it in one pass over memory (oneDNN)."""

    def __init__(self, conv: nn.Conv2d, relu: bool, in_place: bool = False) -> None:
        super().__init__()
        self.conv, self.relu, self.in_place = conv, relu, in_place
        self.geometry = (conv.padding, conv.stride, conv.dilation, conv.groups)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        weight, bias = self.conv.weight, self.conv.bias
        after = "relu" if self.relu else "none"
        if other is None:
            one = torch.ops.mkldnn._convolution_pointwise
            return one(x, weight, bias, *self.geometry, after, [], "")  # type: ignore[no-any-return]
        name = "_convolution_pointwise_" if self.in_place else "_convolution_pointwise"
        two = getattr(torch.ops.mkldnn, name).binary
        args = (other, x) if self.in_place else (x, other)
        return two(*args, weight, bias, *self.geometry, "add", 1.0, "relu" if self.relu else None, [], "")  # type: ignore[no-any-return]


def _fuse_convolutions(graph: fx.GraphModule) -> None:
    """Replace convolution, convolution + ReLU and convolution + sum + ReLU by one call each."""
    modules: dict[str, nn.Module] = dict(graph.named_modules())
    for node in list(graph.graph.nodes):
        if _is_relu(node, modules):
            _fuse_relu(graph, modules, node)
    for node in list(graph.graph.nodes):
        if _is_conv(node, modules):
            _insert(graph, modules, node, node, relu=False, other=None)
    graph.graph.eliminate_dead_code()
    graph.recompile()


def _fuse_relu(graph: fx.GraphModule, modules: dict[str, nn.Module], relu: fx.Node) -> None:
    before = relu.args[0]
    if not isinstance(before, fx.Node) or len(before.users) != 1:
        return
    if _is_conv(before, modules):
        _insert(graph, modules, before, relu, relu=True, other=None)
        return
    if before.op == "call_function" and before.target in _SUMS and len(before.args) == 2:
        for conv, other in (before.args, before.args[::-1]):
            if _is_conv(conv, modules) and len(conv.users) == 1 and isinstance(other, fx.Node):  # type: ignore[union-attr]
                _insert(graph, modules, conv, relu, relu=True, other=other)  # type: ignore[arg-type]
                return


def _insert(
    graph: fx.GraphModule,
    modules: dict[str, nn.Module],
    conv: fx.Node,
    last: fx.Node,
    *,
    relu: bool,
    other: fx.Node | None,
) -> None:
    """One fused call in place of ``last``, which takes over the convolution ``conv``."""
    in_place = other is not None and _dies_at(other, last, modules)
    fused = _Convolution(modules[str(conv.target)], relu, in_place)  # type: ignore[arg-type]
    name = f"fused_{last.name}"
    graph.add_module(name, fused)
    modules[name] = fused
    args = (conv.args[0],) if other is None else (conv.args[0], other)
    with graph.graph.inserting_before(last):
        node = graph.graph.call_module(name, args)
    last.replace_all_uses_with(node)
    graph.graph.erase_node(last)
    graph.graph.eliminate_dead_code()


def _dies_at(node: fx.Node, last: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether a convolution's output is used last by the sum before ``last``, so may be overwritten."""
    made_here = node.op == "call_module" and isinstance(modules[str(node.target)], (_Convolution, nn.Conv2d))
    order = {n: i for i, n in enumerate(last.graph.nodes)}
    return made_here and all(order[user] <= order[last] for user in node.users)


def _is_relu(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    if node.op == "call_module":
        return type(modules[str(node.target)]) is nn.ReLU
    if node.op == "call_method":
        return node.target in ("relu", "relu_")
    return node.op == "call_function" and node.target in _RELU_CALLS


def _is_conv(node: Any, modules: dict[str, nn.Module]) -> bool:
    if not isinstance(node, fx.Node) or node.op != "call_module":
        return False
    conv = modules[str(node.target)]
    return type(conv) is nn.Conv2d and conv.padding_mode == "zeros" and not isinstance(conv.padding, str)
