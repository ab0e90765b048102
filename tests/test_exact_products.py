"""Products of float32 are not rounded inside the block, and as the user had them after it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch

from whyclass.attribution import deeplift, smoothgrad
from whyclass.exact_products import exact_products
from whyclass.models import fast_trunk as fast
from whyclass.models.split import split
from whyclass.models.tasks import logit
from whyclass.planted import nets, world
from whyclass.settings import Settings

BACKENDS = torch.backends
if not hasattr(BACKENDS.cuda.matmul, "fp32_precision"):
    pytest.skip("this torch has the older flags alone", allow_module_level=True)
NEWER = {
    "matmul": BACKENDS.cuda.matmul,
    "convolutions": BACKENDS.cudnn.conv,
    "recurrent": BACKENDS.cudnn.rnn,
    "processor's matmul": BACKENDS.mkldnn.matmul,
    "processor's convolutions": BACKENDS.mkldnn.conv,
    "processor's recurrent": BACKENDS.mkldnn.rnn,
}


def newer() -> dict[str, str]:
    return {name: home.fp32_precision for name, home in NEWER.items()}


def older() -> list[object]:
    """What reading the older flags gives, or that torch refuses it."""
    reads: list[Callable[[], object]] = [
        lambda: BACKENDS.cuda.matmul.allow_tf32,
        lambda: BACKENDS.cudnn.allow_tf32,
        torch.get_float32_matmul_precision,
    ]
    found: list[object] = []
    for read in reads:
        try:
            found.append(read())
        except RuntimeError:
            found.append("refused")
    return found


def _legacy(on: bool) -> None:
    BACKENDS.cuda.matmul.allow_tf32 = BACKENDS.cudnn.allow_tf32 = on


def _new(matmul: str, convolutions: str) -> None:
    BACKENDS.cuda.matmul.fp32_precision, BACKENDS.cudnn.conv.fp32_precision = matmul, convolutions


WAYS = {
    "as torch has it": lambda: None,
    "all on, older": lambda: _legacy(True),
    "all off, older": lambda: _legacy(False),
    "high": lambda: torch.set_float32_matmul_precision("high"),
    "medium": lambda: torch.set_float32_matmul_precision("medium"),
    "newer, on": lambda: _new("tf32", "tf32"),
    "newer, off": lambda: _new("ieee", "ieee"),
    "processor, bfloat16": lambda: setattr(BACKENDS.mkldnn.matmul, "fp32_precision", "bf16"),
}


@pytest.fixture(params=list(WAYS))
def _set_by_user(request):
    before, precision = newer(), torch.get_float32_matmul_precision()
    WAYS[request.param]()
    yield
    BACKENDS.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision(precision)
    for name, value in before.items():
        NEWER[name].fp32_precision = value


@pytest.mark.usefixtures("_set_by_user")
def test_the_flags_are_off_inside_and_the_users_after_it():
    before, read = newer(), older()
    with exact_products():
        assert set(newer().values()) == {"ieee"}
        with exact_products():
            pass
        assert set(newer().values()) == {"ieee"}  # the inner one leaves them to the outer
        assert True not in older()[:2]
        assert older()[:2].count("refused") <= read[:2].count("refused")
    assert (newer(), older()) == (before, read)


def test_they_are_the_users_again_after_an_error_and_after_the_last_thread():
    before, inside, leave = newer(), threading.Event(), threading.Event()

    def other() -> None:
        with exact_products():
            inside.set()
            leave.wait(10)

    def failing() -> None:
        with exact_products():
            thread.start()
            inside.wait(10)
            raise ZeroDivisionError

    thread = threading.Thread(target=other)
    with pytest.raises(ZeroDivisionError):
        failing()
    assert set(newer().values()) == {"ieee"}
    leave.set()
    thread.join()
    assert newer() == before


def test_attribution_runs_inside_it(monkeypatch):
    seen: dict[str, set[str]] = {}

    def noted(name, function):
        def call(*given, **named):
            seen.setdefault(name, set()).update(newer().values())
            return function(*given, **named)

        return call

    monkeypatch.setattr(deeplift, "record", noted("record", deeplift.record))
    monkeypatch.setattr(deeplift, "attribute", noted("attribute", deeplift.attribute))
    monkeypatch.setattr(fast, "_close", noted("fast trunk", fast._close))
    before, net, image = newer(), nets.planted_net(), nets.as_input([world.planted_picture(1, 0).image])[0]
    cut = split(net, world.LAYER, image[None])
    trunk = noted("noisy copies", fast.fast_trunk(cut, torch.float32))
    baseline = smoothgrad.prepare(cut, torch.ones_like(image[None]), logit(1))
    question = smoothgrad.Question(1, baseline)
    smoothgrad.smoothgrad(cut, trunk, [(image, "x")], question, Settings(copies=2))
    assert seen == {key: {"ieee"} for key in ("record", "attribute", "fast trunk", "noisy copies")}
    assert newer() == before
