"""A real browser for tests: the system's Chromium, driven by Playwright."""

from __future__ import annotations

import importlib.util
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CHROMIUM = os.environ.get("WHYCLASS_CHROMIUM", "/usr/bin/chromium")

MISSING = [
    what
    for what, there in (
        ("playwright, of the extra dev", importlib.util.find_spec("playwright")),
        ("axe-playwright-python, of the extra dev", importlib.util.find_spec("axe_playwright_python")),
        (f"a browser at {CHROMIUM} (WHYCLASS_CHROMIUM says where)", Path(CHROMIUM).exists()),
    )
    if not there
]
"""What a test in a browser lacks here."""

QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]

PATIENCE = 120_000
"""Milliseconds that a page, or what it waits for, may take on a busy machine before a test fails."""


@contextmanager
def chromium() -> Iterator[Any]:
    """The browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as made:
        browser = made.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Any, expected: str = "\0", **given: Any) -> Iterator[Any]:
    """A page of a context of its own, in which no script may fail and nothing be asked of elsewhere.

    What the browser complains of is an error unless it holds what is ``expected``.
    """
    context = browser.new_context(viewport=given.pop("viewport", {"width": 1280, "height": 900}), **given)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(f"script: {error}"))
    page.on("console", lambda said: _bad(said, expected) and wrong.append(f"console: {said.text}"))
    page.on("request", lambda one: _outside(one.url) and wrong.append(f"asked of elsewhere: {one.url}"))
    try:
        yield page
        assert not wrong, wrong
    finally:
        context.close()


def _bad(line: Any, expected: str) -> bool:
    return line.type == "error" and expected not in line.text


def _outside(url: str) -> bool:
    return not url.startswith(("http://127.0.0.1:", "data:", "file://", "about:"))


def faults(page: Any) -> list[str]:
    """What axe-core finds wrong on a page."""
    from axe_playwright_python.base import AXE_SCRIPT

    page.evaluate(AXE_SCRIPT)
    found = page.evaluate("axe.run()")
    return [f"{one['impact']} {one['id']}: {one['nodes'][0]['html'][:160]}" for one in found["violations"]]


def looks(page: Any, side: int = 24) -> np.ndarray:
    """A page as (side, side) grey values from 0 to 1: so coarse that other fonts change little."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("L")
    return np.asarray(picture.resize((side, side), Image.Resampling.BOX), np.float32) / 255
