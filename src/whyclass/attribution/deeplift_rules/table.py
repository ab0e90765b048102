"""The rules of DeepLift: every non-linear operation's Jacobian becomes an average between baseline and image.

Notation
--------
``x``, ``b``
    an operation's input for the images and for the baseline, ``b`` stretched to the shape of ``x``.
``y``, ``y_b``
    its output for ``x`` and for ``b``.
``J``
    the matrix used as its Jacobian; a rule is *complete* when ``J (x - b) = y - y_b`` exactly.
``g``
    the gradient that arrives at the output; ``pull(g)`` is ``J^T g``.

Complete rules telescope: the attributions of a whole network sum to ``f(x) - f(b)``. Four carry all others:

slope
    An elementwise function has ``J = diag((y - y_b) / (x - b))``, the rescale rule of Shrikumar et al. 2017
    (https://arxiv.org/abs/1704.02685), which is its mean derivative along the straight line.
midpoint
    An operation of degree two in its inputs, such as a product of activations, has an affine Jacobian, whose
    mean along the line is the Jacobian at ``(x + b) / 2``.
softmax
    ``J = diag(L) - L L^T / sum(L)`` with ``L`` the logarithmic mean of ``y`` and ``y_b``. For with ``s`` the
    log of the sum, ``log y = x - s`` and so ``y - y_b = L (dx - ds)``; as both sum to one,
    ``ds = sum(L dx) / sum(L)``. It is blind to a constant added to ``x``, it is the Jacobian itself at
    ``x = b``, and nothing in it overflows.
largest
    A maximum over a window gives its whole change to one place; see ``_largest``.

``rewrites`` expresses further operations through these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from whyclass.attribution.deeplift_rules.rewrites import REWRITES
from whyclass.errors import AttributionError

Pull = Callable[[Tensor], tuple[Tensor, ...]]
Operation = Callable[..., Any]
Args = tuple[Any, ...]
Named = dict[str, Any]


class Run(Protocol):
    """The run of a head, on images or on the baseline, as a rule sees it."""

    unruled: set[str]

    def baseline(self, name: str, *xs: Tensor) -> list[Tensor] | None:
        """What the baseline's run had where this one has ``xs``; None in the baseline's own run."""

    def stretch(self, b: Tensor, x: Tensor) -> Tensor:
        """The baseline's tensor in the shape of the images' tensor."""

    def __enter__(self) -> object:
        """Follow the rules again, within a rule."""

    def __exit__(self, *_: Any) -> None:
        """Stop following them."""


Rule = Callable[[Run, Operation, Args, Named], Any]
"""What happens instead of ``func(*args, **kwargs)`` when an argument depends on the activations."""


class _Averaged(torch.autograd.Function):
    """An operation with its own value, and ``pull`` for a gradient."""

    @staticmethod
    def forward(ctx: Any, value: Callable[[], Tensor], pull: Pull, inplace: bool, *xs: Tensor) -> Tensor:
        ctx.pull = pull
        y = value()
        if inplace:
            ctx.mark_dirty(xs[0])
            return xs[0]
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        pull, ctx.pull = ctx.pull, None  # lets go of what the rule saved
        return None, None, None, *pull(g)


def _averaged(value: Callable[[], Tensor], pull: Pull, *xs: Tensor, inplace: bool = False) -> Tensor:
    result: Tensor = _Averaged.apply(value, pull, inplace, *xs)  # type: ignore[no-untyped-call]
    return result


def depends(t: Tensor) -> bool:
    """Whether a tensor was computed from the activations (or from parameters, which does no harm)."""
    # Parameters require gradients too, but are leaves; the head's input is made not to be one.
    return t.requires_grad and not t.is_leaf


def _of_parameters(t: Tensor) -> bool:
    """Whether a tensor was computed from parameters alone, by the graph that leads to it."""
    nodes, seen = [t.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None and not isinstance(leaf, torch.nn.Parameter):
            return False
        nodes += [before for before, _ in node.next_functions]
    return True


def tensors(tree: Any) -> Iterator[Tensor]:
    """The tensors among arguments or results, in order."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, (tuple, list)):
        for branch in tree:
            yield from tensors(branch)
    elif isinstance(tree, dict):
        yield from tensors(list(tree.values()))


def _substituted(tree: Any, new: Iterator[Tensor]) -> Any:
    """The same arguments with the tensors that depend on the activations replaced in order."""
    if isinstance(tree, Tensor):
        return next(new) if depends(tree) else tree
    if isinstance(tree, (tuple, list)):
        return type(tree)(_substituted(branch, new) for branch in tree)
    if isinstance(tree, dict):
        return {key: _substituted(branch, new) for key, branch in tree.items()}
    return tree


def without_rule(run: Run, func: Operation, args: Args, kwargs: Named) -> Any:
    """The plain operation with its plain gradient; its name is kept, as a suspect."""
    result = func(*args, **kwargs)
    if any(map(depends, tensors(result))):
        run.unruled.add(getattr(func, "__name__", str(func)).strip("_"))
    return result


def _linear(run: Run, func: Operation, args: Args, kwargs: Named) -> Any:
    return func(*args, **kwargs)


# Slope


class Ends(NamedTuple):
    """Both ends of the line, and the function with its settings, never in place."""

    f: Callable[[Tensor], Tensor]
    x: Tensor
    b: Tensor
    y_b: Tensor


Slope = Callable[..., Tensor]
"""(ends, the operation's settings) -> slope in the shape of ``x``."""


def _share(x: Tensor, b: Tensor, kink: Any = 0.0) -> Tensor:
    """The share of the way from b to x that lies above the kink; at x = b, whether x does."""
    if isinstance(kink, Tensor) or kink != 0.0:
        x, b = x - kink, b - kink
    way = torch.sub(x, b).abs_()
    # Both above: at least 1. Both below: at most 0. Equal: infinite, and 0 / 0 on the kink itself.
    return torch.maximum(x, b).div_(way).clamp_(0.0, 1.0).nan_to_num_(nan=0.0)


_Kinks = tuple[Any, list[tuple[Any, Any]]]


def _kinked(kinks: Callable[..., _Kinks]) -> Slope:
    """Slope of a piecewise linear function, from its slope at minus infinity and (where, change of slope)."""

    def slope(ends: Ends, *settings: Any, **named: Any) -> Tensor:
        start, changes = kinks(*settings, **named)
        first, *rest = (_share(ends.x, ends.b, kink).mul_(change) for kink, change in changes)
        for other in rest:
            first += other
        return first.add_(start)

    return slope


def _relu(ends: Ends) -> Tensor:
    return _share(ends.x, ends.b)


def _prelu(ends: Ends, weight: Tensor) -> Tensor:
    weight = weight if weight.numel() == 1 else weight.view(-1, *[1] * (ends.x.ndim - 2))
    return _share(ends.x, ends.b).mul_(1 - weight).add_(weight)


def _leaky(negative_slope: float = 0.01) -> _Kinks:
    return negative_slope, [(0.0, 1.0 - negative_slope)]


def _rrelu(lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False) -> _Kinks:
    return _leaky((lower + upper) / 2)


def _clamp(min: Any = None, max: Any = None) -> _Kinks:
    bounds = [(min, 1.0), (max, -1.0)]
    return (1.0 if min is None else 0.0), [bound for bound in bounds if bound[0] is not None]


NEAR = 1e-2
"""Inputs closer than this to each other, compared to the scale on which the function varies, count as equal:
the difference of two rounded outputs says less about the slope there than the derivative halfway."""


def _chord(scale: float) -> Slope:
    """Slope of a smooth function that varies on the scale of its input, but at most of ``scale``."""

    def slope(ends: Ends, *_: Any, **__: Any) -> Tensor:
        f, x, b, y_b = ends
        if x.dtype in (torch.float16, torch.bfloat16):
            x, b = x.float(), b.float()
            y_b = f(b)
        way = x - b
        near = way.abs() <= NEAR * torch.maximum(x.abs(), b.abs()).clamp_(max=scale)
        slope = (f(x) - y_b).div_(way)
        if bool(near.any()):
            slope[near] = _derivative(f, torch.lerp(x, b, 0.5)[near])
        return slope

    return slope


def _derivative(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    with torch.enable_grad():
        x = x.requires_grad_()
        return torch.autograd.grad(f(x).sum(), x)[0]


def _sqrt(ends: Ends) -> Tensor:
    # 1 / (sqrt x + sqrt b) also holds at zero, where the norms of padding are.
    return (ends.f(ends.x) + ends.y_b).clamp_min_(torch.finfo(ends.x.dtype).tiny).reciprocal_()


_smooth = _chord(1.0)
_power = _chord(float("inf"))

ELEMENTWISE: dict[str, Slope] = {
    "relu": _relu,
    "relu6": _kinked(lambda: _clamp(0.0, 6.0)),
    "leaky_relu": _kinked(_leaky),
    "prelu": _prelu,
    "rrelu": _kinked(_rrelu),
    "hardtanh": _kinked(lambda min_val=-1.0, max_val=1.0: _clamp(min_val, max_val)),
    "hardsigmoid": _kinked(lambda: (0.0, [(-3.0, 1 / 6), (3.0, -1 / 6)])),
    "softshrink": _kinked(lambda lambd=0.5: (1.0, [(-lambd, -1.0), (lambd, 1.0)])),
    "clamp": _kinked(_clamp),
    "clip": _kinked(_clamp),
    "clamp_min": _kinked(_clamp),
    "clamp_max": _kinked(lambda max: _clamp(None, max)),
    "abs": _kinked(lambda: (-1.0, [(0.0, 2.0)])),
    "elu": _smooth,
    "selu": _smooth,
    "celu": _smooth,
    "gelu": _smooth,
    "silu": _smooth,
    "mish": _smooth,
    "hardswish": _smooth,
    "softplus": _smooth,
    "sigmoid": _smooth,
    "expit": _smooth,
    "logsigmoid": _smooth,
    "tanh": _smooth,
    "erf": _smooth,
    "sin": _smooth,
    "cos": _smooth,
    "atan": _smooth,
    "exp": _smooth,
    "expm1": _smooth,
    "log1p": _smooth,
    "log": _power,
    "rsqrt": _power,
    "reciprocal": _power,
    "square": _power,
    "pow": _power,
    "sqrt": _sqrt,
}
"""Elementwise functions by torch's name. Softsign, tanhshrink and others that torch writes in Python in terms
of these need no row."""


def _elementwise(slope: Slope, plain: Operation, inplace: bool) -> Rule:
    def rule(run: Run, func: Operation, args: Args, kwargs: Named) -> Any:
        x, *settings = args
        named = {key: value for key, value in kwargs.items() if key != "inplace"}
        if any(map(depends, tensors((settings, named)))):
            return without_rule(run, func, args, kwargs)

        def f(z: Tensor) -> Tensor:
            result: Tensor = plain(z, *settings, **named)
            return result

        recalled = run.baseline(plain.__name__, x)
        if recalled is None:
            return func(*args, **kwargs)
        (b,) = recalled
        with torch.no_grad():
            ends = Ends(f, x.detach(), run.stretch(b, x), run.stretch(f(b), x))
            s = _in_blocks(partial(_applied, slope, settings, named), ends)
        value = partial(func, *args, **kwargs)
        return _averaged(value, lambda g: (s.mul_(g),), x, inplace=inplace or kwargs.get("inplace", False))

    return rule


def _applied(slope: Slope, settings: list[Any], named: Named, ends: Ends) -> Tensor:
    return slope(ends, *settings, **named)


BLOCK = 2**17
"""Elements that the cache of a processor's core holds several times over."""


def _in_blocks(slope: Callable[[Ends], Tensor], ends: Ends) -> Tensor:
    """The slope, on a CPU a few rows at a time, so that its many passes stay in the cache."""
    f, x, *others = ends
    rows = max(1, BLOCK * len(x) // max(1, x.numel())) if x.ndim else 1
    if x.device.type != "cpu" or x.ndim < 2 or rows >= len(x):
        return slope(ends).to(x.dtype)
    s = torch.empty_like(x)
    for part, *parts in zip(s.split(rows), *(t.split(rows) for t in (x, *others)), strict=True):
        part.copy_(slope(Ends(f, *parts)))
    return s


# Midpoint


PRODUCTS = (
    *("mul", "multiply", "addcmul", "einsum", "tensordot", "inner", "outer", "dot", "bilinear", "linear"),
    *("matmul", "bmm", "mm", "mv", "baddbmm", "addbmm", "addmm", "addmv", "conv1d", "conv2d", "conv3d"),
)
"""Operations of degree two, and linear where only one factor depends on the activations."""

QUADRATIC = ("var",)
"""Operations of degree two in a single input."""


def _midpoint(factors: int, plain: Operation, inplace: bool) -> Rule:
    def rule(run: Run, func: Operation, args: Args, kwargs: Named) -> Any:
        xs = [t for t in tensors((args, kwargs)) if depends(t)]
        if len(xs) < factors:
            return func(*args, **kwargs)
        bs = run.baseline(plain.__name__, *xs)
        if bs is None:
            return func(*args, **kwargs)

        def f(*zs: Tensor) -> Tensor:
            new = iter(zs)
            result: Tensor = plain(*_substituted(args, new), **_substituted(kwargs, new))
            return result

        with torch.no_grad():
            halfway = [(x + run.stretch(b, x)).mul_(0.5) for x, b in zip(xs, bs, strict=True)]
        result = _averaged(partial(plain, *args, **kwargs), partial(_pull_at, f, halfway), *xs)
        return args[0].copy_(result) if inplace else result

    return rule


def _pull_at(f: Operation, points: list[Tensor], g: Tensor) -> tuple[Tensor, ...]:
    with torch.enable_grad():
        points = [z.requires_grad_() for z in points]
        y = f(*points)
        return torch.autograd.grad(y, points, g.to(y.dtype))


# Softmax


def _pull_softmax(L: Tensor, dim: int, g: Tensor) -> tuple[Tensor]:
    gL = g * L
    return (gL - L * (gL.sum(dim, keepdim=True) / L.sum(dim, keepdim=True)),)


def _pull_log_softmax(L: Tensor, dim: int, g: Tensor) -> tuple[Tensor]:
    return (g - L * (g.sum(dim, keepdim=True) / L.sum(dim, keepdim=True)),)


PullSoftmax = Callable[[Tensor, int, Tensor], tuple[Tensor]]
SOFTMAX: dict[str, PullSoftmax] = {"softmax": _pull_softmax, "log_softmax": _pull_log_softmax}


def _logarithmic_mean(log_p: Tensor, log_q: Tensor) -> Tensor:
    """``(p - q) / (log p - log q)``, and p where they are equal."""
    ratio = (log_p - log_q).abs_()
    # max(p, q) (1 - e^-ratio) / ratio cannot overflow; nan: equal, or both log 0 under a mask.
    return torch.expm1(-ratio).div_(-ratio).nan_to_num_(nan=1.0).mul_(torch.maximum(log_p, log_q).exp_())


def _softmax(pull: PullSoftmax, plain: Operation, inplace: bool) -> Rule:
    def rule(run: Run, func: Operation, args: Args, kwargs: Named) -> Any:
        x = args[0]
        recalled = run.baseline(plain.__name__, x)
        if recalled is None:
            return func(*args, **kwargs)
        dim = _softmax_dim(*args, **kwargs)
        wide = torch.promote_types(x.dtype, torch.float32)
        with torch.no_grad():
            log_y, log_y_b = (torch.log_softmax(t, dim, dtype=wide) for t in (x, recalled[0]))
            L = _logarithmic_mean(log_y, run.stretch(log_y_b, log_y))
        value = partial(func, *args, **kwargs)
        return _averaged(value, lambda g: (pull(L, dim, g)[0].to(x.dtype),), x)

    return rule


def _softmax_dim(x: Tensor, dim: int | None = None, *_: Any, **__: Any) -> int:
    return (0 if x.ndim in (0, 1, 3) else 1) if dim is None else dim


# Largest


Select = Callable[[Tensor], tuple[Tensor, Tensor]]


def _largest(run: Run, name: str, x: Tensor, select: Select, axes: int) -> tuple[Tensor, Tensor]:
    """The largest of each window, chosen by ``select`` as (values, places on the last ``axes`` flattened).

    All of ``y - y_b`` goes to one place, the winner of the image or of the baseline, whichever is larger.
    The value there changed by at least as much and in the same direction, so its share
    ``(y - y_b) / (x - b)`` lies in [0, 1], and no window is without one. Where windows overlap the shares
    add up. Captum treats a window alike, but of overlapping ones it keeps one and is incomplete.
    """
    recalled = run.baseline(name, x)
    if recalled is None:
        return select(x)
    with torch.no_grad():
        y, at_x = select(x.detach())
        y_b, at_b = (run.stretch(t, y) for t in select(recalled[0]))
        place = torch.where(y >= y_b, at_x, at_b).flatten(-axes)
        b = run.stretch(recalled[0], x).flatten(-axes)
        way = x.detach().flatten(-axes).gather(-1, place).sub_(b.gather(-1, place))
        share = (y - y_b).flatten(-axes).div_(way).nan_to_num_(nan=1.0)

    def pull(g: Tensor) -> tuple[Tensor]:
        flat = g.new_zeros(b.shape).scatter_add_(-1, place, g.flatten(-axes) * share)
        return (torch.empty_like(x).copy_(flat.view(x.shape)),)  # in the layout of x

    return _averaged(lambda: y, pull, x), at_x


def _max_pool(pool: Operation, axes: int, indices: bool) -> Rule:
    def rule(run: Run, func: Operation, args: Args, kwargs: Named) -> Any:
        settings = {**kwargs, "return_indices": True}
        pair = _largest(run, pool.__name__, args[0], lambda z: pool(z, *args[1:], **settings), axes)
        return pair if indices or kwargs.get("return_indices") else pair[0]

    return rule


def _max(run: Run, func: Operation, args: Args, kwargs: Named) -> Any:
    x, *settings = args
    dim, keepdim = (*settings, *kwargs.values(), False, False)[:2] if settings or kwargs else (None, False)
    if dim is None:  # over the batch as well
        return without_rule(run, func, args, kwargs)

    def select(z: Tensor) -> tuple[Tensor, Tensor]:
        y, place = z.max(-1, keepdim=True)
        return y, place

    pair = _largest(run, "max", x.movedim(dim, -1), select, 1)
    values, places = (t.movedim(-1, dim) if keepdim else t.squeeze(-1) for t in pair)
    return torch.return_types.max((values, places))


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
    if kwargs.get("training") and kwargs.get("p") != 0.0 and not _of_parameters(args[0]):
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
    yield from ((name, partial(_elementwise, slope)) for name, slope in ELEMENTWISE.items())
    yield from ((name, partial(_midpoint, 2)) for name in PRODUCTS)
    yield from ((name, partial(_midpoint, 1)) for name in QUADRATIC)
    yield from ((name, partial(_softmax, pull)) for name, pull in SOFTMAX.items())


def _max_pools() -> Iterator[tuple[Operation, Rule]]:
    for axes in (1, 2, 3):
        for kind in ("max_pool", "adaptive_max_pool"):
            pool = getattr(functional, f"{kind}{axes}d")
            yield pool, _max_pool(pool, axes, indices=False)
            yield getattr(functional, f"{kind}{axes}d_with_indices"), _max_pool(pool, axes, indices=True)
        pool = getattr(functional, f"max_pool{axes}d")
        yield getattr(torch, f"max_pool{axes}d"), _max_pool(pool, axes, indices=False)


def _table() -> dict[Operation, Rule]:
    table: dict[Operation, Rule] = {}
    for name, make in _rows():
        forms = _forms(name)
        table.update({form: make(forms[0][0], inplace) for form, inplace in forms})
    table.update(_max_pools())
    table.update(dict.fromkeys((torch.max, Tensor.max), _max))
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
    )
)
"""Names of operations that are linear in the activations: their own gradient is exact."""
