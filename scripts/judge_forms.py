"""What is found of the planted world in its other forms of network, and in untrained ones.

``PYTHONPATH=tests python scripts/judge_forms.py``: every class of every form.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from helpers.planted_nets import FORMS, judged
from whyclass import Settings
from whyclass.planted import demo, judgement, world


def main() -> None:
    """Print a line for each class, and the sums."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--form", choices=FORMS, action="append")
    parser.add_argument("--layer", help="instead of the form's own")
    parser.add_argument("--n", type=int, default=30, help="pictures of each class")
    parser.add_argument("--copies", type=int, default=8)
    parser.add_argument("--seed", type=int, action="append")
    options = parser.parse_args()
    for seed in options.seed or [0, 1]:
        settings = Settings(
            images=options.n, copies=options.copies, examples=12, controls=0, precision="float32", seed=seed
        )
        with tempfile.TemporaryDirectory() as folder:
            pool = world.write_pool(Path(folder) / "pool", options.n, seed)
            for name in options.form or FORMS:
                form = FORMS[name]
                form = replace(form, layer=options.layer or form.layer)
                for trained in (True, False):
                    _tell(
                        f"{name} {form.layer} seed {seed} {'trained' if trained else 'untrained'}",
                        judged(form, pool, demo.EXPLAINED, settings, trained=trained),
                    )


def _tell(title: str, found: dict[str, tuple[judgement.Finding, ...]]) -> None:
    for name, findings in found.items():
        told = [
            f"{f.part}{'' if f.planted else '!'} {f.overlap:.0%}>{f.overlap_control:.0%} "
            f"{f.crops}>{f.crops_control:.0f} {'found' if f.found else '-'}"
            for f in findings
            if f.planted or f.found
        ]
        print(f"  {name:8} {'; '.join(told)}")
    every = [finding for findings in found.values() for finding in findings]
    planted = [finding for finding in every if finding.planted]
    print(
        f"{title}: {sum(f.found for f in planted)} of {len(planted)} planted parts found, "
        f"{sum(f.found for f in every) - sum(f.found for f in planted)} invented",
        flush=True,
    )


if __name__ == "__main__":
    main()
