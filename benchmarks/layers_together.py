"""Two layers of ResNet-50 in one pass of noisy copies: against each alone, in one run.

Timed is what an audit does for each image: noisy copies through the trunk and back through the head, at the
deeper layer, at the shallower one, and at both together. The floor counts operations.

    python benchmarks/layers_together.py --images 4
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from gpu_common import operations
from real_data import SHARED, resnet50

from whyclass.attribution import smoothgrad
from whyclass.models.fast_trunk import fast_trunk, noisy_precision, shared_trunk
from whyclass.models.setup import example_of
from whyclass.models.split import split
from whyclass.models.tasks import logit
from whyclass.pool import images as pool_images
from whyclass.settings import Settings

TARGET = 217  # English springer


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", default="layer3.5,layer4.2")
    parser.add_argument("--images", type=int, default=4)
    options = parser.parse_args()
    loaded = resnet50()
    pool = pool_images.pool(sorted((SHARED / "imagenette/val/n02102040").iterdir())[: options.images])
    given = [
        (pool.sample(at, loaded.preprocessing).tensor, item.digest) for at, item in enumerate(pool.items)
    ]
    cuts = [split(loaded.model, layer, example_of(loaded)) for layer in options.layers.split(",")]
    baselines = [
        smoothgrad.prepare(cut, loaded.preprocessing.constant("ones"), logit(TARGET)) for cut in cuts
    ]
    asked = [
        smoothgrad.Asked(cut, smoothgrad.Question(TARGET, one))
        for cut, one in zip(cuts, baselines, strict=True)
    ]
    trunks = [operations(lambda c=cut: c.trunk(c.example)) for cut in cuts]  # type: ignore[misc]
    whole = operations(lambda: loaded.model(cuts[0].example))
    heads = [2 * (whole - trunk) for trunk in trunks]
    print(f"{options.images} images of 20 copies; {torch.get_num_threads()} threads")
    print(f"GFLOP of a copy: trunks {[t / 1e9 for t in trunks]}, heads {[h / 1e9 for h in heads]}")
    for precision in ("float32", "auto"):
        dtype = noisy_precision(precision, cuts[0])
        own = [fast_trunk(cut, dtype) for cut in cuts]
        both = shared_trunk(cuts, own, dtype, 20)
        assert both is not None

        def alone(at: int, own: Any = own) -> None:
            smoothgrad.at_layers(asked[at : at + 1], lambda c: [own[at](c)], given, Settings())

        def together(both: Any = both) -> None:
            smoothgrad.at_layers(asked, both, given, Settings())

        ways: list[tuple[str, Callable[[], None]]] = [
            (options.layers.split(",")[0], lambda alone=alone: alone(0)),  # type: ignore[misc]
            (options.layers.split(",")[1], lambda alone=alone: alone(1)),  # type: ignore[misc]
            ("both", together),
        ]
        best = {name: min(_timed(call) for _ in range(3)) for name, call in ways}
        first, deeper, shared = best.values()
        print(
            f"{precision} ({dtype}): "
            + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in best.items())
            + f"; both are {shared / deeper:.2f}x the deeper (one by one {(first + deeper) / deeper:.2f}x)",
            flush=True,
        )


def _timed(call: Callable[[], None]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
