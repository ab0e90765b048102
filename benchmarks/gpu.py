"""What a graphics card gives: the same answers as the processor's, and how fast, all in one run.

Every stage is a row of ``STAGES``. One that fails, or runs out of its time, leaves its traceback in the JSON
and the others still run; the file is written anew after each. Nothing is downloaded: the pictures are planted
or smoothed noise, and ResNet-50 has random weights with calibrated norms, unless ``--weights`` are given.

    python benchmarks/gpu.py --device cuda --out gpu.json
    python benchmarks/gpu.py --device cpu --small --stages facts,planted
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from gpu_common import Bench, tf32, timed

Found = dict[str, Any]


def facts(bench: Bench) -> Found:
    """The card, the libraries, and the product of two square matrices in each precision."""
    found: Found = {
        "device": bench.device,
        "card": torch.cuda.get_device_name() if bench.cuda else platform.processor() or "processor",
        "memory GiB": torch.cuda.get_device_properties(0).total_memory / 2**30 if bench.cuda else None,
        "capability": ".".join(map(str, torch.cuda.get_device_capability())) if bench.cuda else None,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "tf32 as torch has it": {
            "matmul": torch.backends.cuda.matmul.allow_tf32,
            "convolutions": torch.backends.cudnn.allow_tf32,
        },
        "libraries": {name: _version(name) for name in LIBRARIES},
    }
    rows = [("float32", torch.float32, False), ("tf32", torch.float32, True)]
    rows.append(("bfloat16", torch.bfloat16, False))
    found["peak FLOP/s"] = {}
    for name, dtype, allowed in rows:
        with tf32(allowed, allowed):
            found["peak FLOP/s"][name] = bench.peaks[name] = _peak(bench, dtype)
    return found


LIBRARIES = ("whyclass", "torchvision", "numpy", "scikit-learn", "scipy", "pillow", "safetensors")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _peak(bench: Bench, dtype: torch.dtype) -> float:
    """Of the best of several products; the largest of some sizes."""
    best, repeats = 0.0, 3 if bench.small else 10
    for side in (1024,) if bench.small else (4096, 8192):
        a, b = (torch.randn(side, side, device=bench.device).to(dtype) for _ in range(2))
        call = partial(_products, a, b, repeats)
        call()
        seconds = min(timed(bench, call)[0] for _ in range(3))
        best = max(best, 2 * side**3 * repeats / seconds)
    return best


def _products(a: torch.Tensor, b: torch.Tensor, repeats: int) -> None:
    for _ in range(repeats):
        a @ b


def _stages() -> dict[str, tuple[Callable[[Bench], Found], int, int]]:
    """By name what it does, and its seconds on a card and ``--small``; a lacking library breaks few."""

    def late(module: str, name: str) -> Callable[[Bench], Found]:
        def call(bench: Bench) -> Found:
            from importlib import import_module

            found: Found = getattr(import_module(module), name)(bench)
            return found

        return call

    return {
        "facts": (facts, 40, 20),
        "planted": (late("gpu_parity", "planted"), 110, 60),
        "resnet50": (late("gpu_parity", "resnet50_stage"), 80, 60),
        "host": (late("gpu_speed", "host"), 30, 20),
        "explain": (late("gpu_speed", "explain"), 75, 60),
        "audit": (late("gpu_speed", "audit"), 120, 60),
        "hyperplanes": (late("gpu_speed", "all_pairs"), 60, 30),
        "drawing": (late("gpu_speed", "drawing"), 45, 30),
    }


STAGES = _stages()

# ---------------------------------------------------------------- extrapolation

FORMULA = (
    "prepare + N (decode + index) + E (images + attribution + activations) + C factorisation / F "
    "+ N C crops k / P + C tests, with E = min(60 C, N). Seconds are of this run's audit: decode and index "
    "by image of the pool, images, attribution and activations by explained image, factorisation and tests "
    "(whose controls classes share: at most so much) by class, crops by image and class. On a processor "
    "k = min(classes of the sample, P) queries were searched at once, of P processors; on a card k = P = 1. "
    "F is 1 in one process, where a class's starts run side by side, and on a card, and P / starts with P "
    "processes of one thread, if they disturb each other no more than the starts do."
)


def extrapolated(stages: Found, images: int = 50_000, classes: int = 1_000) -> Found:
    """Seconds of an audit of all of ImageNet's validation set at one layer, from the sample's."""
    audit = stages["audit"]["result"]
    steps, n, k, e = audit["seconds by step"], audit["images"], audit["classes"], audit["explained"]
    explained = min(60 * classes, images)
    on_card = stages.get("facts", {}).get("result", {}).get("device") == "cuda"
    processors = 1 if on_card else os.cpu_count() or 1
    each = {
        "prepare": audit["prepare seconds"],
        "decode": steps.get("decode", 0.0) / n * images,
        "index": steps["index"] / n * images,
        **{name: steps[name] / e * explained for name in ("images", "attribution", "activations")},
        "factorisations": audit["factorisation seconds"] / k * classes,
        "crops": steps["crops"] / n / k * images * classes * min(k, processors) / processors,
        "tests": steps["prediction tests"] / k * classes,
    }
    factor, together = max(1.0, processors / audit["starts"]), sum(each.values())
    apart = together - each["factorisations"] * (1 - 1 / factor)
    return {
        "formula": FORMULA,
        "N": images,
        "C": classes,
        "E": explained,
        "P": processors,
        "seconds": each,
        "seconds in one process": together,
        "seconds with the factorisations in processes": apart,
    }


# ---------------------------------------------------------------- running


class OutOfTimeError(BaseException):
    """A stage took longer than it may; no ``Exception``, which many places would take for the model's."""


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Stops the block after so many seconds, where signals can."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_: object) -> None:
        raise OutOfTimeError(f"the stage took more than its {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(1.0, seconds))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def main() -> int:
    options = _options()
    started = time.perf_counter()
    if options.small:
        torch.set_num_threads(1)  # what is so small gains nothing from more
    report: Found = {"command": vars(options) | {"out": str(options.out)}, "stages": {}, "checks": []}
    report["command"]["weights"] = str(options.weights) if options.weights else None
    wanted = options.stages.split(",") if options.stages else list(STAGES)
    with tempfile.TemporaryDirectory(prefix="whyclass-gpu-") as folder:
        bench = Bench(options.device, options.small, options.weights, Path(folder), started)
        for name in wanted:
            work, long, short = STAGES[name]
            left = options.seconds - (time.perf_counter() - started)
            budget = min(short if options.small else long, left)
            report["stages"][name] = _stage(bench, name, work, budget)
            report["checks"] = bench.checks
            _write(options.out, report)
    if "result" in report["stages"].get("audit", {}):
        report["extrapolation"] = extrapolated(report["stages"])
    report["seconds"] = time.perf_counter() - started
    _write(options.out, report)
    return _told(bench, report)


def _stage(bench: Bench, name: str, work: Callable[[Bench], Found], budget: float) -> Found:
    began = time.perf_counter()
    if budget < 5:
        bench.tell(f"{name}: left out, no time left")
        return {"seconds": 0.0, "error": "left out: no time left"}
    bench.tell(f"{name}: begins, {budget:.0f} s at most")
    try:
        with _within(budget):
            result = work(bench)
    except (Exception, OutOfTimeError) as error:  # whatever breaks one stage must not cost the others
        bench.tell(f"{name}: FAILED: {type(error).__name__}: {error}")
        steps = dict(bench.made["progress"].seconds) if "progress" in bench.made else {}
        told = {"error": traceback.format_exc(), "seconds of the steps that ended": steps}
        return {"seconds": time.perf_counter() - began} | told
    seconds = time.perf_counter() - began
    bench.tell(f"{name}: done after {seconds:.1f} s")
    return {"seconds": seconds, "result": result}


def _told(bench: Bench, report: Found) -> int:
    broken = [name for name, stage in report["stages"].items() if "error" in stage]
    failed = [check for check in report["checks"] if not check["passed"]]
    for check in report["checks"]:
        bench.tell(f"{'ok  ' if check['passed'] else 'MISS'} {check['name']}: {check['value']}")
    bench.tell(f"{len(report['stages'])} stages, {len(broken)} broken: {', '.join(broken) or 'none'}")
    return 1 if broken or failed else 0


def _write(path: Path, report: Found) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_plain(report), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """What JSON has: no infinity, no arrays."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, bool) or value is None or isinstance(value, (int, str)):
        return value
    number = float(value)
    return number if math.isfinite(number) else str(number)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--small", action="store_true", help="a proof in little time; no figure to quote")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--weights", type=Path, help="safetensors of an ImageNet ResNet-50")
    parser.add_argument("--stages", help=f"of {','.join(STAGES)}; the default is all")
    parser.add_argument("--seconds", type=float, default=360, help="for all stages together")
    options = parser.parse_args()
    if options.stages and (unknown := set(options.stages.split(",")) - set(STAGES)):
        parser.error(f"unknown stages {', '.join(sorted(unknown))}; known are {', '.join(STAGES)}")
    return options


if __name__ == "__main__":
    raise SystemExit(main())
