"""The audit of some classes of ResNet-50 here and on a Ray cluster of this machine: seconds and bytes.

Each run is a process of its own with an empty store. A cluster is begun for each and its start is told by
itself, since a run of hours pays it once. Results depend on the number of threads, so that runs of one
number are compared with each other. On a machine that other work shares, seconds of processors are what can
be compared: those of this process and of all below it, workers and what Ray begins beside them.

    python benchmarks/cluster.py --folder runs/cluster --runs local:1,ray:1:1,ray:2:1,ray:4:1 --nulls 1
    python benchmarks/cluster.py --folder runs/cluster --runs local:2,ray:1:2
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

POOL = "imagenet_sample/val"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--runs", default="local:1,ray:2:1", help="local:THREADS or ray:WORKERS:THREADS")
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--classes", type=int, default=30)
    parser.add_argument("--copies", type=int, default=20)
    parser.add_argument("--nulls", type=int, default=3, help="of a class; fillings and refits are as many")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(options)
        return
    bytes_of: dict[str, set[str]] = {}
    baseline: dict[str, float] = {}
    for run in options.runs.split(","):
        threads = run.rpartition(":")[2]
        told = _run(options, run, threads)
        bytes_of.setdefault(threads, set()).add(told["digest"])
        steps = ", ".join(f"{name} {value:.1f}" for name, value in told["steps"].items() if value > 0.5)
        to_local = told["processors"] / baseline.setdefault(threads, told["processors"])
        print(
            f"{run}: {told['seconds']:.1f} s, with the cluster's start {told['all']:.1f} s; of processors "
            f"{told['processors']:.1f} s, {to_local:.3f} times the first run's; {steps}; "
            f"{told['classes']} classes, {told['explained']} images, {told['files']} files {told['digest']}",
            flush=True,
        )
    for threads, digests in bytes_of.items():
        print(f"{threads} threads: {'the same bytes' if len(digests) == 1 else 'OTHER BYTES'}")


def _run(options: argparse.Namespace, run: str, threads: str) -> dict[str, Any]:
    store = options.folder / run.replace(":", "-")
    kept = store.with_suffix(".json")
    if not kept.exists():
        given = ["--folder", str(options.folder), "--images", str(options.images)]
        given += ["--classes", str(options.classes), "--copies", str(options.copies)]
        given += ["--nulls", str(options.nulls), "--one", run]
        env = os.environ | {"OMP_NUM_THREADS": threads}
        ran = subprocess.run([sys.executable, __file__, *given], env=env, stdout=subprocess.PIPE, check=True)
        kept.write_bytes(ran.stdout.splitlines()[-1])
    told: dict[str, Any] = json.loads(kept.read_bytes())
    return told


def one(options: argparse.Namespace) -> None:
    """One audit, in a process of its own."""
    import torch
    from real_data import SHARED, resnet50

    from whyclass.settings import Settings
    from whyclass.study.study import Study

    engine, *numbers = options.one.split(":")
    torch.set_num_threads(int(numbers[-1]))
    loaded = resnet50()
    pool = sorted((SHARED / POOL).rglob("*.*"))[: options.images]
    store = options.folder / options.one.replace(":", "-")
    worth = dict.fromkeys(("audit_nulls", "fillings", "refits"), options.nulls)
    settings = Settings(images=4, copies=options.copies, null_crops=20, starts=4, **worth)
    study = Study(loaded, "layer4.2", pool, store, settings, progress=False)
    classes = _classes(options)
    started = begun = time.perf_counter()
    if engine == "ray":
        import ray

        from whyclass.study.ray_cluster import QUIET, begin

        os.environ |= QUIET
        begin(ray, "", int(numbers[0]))
        _warm(ray, int(numbers[0]), int(numbers[1]))
        begun = time.perf_counter()
    before = _processors()
    found = study.audit(classes, workers=1, engine=engine)
    ended, after = time.perf_counter(), _processors()
    told = {
        "seconds": ended - begun,
        "processors": sum(spent - before.get(process, 0) for process, spent in after.items()),
        "all": ended - started,
        "classes": len(found.classes),
        "explained": sum(each.n_images for each in found.classes),
        "steps": study.progress.seconds,
        "files": len(_files(store)),
        "digest": _digest(store),
    }
    print(json.dumps(told))


def _processors() -> dict[int, float]:
    """Seconds that this process and all below it have spent, of those that live; 0.01 s is their unit."""
    found, left = dict[int, float](), [os.getpid()]
    parents, spent = dict[int, list[int]](), dict[int, float]()
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            told = place.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        process = int(place.parent.name)
        parents.setdefault(int(told[1]), []).append(process)
        # its own, and those of its children that have ended
        spent[process] = sum(map(int, told[11:15])) / os.sysconf("SC_CLK_TCK")
    while left:
        process = left.pop()
        found[process] = spent.get(process, 0)
        left += parents.get(process, [])
    return found


def _warm(ray: Any, workers: int, threads: int) -> None:
    """Every worker has its libraries loaded."""

    def ready() -> int:
        import time

        import whyclass.study.ray_tasks  # noqa: F401

        time.sleep(2)  # so that no worker answers twice
        return os.getpid()

    ray.get([ray.remote(num_cpus=threads)(ready).remote() for _ in range(workers)])


def _classes(options: argparse.Namespace) -> list[int]:
    """The first so many that are predicted, from a file that the first run makes."""
    import torch
    from real_data import SHARED, resnet50

    from whyclass.pool import images as pool_images

    kept = options.folder / f"classes-{options.images}.json"
    if not kept.exists():
        loaded = resnet50()
        pool = pool_images.pool(sorted((SHARED / POOL).rglob("*.*"))[: options.images])
        found: set[int] = set()
        with torch.no_grad():
            for at in range(len(pool.items)):
                image = pool.sample(at, loaded.preprocessing).tensor
                found.add(int(loaded.model(image[None]).argmax()))
        kept.write_text(json.dumps(sorted(found)))
    return list(json.loads(kept.read_text()))[: options.classes]


def _files(store: Path) -> list[Path]:
    return [path for path in sorted(store.rglob("*")) if path.is_file() and path.name != "log.txt"]


def _digest(store: Path) -> str:
    found = hashlib.blake2b(digest_size=8)
    for path in _files(store):
        found.update(path.relative_to(store).as_posix().encode())
        found.update(path.read_bytes())
    return found.hexdigest()


if __name__ == "__main__":
    main()
