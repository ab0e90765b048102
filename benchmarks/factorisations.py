"""Factorisations side by side against scikit-learn's one after the other, on real matrices of ResNet-50.

For each class the same scored activations are factorised both ways, with the same starts: what is left, how
near the concepts are, and seconds. On a card it is what an audit does there; on a processor it says the same
of the numbers, and nothing of the time.

    python benchmarks/factorisations.py --store runs/f --classes 50
    python benchmarks/factorisations.py --store runs/f --classes 50 --device cuda --images 60 --copies 20
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import real_data
import torch
from scipy.optimize import linear_sum_assignment

from whyclass import Settings
from whyclass.concepts import nmf
from whyclass.concepts.nmf_on_device import Given, factorise_all
from whyclass.records import Factors
from whyclass.study.class_evidence import evidence_of

T = TypeVar("T")

RESIDUAL, COSINE = 1.005, 0.98
"""What a factorisation side by side may leave, of scikit-learn's, and how near its concepts have to be."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--layer", default="layer4.2")
    parser.add_argument("--classes", type=int, default=50, help="those predicted for the most photographs")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--copies", type=int, default=3)
    parser.add_argument("--starts", type=int, default=1)
    parser.add_argument("--pool", type=Path, nargs="+", default=list(real_data.LARGE_POOL))
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    settings = Settings(images=options.images, copies=options.copies, starts=options.starts)
    study = real_data.prepared(options.layer, options.pool, options.store, settings, options.device)
    classes = real_data.most_predicted(study, str(options.classes))
    given = []
    for done, k in enumerate(classes, 1):
        given.append(evidence_of(study.context(), k).scored_cells)
        print(f"\r{done} of {len(classes)} classes", end="", flush=True)
    print()
    _told(given, study.split.example.device)


def _told(given: Sequence[Given], device: torch.device) -> None:
    factorise_all(given[:1], device)  # warms up
    together, found = _timed(lambda: factorise_all(given, device))
    apart, wanted = _timed(
        lambda: [nmf.factorise(one.activations, one.scores, one.settings) for one in given]
    )
    rows = [_row(a, b) for a, b in zip(found, wanted, strict=True) if isinstance(a, Factors)]
    residuals, cosines, same = (np.array(column) for column in zip(*rows, strict=True))
    print(f"{len(rows)} matrices on {device.type}, {given[0].settings.starts} starts each")
    print(f"residual, times scikit-learn's: median {np.median(residuals):.5f}, most {residuals.max():.5f}")
    print(f"  at most {RESIDUAL}: {np.mean(residuals <= RESIDUAL):.0%}")
    print(f"least cosine of a matrix's concepts: median {np.median(cosines):.4f}, least {cosines.min():.4f}")
    print(f"  at least {COSINE}: {np.mean(cosines >= COSINE):.0%}")
    print(f"told to have converged alike: {same.mean():.0%}")
    print(f"seconds: {together:.2f} side by side, {apart:.2f} one after the other")


def _plain(one: Given) -> Factors:
    return nmf.factorise(one.activations, one.scores, one.settings)


def _timed(call: Callable[[], T]) -> tuple[float, T]:
    started = time.perf_counter()
    found = call()
    return time.perf_counter() - started, found


def _row(found: Factors, wanted: Factors) -> tuple[float, float, bool]:
    return found.residual / wanted.residual, _least(found, wanted), found.converged == wanted.converged


def _least(a: Any, b: Any) -> float:
    """The least cosine of concepts after the best assignment."""
    cosine = a.concepts @ b.concepts.T
    rows, columns = linear_sum_assignment(-cosine)
    return float(cosine[rows, columns].min())


if __name__ == "__main__":
    main()
