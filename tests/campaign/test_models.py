"""A zoo of awkward modules: each is explained completely, or refused in one line that names the way out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as nnf
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm
from torch.utils.checkpoint import checkpoint

from whyclass import Preprocessing, Settings, Study
from whyclass.attribution.smoothgrad import Question, prepare, smoothgrad
from whyclass.errors import AttributionError, LayerError, ModelError, WhyclassError
from whyclass.models.described import described
from whyclass.models.outputs import link_of
from whyclass.models.setup import example_of, opened
from whyclass.models.split import split
from whyclass.models.tasks import logit

SIDE = 32
TOLERANCE = 1e-4
PREPROCESSING = Preprocessing(None, (SIDE, SIDE), (0.5,) * 3, (0.25,) * 3)


class Net(nn.Module):
    """Two convolutions and a classifier; everything else in this file is this, made awkward."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())
        self.b = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU())
        self.fc = nn.Linear(16, classes)

    def head(self, h: Tensor) -> Tensor:
        return self.fc(self.b(h).mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.a(x))


# ---------------------------------------------------------------- what keeps values on itself


class KeepsShape(Net):
    def forward(self, x: Tensor) -> Tensor:
        self.hw = tuple(x.shape)
        return super().forward(x)


class KeepsFeatures(Net):
    def forward(self, x: Tensor) -> Tensor:
        self._keep(x)
        return super().forward(x)

    def _keep(self, x: Tensor) -> None:
        self.features = x.relu().detach()


class Counts(Net):
    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x)


class CountsInBuffer(Net):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls.add_(1)
        return super().forward(x)


class SetsByName(Net):
    def forward(self, x: Tensor) -> Tensor:
        setattr(self, "last" + "_mean", float(x.mean()))
        return super().forward(x)


class Lists(Net):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x[:1, :1, 0, 0])
        return super().forward(x)


def normed(norm: Callable[..., Any]) -> Callable[[], nn.Module]:
    """The net with a convolution whose weight comes from others before each call."""

    def make() -> nn.Module:
        net = Net()
        norm(net.b[0])
        return net

    return make


# ---------------------------------------------------------------- what cuts gradients, or saves memory


class Around(Net):
    """The layer and what follows, in some context."""

    def __init__(self, context: Callable[[], Any]) -> None:
        super().__init__()
        self.context = context

    def forward(self, x: Tensor) -> Tensor:
        with self.context():
            h = self.b(self.a(x))
        return self.fc(h.mean((2, 3)))


class Decorated(Net):
    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


class Detaches(Net):
    def head(self, h: Tensor) -> Tensor:
        return self.fc(self.b(h).detach().mean((2, 3)))


class TakesData(Net):
    def head(self, h: Tensor) -> Tensor:
        return self.fc(self.b(h).data.mean((2, 3)))


class Checkpoints(Net):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.b = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU())
        self.reentrant = reentrant

    def head(self, h: Tensor) -> Tensor:
        return self.fc(checkpoint(self.b, h, use_reentrant=self.reentrant).mean((2, 3)))


class Autocasts(Net):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return super().forward(x).float()


class Halved(nn.Module):
    """A wrapper around a net of half precision."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.net, self.dtype = Net().to(dtype), dtype

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.to(self.dtype)).float()


class AsksForHalf(Halved):
    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.half()).float()


# ---------------------------------------------------------------- odd arithmetic


class Heads(Net):
    """The net with another function behind its second convolution."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def head(self, h: Tensor) -> Tensor:
        return self.fc(self.function(self.b(h)).mean((2, 3)))


def straight_through(h: Tensor) -> Tensor:
    """Rounded, with the gradient of what was not."""
    return h + ((h * 8).round() / 8 - h).detach()


def spectrum(h: Tensor) -> Tensor:
    return torch.fft.rfft2(h).abs()


def filtered(h: Tensor) -> Tensor:
    """A filter in frequency space, as of global filter networks."""
    low = torch.ones(h.shape[-2], h.shape[-1] // 2 + 1)
    low[:, 2:] = 0
    return torch.fft.irfft2(torch.fft.rfft2(h) * low, s=h.shape[-2:]).relu()


class Standardises(Net):
    """An image's own statistics, by a batch norm of groups."""

    def head(self, h: Tensor) -> Tensor:
        return self.fc(nnf.instance_norm(self.b(h)).relu().mean((2, 3)))


class Ends(Net):
    """The net with another end."""

    def __init__(self, end: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.end = end

    def forward(self, x: Tensor) -> Tensor:
        return self.end(super().forward(x) * 20)


class Segments(Net):
    def __init__(self, end: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.last, self.end = nn.Conv2d(16, 4, 1), end

    def forward(self, x: Tensor) -> Tensor:
        logits = nnf.interpolate(self.last(self.b(self.a(x))), scale_factor=4, mode="bilinear")
        return self.end(logits * 20)


# ---------------------------------------------------------------- tokens


class Tokens(nn.Module):
    """Patches as tokens, some others among them, in any order; patches do not mix before the end."""

    def __init__(self, at: int = 0, others: int = 1, order: str = "rows", last: bool = False) -> None:
        super().__init__()
        self.at, self.last = at, last
        self.patch, self.more = nn.Conv2d(3, 16, 4, 4), nn.Parameter(torch.randn(1, others, 16))
        generator = torch.Generator().manual_seed(3)
        orders = {"rows": torch.arange(64), "columns": torch.arange(64).view(8, 8).T.flatten()}
        self.order = orders.get(order, torch.randperm(64, generator=generator))
        self.block, self.fc = nn.ReLU(), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        t = self.patch(x).flatten(2).transpose(1, 2)[:, self.order]
        t = torch.cat([t[:, : self.at], self.more.expand(len(t), -1, -1), t[:, self.at :]], 1)
        t = self.block(t.transpose(1, 2)).transpose(1, 2) if self.last else self.block(t)
        return self.fc((t * torch.linspace(0.5, 1.5, t.shape[1])[:, None]).mean(1))


class Attends(Tokens):
    """The same with attention, so that every token sees every patch."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        layer = nn.TransformerEncoderLayer(16, 2, 32, 0.0, nnf.gelu, batch_first=True, norm_first=True)
        self.block = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


# ---------------------------------------------------------------- the zoo


@dataclass(frozen=True)
class Case:
    """How to make a module, where to cut it, and what must come: nothing but completeness, or an error."""

    make: Callable[[], nn.Module]
    layer: str = "a"
    error: type[WhyclassError] | None = None
    says: str = ""


def compiled() -> nn.Module:
    return torch.compile(Net().eval(), backend="eager")  # type: ignore[return-value]


def compiled_inside() -> nn.Module:
    net = Net()
    net.b = torch.compile(net.b, backend="eager")
    return net


def scripted_part() -> nn.Module:
    net = Net()
    net.b = torch.jit.script(net.b)
    return net


def exported() -> nn.Module:
    return torch.export.export(Net().eval(), (torch.randn(2, 3, SIDE, SIDE),)).module()


def quantised() -> nn.Module:
    net = Net()
    net.fc = torch.ao.nn.quantized.Linear(16, 4)
    return net


def with_norm(norm: nn.Module) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        net = Net()
        net.b = nn.Sequential(net.b, norm)
        return net

    return make


def lazy() -> nn.Module:
    net = Net()
    net.fc = nn.LazyLinear(4)
    return net


def called_lazy() -> nn.Module:
    net = lazy()
    net(torch.zeros(1, 3, SIDE, SIDE))
    return net


def flips(x: Tensor) -> Tensor:
    return x.flip(-1) if torch.rand(()) < 0.5 else x


class Augments(Net):
    """Augmentation inside the model, whatever its mode."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + 0.1 * torch.randn_like(x))


class Drops(Net):
    def head(self, h: Tensor) -> Tensor:
        return self.fc(nnf.dropout(self.b(h).mean((2, 3)), 0.5, training=True))


EXPLAINED: dict[str, Case] = {
    "plain": Case(Net),
    "keeps its input's shape": Case(KeepsShape),
    "keeps features": Case(KeepsFeatures),
    "counts calls": Case(Counts),
    "counts calls in a buffer": Case(CountsInBuffer),
    "sets attributes by name": Case(SetsByName),
    "keeps a list": Case(Lists),
    "spectral norm": Case(normed(spectral_norm)),
    "spectral norm, parametrised": Case(normed(parametrizations.spectral_norm)),
    "weight norm": Case(normed(weight_norm)),
    "weight norm, parametrised": Case(normed(parametrizations.weight_norm)),
    "pruned": Case(normed(lambda conv: prune.l1_unstructured(conv, "weight", 0.5))),
    "backbone under no_grad": Case(lambda: Around(torch.no_grad)),
    "backbone under set_grad_enabled": Case(lambda: Around(lambda: torch.set_grad_enabled(False))),
    "backbone under inference_mode": Case(lambda: Around(torch.inference_mode)),
    "backbone under no_grad, a later layer": Case(lambda: Around(torch.no_grad), "b"),
    "nothing around": Case(lambda: Around(nullcontext)),
    "forward under no_grad": Case(Decorated),
    "detached": Case(Detaches),
    "data taken": Case(TakesData),
    "checkpoint": Case(lambda: Checkpoints(False)),
    "checkpoint, reentrant": Case(lambda: Checkpoints(True)),
    "compiled": Case(compiled, "_orig_mod.a"),
    "compiled inside": Case(compiled_inside),
    "autocast": Case(Autocasts),
    "bfloat16": Case(lambda: Net().bfloat16()),
    "float16": Case(lambda: Net().half()),
    "around bfloat16": Case(lambda: Halved(torch.bfloat16), "net.a"),
    "around float16": Case(lambda: Halved(torch.float16), "net.a"),
    "asks for half": Case(lambda: AsksForHalf(torch.float16), "net.a"),
    "lazy, called": Case(called_lazy),
    "spectrum": Case(lambda: Heads(spectrum)),
    "filtered spectrum": Case(lambda: Heads(filtered)),
    "rounds": Case(lambda: Heads(lambda h: (h * 8).round() / 8)),
    "straight through": Case(lambda: Heads(straight_through)),
    "sign": Case(lambda: Heads(lambda h: (h - 0.2).sign() + h)),
    "fake quantised": Case(
        lambda: Heads(lambda h: torch.fake_quantize_per_tensor_affine(h, 0.05, 0, 0, 255))
    ),
    "instance norm": Case(Standardises),
    "group norm": Case(with_norm(nn.GroupNorm(4, 16))),
    "softmax at the end": Case(lambda: Ends(lambda y: y.softmax(1))),
    "sigmoid at the end": Case(lambda: Ends(torch.sigmoid)),
    "log softmax at the end": Case(lambda: Ends(lambda y: y.log_softmax(1))),
    "segments, softmax": Case(lambda: Segments(lambda y: y.softmax(1))),
    "segments, sigmoid": Case(lambda: Segments(torch.sigmoid)),
    "class token in front": Case(Tokens, "block"),
    "class token in the middle": Case(lambda: Tokens(32), "block"),
    "class token at the end": Case(lambda: Tokens(64), "block"),
    "registers at the end": Case(lambda: Tokens(64, 5), "block"),
    "sixty-one others": Case(lambda: Tokens(64, 61), "block"),
    "sixty-one others in front": Case(lambda: Tokens(0, 61), "block"),
    "columns first": Case(lambda: Tokens(0, 1, "columns"), "block"),
    "any order": Case(lambda: Tokens(20, 2, "any"), "block"),
    "channels before tokens": Case(lambda: Tokens(0, 0, "rows", last=True), "block"),
    "channels before tokens, any order": Case(lambda: Tokens(64, 1, "any", last=True), "block"),
    "attention, class token in the middle": Case(lambda: Attends(32), "block"),
    "attention, class token at the end": Case(lambda: Attends(64), "block"),
}

REFUSED: dict[str, Case] = {
    "scripted": Case(
        lambda: torch.jit.script(Net().eval()), "a", ModelError, "give the module that it was made"
    ),
    "traced": Case(
        lambda: torch.jit.trace(Net().eval(), torch.zeros(1, 3, SIDE, SIDE)),
        "a",
        ModelError,
        "give the module",
    ),
    "a part scripted": Case(scripted_part, "a", ModelError, "part 'b' is scripted"),
    "exported": Case(exported, "a", ModelError, "give the module that it was made from"),
    "quantised": Case(quantised, "a", ModelError, "give the model of floating point"),
    "lazy": Case(lazy, "a", ModelError, "load its trained weights first"),
    "on meta": Case(lambda: Net().to("meta"), "a", ModelError, "load its weights first"),
    "batch norm without statistics": Case(
        with_norm(nn.BatchNorm2d(16, track_running_stats=False)), "a", ModelError, "track_running_stats=True"
    ),
    "mean over the batch": Case(
        lambda: Heads(lambda h: h - h.mean(0, keepdim=True)),
        "a",
        ModelError,
        "depends on the others beside it",
    ),
    "augments": Case(Augments, "a", LayerError, "augmentation outside the model"),
    "drops out always": Case(Drops, "a", LayerError, "training=self.training"),
    "compares only": Case(
        lambda: Heads(lambda h: (h > 0.2).float()), "a", AttributionError, "past gt; choose a later layer"
    ),
    "leaves torch": Case(
        lambda: Heads(lambda h: torch.from_numpy(np.tanh(h.detach().numpy()))),
        "a",
        AttributionError,
        "later layer",
    ),
}


def made(case: Case) -> nn.Module:
    torch.manual_seed(0)
    model = case.make()
    return model if isinstance(model, torch.fx.GraphModule) else model.eval()


def attributed(case: Case) -> float:
    """The worst completeness error of a case's module, opened as a study opens it."""
    loaded = opened(described("zoo", made(case)), None, None, PREPROCESSING, "auto")
    example = example_of(loaded)
    cut = split(loaded.model, case.layer, example)
    cut = replace(cut, link=link_of(loaded.model, example))
    image = torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(5))
    baseline = prepare(cut, PREPROCESSING.constant("ones"), logit(1))
    found = smoothgrad(
        cut, cut.trunk, [(image, "x")], Question(1, baseline), Settings(copies=4, precision="float32")
    )
    assert found.signed.any()
    return float(found.errors.max())


@pytest.mark.filterwarnings("ignore")  # torch's own, of what is deprecated or not recommended
@pytest.mark.parametrize("name", EXPLAINED)
def test_a_module_is_explained_completely(name: str) -> None:
    assert attributed(EXPLAINED[name]) <= TOLERANCE


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REFUSED)
def test_a_module_is_refused_in_one_line_that_names_the_way_out(name: str) -> None:
    case = REFUSED[name]
    assert case.error is not None
    with pytest.raises(case.error, match=case.says) as refused:
        attributed(case)
    assert len(str(refused.value).splitlines()) == 1


def test_the_zoo_is_large() -> None:
    assert len(EXPLAINED) + len(REFUSED) >= 40


# ---------------------------------------------------------------- what is told


def pool(n: int = 6) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [
        Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((SIDE, SIDE))
        for _ in range(n)
    ]


def study(model: nn.Module, layer: str = "a") -> Study:
    settings = Settings(images=3, copies=2, starts=1, precision="float32")
    return Study(model.eval(), layer, pool(), settings=settings, preprocessing=PREPROCESSING, device="cpu")


def common(one: Study) -> int:
    """The class that most images are predicted as."""
    return int(np.bincount(one.index().predicted).argmax())


@pytest.mark.parametrize(
    "name", ["keeps features", "counts calls in a buffer", "sets attributes by name", "pruned"]
)
def test_a_model_that_writes_on_itself_is_asked_twice(name: str) -> None:
    one = study(made(EXPLAINED[name]))
    first = one.explain(common(one))
    assert one.explain(common(one)) == first


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpoint_changes_no_attribution(reentrant: bool) -> None:
    torch.manual_seed(0)
    model = Checkpoints(reentrant).eval()

    class Plain(Checkpoints):
        def head(self, h: Tensor) -> Tensor:
            return self.fc(self.b(h).mean((2, 3)))

    plain = Plain(reentrant).eval()
    plain.load_state_dict(model.state_dict())
    image = torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(5))
    signed = []
    for one in (model, plain):
        cut = split(one, "a", image[None])
        baseline = prepare(cut, PREPROCESSING.constant("ones"), logit(1))
        found = smoothgrad(cut, cut.trunk, [(image, "x")], Question(1, baseline), Settings(copies=2))
        signed.append(found.signed)
    assert np.array_equal(*signed)


def test_torchs_own_are_given_back() -> None:
    homes: list[tuple[Any, str]] = [
        (torch.utils.checkpoint, "CheckpointFunction"),
        (torch.inference_mode, "__enter__"),
        (torch.autocast, "__enter__"),
    ]
    before = [getattr(home, name) for home, name in homes]
    with pytest.raises(ModelError, match="the model failed"):
        split(Heads(lambda h: h.view(7)).eval(), "a", torch.zeros(1, 3, SIDE, SIDE))
    assert [getattr(home, name) for home, name in homes] == before
    assert not torch.is_autocast_enabled("cpu")
    with torch.inference_mode():
        assert torch.is_inference_mode_enabled()


def test_a_weight_that_changes_is_still_noticed() -> None:
    model = KeepsFeatures()
    one = study(model)
    with torch.no_grad():
        model.fc.weight += 1
    with pytest.raises(ModelError, match="the model changed"):
        one.explain(0)


@pytest.mark.parametrize("end", [lambda y: y.softmax(1), torch.sigmoid], ids=["softmax", "sigmoid"])
def test_the_score_told_of_probabilities_is_the_models_own(end: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    model = Ends(end)
    one = study(model)
    target = common(one)
    found = one.explain(target)
    images = torch.stack([PREPROCESSING.tensor(PREPROCESSING.pixels(picture)) for picture in pool()])
    with torch.no_grad():
        own = model(images)[:, target]
    kept = np.flatnonzero(one.index().predicted == target)
    if found.n_images == len(kept):
        assert found.target.score == pytest.approx(float(own[kept].mean()), abs=1e-4)
    source = found.images[0].image
    assert source.prediction.score == pytest.approx(float(own[int(source.path)]), abs=1e-4)
    assert any("model's own probability" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    ("end", "link"),
    [
        (lambda y: y, ""),
        (lambda y: y.relu(), ""),
        (lambda y: y / 1000, ""),
        (lambda y: y.softmax(1), "softmax"),
        (lambda y: y.softmax(1).clamp(1e-3, 1), "softmax"),
        (torch.sigmoid, "sigmoid"),
        (lambda y: y.sigmoid().clamp(0.001, 0.999), "sigmoid"),
        (lambda y: y.log_softmax(1), ""),
        (lambda y: 2 * y.softmax(1), ""),
        (lambda y: y.tanh(), ""),
    ],
)
def test_probabilities_are_told_by_the_outputs(end: Callable[[Tensor], Tensor], link: str) -> None:
    torch.manual_seed(0)
    example = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    assert link_of(Ends(end).eval(), example) == link


@pytest.mark.parametrize(
    ("at", "others", "order", "last"),
    [
        (0, 1, "rows", False),
        (32, 1, "rows", False),
        (64, 1, "rows", False),
        (64, 61, "rows", False),
        (7, 3, "any", False),
        (0, 0, "columns", False),
        (64, 1, "any", True),
        (0, 0, "rows", True),
    ],
)
def test_every_token_is_put_where_its_patch_is(at: int, others: int, order: str, last: bool) -> None:
    torch.manual_seed(0)
    model = Tokens(at, others, order, last).eval()
    x = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    cut = split(model, "block", x[:1])
    with torch.no_grad():
        torch.testing.assert_close(cut.trunk(x), model.patch(x).relu())
        torch.testing.assert_close(cut.head(cut.trunk(x), x), model(x))


@pytest.mark.parametrize("at", [0, 32, 64])
def test_tokens_that_attend_keep_their_places(at: int) -> None:
    torch.manual_seed(0)
    form = split(Attends(at).eval(), "block", torch.zeros(1, 3, SIDE, SIDE)).form
    assert form is not None
    assert form.places == (() if at == 0 else (*range(at), *range(at + 1, 65)))


def test_tokens_without_a_place_are_refused() -> None:
    class Mixes(Tokens):
        def __init__(self) -> None:
            super().__init__(0, 0)
            self.block = nn.Sequential(nn.Flatten(), nn.Linear(1024, 1024), nn.Unflatten(1, (64, 16)))

    torch.manual_seed(0)
    with pytest.raises(LayerError, match="which of the tokens stands where could not be found"):
        split(Mixes().eval(), "block.2", torch.zeros(1, 3, SIDE, SIDE))


def test_half_precision_is_told() -> None:
    one = study(Net().bfloat16())
    assert any(
        "bfloat16; it was computed in float32" in warning for warning in one.explain(common(one)).warnings
    )


def test_an_operation_without_a_rule_is_named_beside_what_it_misses() -> None:
    torch.manual_seed(0)
    one = study(Heads(lambda h: h.cumsum(-1).cumprod(-1)))
    (warning,) = [w for w in one.explain(common(one)).warnings if "completeness" in w]
    assert "without a rule, the first to suspect: cumprod" in warning
