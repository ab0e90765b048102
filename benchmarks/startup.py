"""What a call costs before and beside its work: processor time and peak memory of whole processes.

Each row is a command in a process of its own; the least of several runs counts, since other work only adds.
The last row is ``whyclass explain`` of a class of the planted world that the store holds, less the row before
it: loading everything that is imported, and reading the model. The baseline of all is importing it all.

    python benchmarks/startup.py
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

FACTORY = "from whyclass.planted.nets import PlantedNet\n\ndef net():\n    return PlantedNet()\n"

COMMAND = "from whyclass.cli.main import main; main()"

EVERYTHING = (
    "import torch, torchvision, sklearn, scipy, whyclass.cli.main, whyclass.study.study, whyclass.report.page"
)

READING = "; from whyclass.models import loading; loading.load({!r}, {!r})"

BASELINE = "importing torch and everything"

ROWS: dict[str, tuple[str, list[str]]] = {
    "python itself": ("pass", []),
    "`import whyclass`": ("import whyclass", []),
    "`whyclass --help`": (COMMAND, ["--help"]),
    "`whyclass explain --help`": (COMMAND, ["explain", "--help"]),
    BASELINE: (EVERYTHING, []),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        print(json.dumps(_made(options.make)))
        return
    costs = {name: cost(*row, options.runs) for name, row in ROWS.items()}
    with tempfile.TemporaryDirectory() as folder:
        asked, model = _question(folder)
        cost(COMMAND, asked, 1)  # makes what the next ones find
        read = cost(EVERYTHING + READING.format(*model), [], options.runs)
        again = cost(COMMAND, asked, options.runs)
    costs |= {"the same, and reading the model": read, "`whyclass explain` of a kept class": again}
    base = costs[BASELINE][0]
    for name, (seconds, memory) in costs.items():
        print(f"| {name} | {seconds:.2f} | {memory:.0f} | {seconds / base:.3f} |")
    print(f"| of it beyond that | {again[0] - read[0]:.2f} | | {(again[0] - read[0]) / base:.3f} |")


def cost(code: str, arguments: list[str], runs: int) -> tuple[float, float]:
    """Least seconds of processor time and least peak memory in MB of so many processes."""
    command = [sys.executable, "-c", code, *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    unit = 1024 if sys.platform == "linux" else 2**20
    found = []
    for _ in range(runs):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, command
        found.append((used.ru_utime + used.ru_stime, used.ru_maxrss / unit))
    seconds, memory = zip(*found, strict=True)
    return min(seconds), min(memory)


def _question(folder: str) -> tuple[list[str], list[str]]:
    """Arguments that explain a class of the planted world, and its model with its weights.

    They come from a process of their own: what starts another lends it its own peak of memory.
    """
    ran = subprocess.run([sys.executable, __file__, "--make", folder], stdout=subprocess.PIPE, check=True)
    asked, model = json.loads(ran.stdout)
    return asked, model


def _made(folder: Path) -> tuple[list[str], list[str]]:
    from whyclass.planted import world

    (folder / "factory.py").write_text(FACTORY)
    names = folder / "names.txt"
    names.write_text("\n".join(planted.name for planted in world.CLASSES))
    model = [f"{folder / 'factory.py'}:net", str(Path(world.__file__).parent / "net.safetensors")]
    given = {
        "model": model[0],
        "weights": model[1],
        "class-names": names,
        "layer": world.LAYER,
        "images": world.write_pool(folder / "pool", 60),
        "store": folder / "store",
        "class": "hawk",
        "resize": world.SIZE,
        "crop": world.SIZE,
        "mean": 0.5,
        "std": 0.25,
    }
    return [
        "explain",
        "--quiet",
        *(t for key, value in given.items() for t in (f"--{key}", str(value))),
    ], model


if __name__ == "__main__":
    main()
