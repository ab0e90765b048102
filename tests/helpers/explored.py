"""A running explorer of a small planted store, and a browser that knows it."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

from helpers.planted_world import quick
from whyclass.planted import demo, world
from whyclass.serve.explorer import Explorer
from whyclass.serve.server import Opener, server
from whyclass.store import find_store
from whyclass.study.study import Study

SECONDS = 60
"""That a test waits for a job at most; the machine may be busy."""


def study_of(folder: Path, **changes: object) -> Study:
    """A quick study of the planted world; by name also for the explorer's worker."""
    settings = (
        quick(controls=20, null_crops=20, tests=("insertion",), plane_starts=0, plane_bootstraps=0)
        if not changes
        else quick(**changes)
    )
    return Study(demo.loaded(), world.LAYER, folder / "pool", folder / "store", settings, progress=False)


def failing(folder: Path) -> Study:
    """A study whose model cannot be opened."""
    raise RuntimeError(f"no model <b>in</b> {folder.name}")


def made(folder: Path, images: int = 8) -> Path:
    """A store with an audit of every class."""
    world.write_pool(folder / "pool", images)
    study_of(folder).audit()
    return folder


@dataclass(frozen=True)
class Running:
    """An explorer and how it is reached."""

    explorer: Explorer
    folder: Path

    @property
    def base(self) -> str:
        """Its address without the secret."""
        return self.explorer.gate.origin

    @property
    def group(self) -> str:
        """Of the results."""
        return self.explorer.first_group() or ""

    def request(
        self, method: str, path: str, body: bytes | dict[str, object] | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """A request of a browser that knows the secret, unless headers say otherwise (``_`` for ``-``)."""
        gate = self.explorer.gate
        usual = {"Host": f"127.0.0.1:{gate.port}", "Cookie": f"{gate.cookie}={gate.secret}"}
        if method == "POST":
            usual |= {"Origin": self.base}
        if isinstance(body, dict):
            body = urlencode(body).encode()
            usual |= {"Content-Type": "application/x-www-form-urlencoded"}
        usual |= {name.replace("_", "-").title(): value for name, value in headers.items()}
        usual = {name: value for name, value in usual.items() if value}
        connection = http.client.HTTPConnection("127.0.0.1", gate.port, timeout=30)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            if body is not None and "Content-Length" not in usual:
                usual["Content-Length"] = str(len(body))
            for name, value in usual.items():
                connection.putheader(name, value)
            connection.endheaders()
            if body is not None:
                with suppress(OSError):  # refused before all was sent
                    connection.send(body)
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def job(self, **form: object) -> str:
        """Ask for a job; its id."""
        status, headers, body = self.request("POST", "/jobs", form)
        assert status == 303, body
        return headers["location"].rpartition("/")[2]

    def ended(self, name: str) -> object:
        """A job, once it is over."""
        until = time.monotonic() + SECONDS
        while not (found := self.explorer.jobs.get(name)).over:
            assert time.monotonic() < until, found
            time.sleep(0.05)
        return found


@contextmanager
def running(folder: Path, opener: Opener | None) -> Iterator[Running]:
    """An explorer of a store that listens until the block is left."""
    with server(find_store(folder / "store"), opener, "127.0.0.1", 0, lambda line: None) as (
        explorer,
        run,
        end,
    ):
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield Running(explorer, folder)
        finally:
            end()
            thread.join(20)


def opener_of(folder: Path) -> Opener:
    """Opens the study of a folder."""
    return partial(study_of, folder)
