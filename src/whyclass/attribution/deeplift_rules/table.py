"""The table of DeepLift's rules: every torch operation that has one, in each of its forms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from whyclass.attribution.deeplift_rules.averaging import Args, Named, Operation, Rule, Run, of_parameters
from whyclass.attribution.deeplift_rules.elementwise import ELEMENTWISE, elementwise_rule
from whyclass.attribution.deeplift_rules.max_pooling import max_pool_rules, max_rule
from whyclass.attribution.deeplift_rules.products import PRODUCTS, QUADRATIC, midpoint_rule
from whyclass.attribution.deeplift_rules.rewrites import REWRITES
from whyclass.attribution.deeplift_rules.softmax import SOFTMAX, softmax_rule
from whyclass.attribution.deeplift_rules.steps import STEPS, quotient
from whyclass.errors import AttributionError


def _linear(run: Run, func: Operation, args: Args, kwargs: Named) -> Any:
    return func(*args, **kwargs)


# The table


def _rewritten(rewrite: Operation, otherwise: Rule, inplace: bool) -> Rule:
    def rule(run: Run, func: Operation, args: Args, kwargs: Named) -> Any:
        with run:
            result = rewrite(*args, **kwargs)
        if result is NotImplemented:
            return otherwise(run, func, args, kwargs)
        return args[0].copy_(result) if inplace else result

    return rule


def _evaluating(run: Run, func: Operation, args: Args, kwargs: Named) -> Any:
    # Weights standardised by batch_norm, as in NFNets and BiT, are the same for baseline and image.
    if kwargs.get("training") and kwargs.get("p") != 0.0 and not of_parameters(args[0]):
        raise AttributionError(f"{func.__name__} is in training mode: call model.eval() before attributing")
    return func(*args, **kwargs)


def _forms(name: str) -> list[tuple[Operation, bool]]:
    """Every torch callable of that name, those not in place first, and whether it is in place."""
    spellings = [(name, False), (f"__{name}__", False), (f"{name}_", True), (f"__i{name}__", True)]
    homes = (torch, functional, Tensor, torch.special, torch.linalg)
    found = [(getattr(home, spelling, None), inplace) for spelling, inplace in spellings for home in homes]
    return [(form, inplace) for form, inplace in found if form is not None]


def _rows() -> Iterator[tuple[str, Callable[[Operation, bool], Rule]]]:
    """The name of each operation, and what makes the rule of a form from its plain form."""
    yield from ((name, partial(elementwise_rule, slope)) for name, slope in ELEMENTWISE.items())
    yield from ((name, partial(elementwise_rule, quotient)) for name in STEPS)
    yield from ((name, partial(midpoint_rule, 2)) for name in PRODUCTS)
    yield from ((name, partial(midpoint_rule, 1)) for name in QUADRATIC)
    yield from ((name, partial(softmax_rule, pull)) for name, pull in SOFTMAX.items())


def _table() -> dict[Operation, Rule]:
    table: dict[Operation, Rule] = {}
    for name, make in _rows():
        forms = _forms(name)
        table.update({form: make(forms[0][0], inplace) for form, inplace in forms})
    table.update(max_pool_rules())
    table.update(dict.fromkeys((torch.max, Tensor.max), max_rule))
    for name, rewrite in REWRITES.items():
        for form, inplace in _forms(name):
            table[form] = _rewritten(rewrite, table.get(form, _linear), inplace)
    for name in ("batch_norm", "dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout"):
        table[getattr(functional, name)] = _evaluating
    return table


RULES = _table()
"""Every torch callable that has a rule, in each of its forms."""

LINEAR = frozenset(
    (
        *("add", "sub", "subtract", "rsub", "neg", "negative", "positive", "sum", "mean", "cumsum", "diff"),
        *("batch_norm", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "lerp"),
        *("avg_pool1d", "avg_pool2d", "avg_pool3d", "interpolate", "upsample", "pad"),
        *("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "fold", "unfold"),
        *("cat", "concat", "concatenate", "stack", "hstack", "vstack", "dstack", "chunk", "split", "unbind"),
        *("tensor_split", "split_with_sizes", "view", "view_as", "reshape", "reshape_as", "flatten", "ravel"),
        *(
            "unflatten",
            "squeeze",
            "unsqueeze",
            "permute",
            "transpose",
            "t",
            "swapaxes",
            "swapdims",
            "movedim",
        ),
        *(
            "moveaxis",
            "adjoint",
            "expand",
            "expand_as",
            "broadcast_to",
            "repeat",
            "repeat_interleave",
            "tile",
        ),
        *("roll", "flip", "fliplr", "flipud", "rot90", "narrow", "select", "index_select", "gather", "take"),
        *("getitem", "setitem", "get", "iter", "diagonal", "diag", "diag_embed", "tril", "triu", "where"),
        *("masked_fill", "masked_select", "clone", "contiguous", "to", "type", "type_as", "float", "double"),
        *("half", "bfloat16", "cpu", "cuda", "copy", "fill", "zero", "detach", "alias", "dropout"),
        *("pixel_shuffle", "pixel_unshuffle", "channel_shuffle"),
        *(
            "real",
            "imag",
            "conj",
            "resolve_conj",
            "resolve_neg",
            "view_as_real",
            "view_as_complex",
            "complex",
        ),
        *(
            f"fft_{way}{kind}{dims}"
            for way in ("", "i")
            for kind in ("fft", "rfft", "hfft")
            for dims in ("", "2", "n")
        ),
        *("fft_fftshift", "fft_ifftshift"),
    )
)
"""Names of operations that are linear in the activations: their own gradient is exact."""
