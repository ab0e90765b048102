"""Commands of ``docs/explorer.md`` start an explorer that a browser can open, and Ctrl-C ends it."""

from __future__ import annotations

import os
import shlex
import signal
import threading
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.request import HTTPCookieProcessor, build_opener

import pytest

from helpers.commands import command_lines
from helpers.explored import study_of
from helpers.planted_world import whyclass
from whyclass.cli import serve
from whyclass.planted import demo, world

LINES = [
    shlex.split(line, comments=True)
    for line in command_lines((Path(__file__).parents[2] / "docs/explorer.md").read_text(encoding="utf-8"))
]

ELSEWHERE = {"pip": "installs"}
"""Programs of lines that are not run, and why."""

INSTEAD = {
    "runs/resnet50": "{store}",
    "torchvision:resnet50": "{net}:build",
    "layer4.2": world.LAYER,
    "imagenet/val": "{pool}",
}
"""A reader's files and model, and the planted ones that stand for them."""

NET = """
from whyclass.planted import demo

def build():
    loaded = demo.loaded()
    loaded.model.preprocessing, loaded.model.class_names = loaded.preprocessing, loaded.class_names
    return loaded.model
"""


class Opened:
    """A browser that opens the address, keeps what it got, and then presses Ctrl-C."""

    def __init__(self) -> None:
        self.page, self.problem = "", ""

    def __call__(self, address: str) -> None:
        threading.Thread(target=self._open, args=(address,)).start()

    def _open(self, address: str) -> None:
        try:
            opener = build_opener(HTTPCookieProcessor(CookieJar()))
            with opener.open(address, timeout=20) as answer:
                self.page = answer.read().decode()
        except Exception as error:
            self.problem = f"{type(error).__name__}: {error}"
        finally:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def browser(monkeypatch):
    """What opens addresses; Ctrl-C is heard as in a terminal."""
    opened = Opened()
    monkeypatch.setattr(serve.webbrowser, "open", opened)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield opened
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("words", [one for one in LINES if one[0] not in ELSEWHERE], ids=" ".join)
def test_a_line_opens_an_explorer(words, browser, planted_store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    places = {"store": planted_store / "store", "pool": planted_store / "pool", "net": tmp_path / "net.py"}
    # the demonstration's folder without the minute in which it is made; tests/planted makes it
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "demo").symlink_to(planted_store)
    made = demo.DemoResult((), demo.Turned(1, 1.0, 0.0), 0, 0, 0, (None, None), None, 60.0)
    monkeypatch.setattr(demo, "run", lambda *_, **__: made)
    monkeypatch.setattr(demo, "study_of", lambda folder, seed: study_of(folder))
    assert words[0] == "whyclass"
    ran = whyclass(*(INSTEAD.get(word, word).format(**places) for word in words[1:]), "--port", "0")
    assert (ran.code, browser.problem) == (130, "")
    assert "explorer  http://127.0.0.1:" in ran.out
    assert ("hawk" in browser.page, "could not be opened" in ran.err) == (True, False), ran.err
    with_model = "--model" in words or "demo" in words
    assert ('href="/image"' in browser.page) == with_model  # new questions can be asked
