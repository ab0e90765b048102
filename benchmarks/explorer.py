"""How fast the explorer's pages stand in a browser on a store of 890 classes; whether its memory stays flat.

``python benchmarks/explorer.py --data DATA`` with ``resnet50_imagenet.safetensors`` in ``DATA/models`` and
pictures of ``DATA/imagenette/val``; ``WHYCLASS_CHROMIUM`` says where the browser is. The store is made once:
the pass over 140 pictures, a real audit of two classes at layer4.2, and their findings repeated, each with
its directions moved a little, under the names of other classes until there are 890.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import whyclass
from whyclass.records import Finding
from whyclass.serve.server import server
from whyclass.store import find_store, key_of

CLASSES, FOLDERS, REQUESTS = 890, {"n03394916": 80, "n02979186": 60}, 500

SETTINGS = whyclass.Settings(
    images=30,
    copies=1,
    starts=1,
    null_crops=20,
    null_cells=0,
    null_scores=0,
    fillings=0,
    refits=0,
    precision="float32",
    tests=("insertion",),
)


def study(data: Path, store: Path) -> whyclass.Study:
    """ResNet-50 at layer4.2; by name also for the explorer's worker."""
    loaded = whyclass.load("torchvision:resnet50", data / "models/resnet50_imagenet.safetensors", resize=224)
    files = [
        file for name, n in FOLDERS.items() for file in sorted((data / "imagenette/val" / name).iterdir())[:n]
    ]
    return whyclass.Study(loaded, "layer4.2", files, store, SETTINGS, progress=False)


def fill(data: Path, folder: Path) -> None:
    """Make what is missing of the store."""
    made = study(data, folder)
    most = sorted(made.classes(), key=lambda one: -one.n_images)[:2]
    made.audit([one.index for one in most])
    store = find_store(folder)
    real = [Finding.load(file) for file in store.records("findings")][:2]
    rng, have = np.random.default_rng(0), {one.index for one in most}
    for k in [k for k in range(1000) if k not in have][: CLASSES - 2]:
        one = real[k % 2]
        concepts = tuple(
            replace(
                c, vector=np.abs(c.vector + 0.02 * rng.standard_normal(c.vector.shape)).astype(np.float32)
            )
            for c in one.concepts
        )
        target = replace(one.target, index=k, name=made.loaded.class_names[k])
        file = store.record("findings", key_of(repeated=k))
        replace(one, target=target, concepts=concepts).save(file, f"findings/{file.stem}")


def _moved(vector: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.abs(vector + 0.02 * rng.standard_normal(vector.shape)).astype(np.float32)


def resident() -> float:
    """MiB of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


STEP = """async at => {
  const place = document.querySelector('.steering'), slider = document.querySelector('#amount');
  const begun = performance.now();
  slider.value = at;
  slider.dispatchEvent(new Event('input'));
  while (place.dataset.answered !== slider.value) await new Promise(requestAnimationFrame);
  return (performance.now() - begun) / 1000;
}"""
"""Seconds from the slider's move to the numbers that answer it."""

READY = "() => performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"


def measured(base: str, address: str, group: str, target: int) -> dict[str, Any]:
    """Seconds in a browser, medians of five."""
    from playwright.sync_api import sync_playwright

    found: dict[str, Any] = {}
    with sync_playwright() as made:
        path = os.environ.get("WHYCLASS_CHROMIUM", "/usr/bin/chromium")
        browser = made.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        page.goto(address)
        for name, where in {"home": "/", "class": f"/class/{group}/{target}"}.items():
            ready, painted = [], []
            for _ in range(5):
                begun = time.perf_counter()
                page.goto(base + where, wait_until="load")
                painted.append(time.perf_counter() - begun)
                ready.append(page.evaluate(READY) / 1000)
            found[name] = {"script ran": statistics.median(ready), "loaded": statistics.median(painted)}
        page.goto(f"{base}/concept/{group}/{target}/1")
        page.wait_for_selector("#curves .band", state="attached")
        place = page.eval_on_selector("#steered", "s => s.options[1].value")
        for name, value in {"steering, all images": "all", "steering, one image": place}.items():
            page.select_option("#steered", value)
            page.wait_for_selector("#curves .band", state="attached")
            page.wait_for_timeout(1500)
            took = [page.evaluate(STEP, at) for at in ("0.5", "-0.7", "1.1", "-1.3", "1.9")]
            found[name] = {"median": statistics.median(took), "worst": max(took)}
        browser.close()
    return found


def main() -> None:
    """Print the measurements as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--store", type=Path, default=Path("runs/explorer"))
    given = parser.parse_args()
    if len(list(given.store.glob("findings/*.whyclass"))) < CLASSES:
        fill(given.data, given.store)
    begun = time.perf_counter()
    opener = partial(study, given.data, given.store)
    with server(find_store(given.store), opener, "127.0.0.1", 0, print) as (explorer, run, end):
        found: dict[str, Any] = {"ready": time.perf_counter() - begun}
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        group = explorer.first_group()
        assert group is not None
        assert explorer.live is not None
        most = max(explorer.live.context.named_classes(), key=lambda one: one.n_images)
        found |= {"classes": len(explorer.group(group).classes)}
        found |= measured(explorer.gate.origin, explorer.gate.address, group, most.index)
        found["memory"] = memory(explorer, group)
        end()
        thread.join(10)
    print(json.dumps(found, indent=1))


def memory(explorer: Any, group: str) -> dict[str, float]:
    """MiB before and after so many requests, of classes in turn, pictures, concepts and steps."""
    import http.client

    gate, classes = explorer.gate, explorer.group(group).classes
    headers = {"Cookie": f"{gate.cookie}={gate.secret}"}

    def ask(number: int) -> None:
        one = classes[number % len(classes)].target.index
        real = max(explorer.live.context.named_classes(), key=lambda one: one.n_images).index
        paths = (
            "/",
            f"/class/{group}/{one}",
            f"/concept/{group}/{one}/1",
            f"/pool/{number % 140}.jpg",
            f"/steer/{group}/{real}/1.json?of=pool:{number % 140}&at=0.5",
        )
        connection = http.client.HTTPConnection(gate.host, gate.port, timeout=60)
        connection.request("GET", paths[number % len(paths)], headers=headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.status in (200, 404), (answer.status, paths[number % len(paths)])
        connection.close()

    for number in range(100):
        ask(number)
    found = {"after 100": resident()}
    for number in range(100, 100 + REQUESTS):
        ask(number)
    return found | {f"after {100 + REQUESTS}": resident()}


if __name__ == "__main__":
    main()
