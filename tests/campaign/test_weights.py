"""A zoo of weights files: each loads what it should, or is refused with one line that says what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from whyclass.errors import WeightsError
from whyclass.models.described import Loaded
from whyclass.models.loading import load

FILE = """
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes=4):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, num_classes)

    def forward(self, x):
        return self.fc(self.norm(self.conv(x)).relu().mean((2, 3)))
"""

State = dict[str, Tensor]


def state(seed: int, classes: int = 4) -> State:
    """Weights of the net, drawn."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {
        "conv.weight": (4, 3, 3, 3),
        "conv.bias": (4,),
        "fc.weight": (classes, 4),
        "fc.bias": (classes,),
    }
    shapes |= {f"norm.{name}": (4,) for name in ("weight", "bias", "running_mean", "running_var")}
    drawn = {name: torch.rand(shape, generator=generator) for name, shape in shapes.items()}
    return drawn | {"norm.num_batches_tracked": torch.tensor(3)}


RAW, EMA = state(1), state(2)


def under(prefix: str, weights: State) -> State:
    return {prefix + name: value for name, value in weights.items()}


def changed(**changes: Any) -> dict[str, Any]:
    """The raw weights, some of them changed; ``__`` stands for a point."""
    return RAW | {name.replace("__", "."): value for name, value in changes.items()}


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Loaded]:
    """Saves what is given and loads the net with it."""

    def of(content: Any, key: str = "", suffix: str = ".pth") -> Loaded:
        (tmp_path / "net.py").write_text(FILE)
        file = tmp_path / f"weights{suffix}"
        save_file(content, file) if suffix == ".safetensors" else torch.save(content, file)
        return load(f"{tmp_path / 'net.py'}:Net", f"{file}:{key}" if key else file)

    return of


class Module(nn.Module):
    """The net again, for wrappers of torch's own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 4)
        self.load_state_dict(RAW)


def averaged() -> State:
    """What torch's AveragedModel saves."""
    return AveragedModel(Module()).state_dict()


LOADS: dict[str, tuple[Callable[[], Any], str, State]] = {
    "plain": (lambda: RAW, "", RAW),
    "state_dict": (lambda: {"state_dict": RAW, "epoch": 3}, "", RAW),
    "state_dict_ema beside": (lambda: {"state_dict": RAW, "state_dict_ema": EMA}, "", EMA),
    "model_ema beside": (lambda: {"model": RAW, "model_ema": EMA}, "", EMA),
    "ema beside, raw asked for": (lambda: {"model": RAW, "model_ema": EMA}, "model", RAW),
    "ema alone": (lambda: {"state_dict_ema": EMA, "epoch": 3}, "", EMA),
    "ema in a wrapper": (lambda: {"ema": {"module": EMA}, "model": RAW}, "", EMA),
    "ema that is empty": (lambda: {"state_dict": RAW, "state_dict_ema": {}}, "", RAW),
    "ema that is none": (lambda: {"state_dict": RAW, "model_ema": None}, "", RAW),
    "params_ema": (lambda: {"params": RAW, "params_ema": EMA}, "", EMA),
    "averaged model": (averaged, "", RAW),
    "lightning model": (lambda: {"state_dict": under("model.", RAW)}, "", RAW),
    "lightning net": (lambda: {"state_dict": under("net.", RAW)}, "", RAW),
    "lightning backbone": (lambda: {"state_dict": under("backbone.", RAW)}, "", RAW),
    "lightning with a loss": (
        lambda: {"state_dict": under("model.", RAW) | {"criterion.weight": torch.ones(4)}},
        "",
        RAW,
    ),
    "lightning with a metric": (
        lambda: {"state_dict": under("model.", RAW) | {"train_acc.correct": torch.tensor(3)}},
        "",
        RAW,
    ),
    "lightning with an average": (
        lambda: {"state_dict": under("model.", RAW) | under("ema_model.module.", EMA)},
        "",
        EMA,
    ),
    "two prefixes in turn": (lambda: under("module.model.", RAW), "", RAW),
    "an unknown prefix": (lambda: under("my_wrapped_net.", RAW), "", RAW),
    "teacher and student": (lambda: under("student.", RAW) | under("teacher.", EMA), "teacher", EMA),
    "data parallel and compiled": (lambda: under("module._orig_mod.", RAW), "", RAW),
    "no counters": (lambda: {k: v for k, v in RAW.items() if "num_batches" not in k}, "", RAW),
    "parameters": (
        lambda: {k: nn.Parameter(v) if v.is_floating_point() else v for k, v in RAW.items()},
        "",
        RAW,
    ),
    "double": (lambda: {k: v.double() for k, v in RAW.items()}, "", RAW),
    "sparse": (lambda: changed(fc__weight=RAW["fc.weight"].to_sparse()), "", RAW),
    "expanded": (
        lambda: changed(fc__bias=torch.tensor(2.0).expand(4)),
        "",
        changed(fc__bias=torch.full((4,), 2.0)),
    ),
    "other classes": (lambda: state(3, classes=7), "", state(3, classes=7)),
}


@pytest.mark.parametrize("name", LOADS)
def test_weights_load(name: str, opened: Callable[..., Loaded]) -> None:
    content, key, wanted = LOADS[name]
    found = opened(content(), key).model.state_dict()
    for one in ("conv.weight", "fc.weight", "fc.bias", "norm.running_var"):
        torch.testing.assert_close(found[one], wanted[one].float())


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_short_floats_load(dtype: torch.dtype, suffix: str, opened: Callable[..., Loaded]) -> None:
    short = {k: v.to(dtype) if v.is_floating_point() else v for k, v in RAW.items()}
    found = opened(short, suffix=suffix).model.state_dict()
    torch.testing.assert_close(found["fc.weight"], short["fc.weight"].float())


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (lambda: {"state_dict": RAW, "state_dict_ema": EMA}, "state_dict_ema was taken"),
        (
            lambda: under("net.", RAW) | under("teacher.", EMA),
            "net was taken; for another give weights.pth:teacher",
        ),
        (lambda: under("net.", RAW) | {"criterion.weight": torch.ones(4)}, "criterion left out"),
    ],
)
def test_a_choice_among_weights_is_told(
    content: Callable[[], Any], told: str, opened: Callable[..., Loaded]
) -> None:
    (note,) = opened(content()).notes
    assert told in note


@pytest.mark.parametrize("name", ["plain", "averaged model", "ema alone", "lightning model"])
def test_where_there_is_no_choice_nothing_is_told(name: str, opened: Callable[..., Loaded]) -> None:
    assert opened(LOADS[name][0]()).notes == ()


REFUSED: dict[str, tuple[Callable[[], Any], str, str]] = {
    "integer keys": (lambda: dict(enumerate(RAW.values())), "", "names its tensors 0"),
    "bool": (
        lambda: changed(fc__weight=RAW["fc.weight"] > 0),
        "",
        "torch.bool, the model's is torch.float32",
    ),
    "complex": (lambda: changed(fc__weight=RAW["fc.weight"] * 1j), "", "complex64, the model's is"),
    "integers": (lambda: changed(fc__weight=RAW["fc.weight"].to(torch.int8)), "", "int8, the model's is"),
    "meta": (lambda: changed(fc__weight=RAW["fc.weight"].to("meta")), "", "holds no values"),
    "four terabytes": (lambda: changed(fc__weight=torch.zeros(1).expand(2**20, 2**20)), "", "the model's is"),
    "expanded and not finite": (
        lambda: changed(fc__weight=torch.tensor(torch.nan).expand(4, 4)),
        "",
        "NaN or infinity in fc.weight",
    ),
    "quantised": (
        lambda: changed(fc__weight=torch.quantize_per_tensor(RAW["fc.weight"], 0.1, 0, torch.qint8)),
        "",
        "qint8",
    ),
    "a key that is not there": (lambda: {"state_dict": RAW}, "model_ema", "nothing under 'model_ema'"),
    "an optimiser's state": (lambda: {"optimizer": {"state": {}}}, "", "no tensors by name"),
    "a list": (lambda: list(RAW.values()), "", "no tensors by name"),
    "one too few": (lambda: {k: v for k, v in RAW.items() if k != "fc.bias"}, "", "lacks 1, such as fc.bias"),
    "one too many": (lambda: changed(more=torch.ones(1)), "", "such as more"),
    "half under a prefix": (lambda: under("model.", {"fc.weight": RAW["fc.weight"]}), "", "does not fit"),
    "another shape": (
        lambda: changed(conv__bias=torch.ones(5)),
        "",
        "conv.bias is (5,), the model's is (4,)",
    ),
    "no dimensions": (lambda: changed(fc__weight=torch.tensor(1.0)), "", "does not fit"),
    "nothing": (dict, "", "no tensors by name"),
}


@pytest.mark.filterwarnings("ignore")  # such as torch's notes on quantised tensors
@pytest.mark.parametrize("name", REFUSED)
def test_weights_are_refused_in_one_line(name: str, opened: Callable[..., Loaded]) -> None:
    content, key, reason = REFUSED[name]
    with pytest.raises(WeightsError) as refused:
        opened(content(), key)
    assert reason in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_densenets_old_names_are_read(tmp_path: Path) -> None:
    net = torchvision.models.densenet.DenseNet(4, (1, 1), 8, num_classes=3)
    old = {
        key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): value
        for key, value in net.state_dict().items()
    }
    (tmp_path / "net.py").write_text(
        "from torchvision.models.densenet import DenseNet\n"
        "def build(num_classes=3):\n    return DenseNet(4, (1, 1), 8, num_classes=num_classes)\n"
    )
    torch.save(old, tmp_path / "old.pth")
    found = load(f"{tmp_path / 'net.py'}:build", tmp_path / "old.pth").model.state_dict()
    assert all(torch.equal(found[key], value) for key, value in net.state_dict().items())


@pytest.mark.parametrize("auxiliary", [True, False])
@pytest.mark.parametrize(
    ("name", "turned"),
    [
        ("torchvision:googlenet:IMAGENET1K_V1", True),
        ("torchvision:googlenet", False),
        ("googlenet-1378be20.pth", True),
    ],
)
def test_googlenet_turns_its_input_where_the_weights_are_torchvisions(
    tmp_path: Path, name: str, turned: bool, auxiliary: bool
) -> None:
    net = torchvision.models.googlenet(
        weights=None, init_weights=False, num_classes=5, aux_logits=auxiliary, transform_input=True
    ).eval()
    file = tmp_path / (name if name.endswith(".pth") else "own.pth")
    torch.save(net.state_dict(), file)
    found = load("torchvision:googlenet" if name.endswith(".pth") else name, file)
    assert found.model.transform_input is turned
    assert bool(found.notes) is not turned
    if turned:
        image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            assert torch.equal(found.model(image), net(image))
