"""Photograph the pages of the planted world for ``docs/gallery.md``, in a browser.

``PYTHONPATH=src python scripts/draw_gallery.py [FOLDER]``, by default into ``docs/gallery``; needs playwright
(extra ``dev``) and a Chromium (``WHYCLASS_CHROMIUM``). A minute of one core. ``--first runs/demo/hawk.html``
draws ``docs/hawk.png`` instead, of a page that ``whyclass demo`` made.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from PIL import Image

import whyclass
from whyclass.planted import nets, world
from whyclass.planted.demo import loaded
from whyclass.report import audits_in_store, site
from whyclass.store import Store

PLACE = Path(__file__).resolve().parent.parent / "docs" / "gallery"
CHROMIUM = os.environ.get("WHYCLASS_CHROMIUM", "/usr/bin/chromium")
WIDTH, SHOWN, QUALITY = 1100, 825, 70
HEIGHTS = {"explanation": 1150, "contrast": 1400, "image": 1300, "audit": 1250}
"""Pixels that are shown of each page, from its top."""

FIRST = 1095
"""The same of the demonstration's, unscaled: down to the verdict's last line."""

SETTINGS: dict[str, Any] = {
    "images": 20,
    "copies": 5,
    "starts": 4,
    "precision": "float32",
    "plane_starts": 2,
    "plane_bootstraps": 2,
    "plane_permutations": 19,
    "picture_steps": 64,
}


def pages(folder: Path, n_per_class: int = 30, **changes: Any) -> dict[str, Path]:
    """Make each kind of page of the twins, and the site of an audit; files by name."""
    photos = world.write_pool(folder / "photos", n_per_class)
    settings = whyclass.Settings(**SETTINGS | changes)

    def study(kept: str, settings: whyclass.Settings) -> whyclass.Study:
        given = {"decoder": nets.planted_decoder(), "progress": False}
        return whyclass.Study(loaded(), world.LAYER, photos, folder / kept, settings, **given)

    plain = study("store", settings)
    made = {
        "explanation": plain.explain("hawk").save(folder / "explanation.html"),
        "contrast": plain.contrast(*world.TWINS).save(folder / "contrast.html"),
        "image": plain.explain_image(photos / "hawk" / "0003.png", *world.TWINS).save(folder / "image.html"),
    }
    study("audited", whyclass.Settings(**SETTINGS | {"copies": 2, "starts": 2} | changes)).audit()
    store = Store(folder / "audited")
    (folder / "site").mkdir()
    for name, data in site.files(store, audits_in_store.collect(store), lambda *_: None, ""):
        file = folder / "site" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    (index,) = (folder / "site").glob("*/index.html")
    return made | {"audit": index}


def photographed(files: dict[str, Path], folder: Path) -> list[Path]:
    """The top of each page, as JPEG."""
    from playwright.sync_api import sync_playwright

    folder.mkdir(parents=True, exist_ok=True)
    saved = []
    with sync_playwright() as made:
        browser = made.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        for name, file in files.items():
            view = browser.new_page(viewport={"width": WIDTH, "height": HEIGHTS[name]})
            view.goto(file.resolve().as_uri())
            picture = Image.open(io.BytesIO(view.screenshot())).convert("RGB")
            picture = picture.resize(
                (SHOWN, picture.height * SHOWN // picture.width), Image.Resampling.LANCZOS
            )
            picture.save(folder / f"{name}.jpg", quality=QUALITY, optimize=True)
            saved.append(folder / f"{name}.jpg")
        browser.close()
    return saved


def first(page: Path) -> None:
    """The top of a page of the demonstration, for README and the site's first page."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as made:
        browser = made.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        view = browser.new_page(viewport={"width": WIDTH, "height": FIRST})
        view.goto(page.resolve().as_uri())
        view.screenshot(path=PLACE.parent / "hawk.png")
        browser.close()


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["--first"]:
        first(Path(sys.argv[2]))
        sys.exit()
    place = Path(sys.argv[1]).resolve() if sys.argv[1:] else PLACE
    with tempfile.TemporaryDirectory() as work, contextlib.chdir(work):  # so that pages tell short paths
        for file in photographed(pages(Path()), place):
            print(f"{file.name}: {file.stat().st_size / 1e3:.0f} kB")
