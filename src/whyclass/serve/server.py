"""Starts the explorer: opens the store and the model, listens on this machine alone, and ends in order."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from whyclass.errors import SettingsError, WhyclassError
from whyclass.serve.app import application
from whyclass.serve.catalogue import Catalogue
from whyclass.serve.explorer import Explorer
from whyclass.serve.guard import Gate, check_host
from whyclass.serve.jobs import Jobs
from whyclass.serve.live import Live
from whyclass.serve.shown import Records
from whyclass.store import Store
from whyclass.study.study import Study

Opener = Callable[[], Study]
"""Opens the study; known by name, since a process of its own calls it too."""

GRACE = 3
"""Seconds that browsers have to end what they ask for when the server ends."""


def explorer_of_store(
    store: Store, opener: Opener | None, gate: Gate, tell: Callable[[str], None] = lambda line: None
) -> Explorer:
    """The explorer of a store, and of the study that is opened for it.

    A model that cannot be opened leaves the store to be looked at; why is told on every page.
    """
    live, problem = None, ""
    if opener is not None:
        try:
            live = Live(opener())
        except WhyclassError as error:
            problem = str(error)
        except Exception as error:  # whatever a model's own code raises
            problem = f"{type(error).__name__}: {error}"
    catalogue = Catalogue(store, tell)
    catalogue.groups()  # read before the first browser comes
    if live is not None and live.indexed:
        _ = live.context, live.group  # likewise
    jobs = Jobs(store, opener if live is not None else None)
    return Explorer(store, catalogue, Records(store), jobs, gate, live, problem)


def listening(host: str, port: int) -> socket.socket:
    """A socket of this machine alone; port 0 takes one that is free.

    Raises
    ------
    SettingsError
        If the host is another one, or the port is taken.
    """
    check_host(host)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
        found.listen(128)  # a browser may come before the server runs
    except OSError as error:
        found.close()
        raise SettingsError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another --port"
        ) from error
    return found


@contextmanager
def server(
    store: Store, opener: Opener | None, host: str, port: int, tell: Callable[[str], None]
) -> Iterator[tuple[Explorer, Callable[[], None], Callable[[], None]]]:
    """An explorer that is ready to run: itself, what runs it until it ends, and what lets it end."""
    bound = listening(host, port)
    try:
        gate = Gate(host, bound.getsockname()[1])
        explorer = explorer_of_store(store, opener, gate, tell)
        options: dict[str, Any] = {"log_level": "critical", "access_log": False, "lifespan": "off"}
        made = uvicorn.Server(
            uvicorn.Config(
                application(explorer),
                timeout_graceful_shutdown=GRACE,
                server_header=False,
                h11_max_incomplete_event_size=32 << 10,
                **options,
            )
        )

        def end() -> None:
            made.should_exit = True

        try:
            yield explorer, lambda: made.run([bound]), end
        finally:
            explorer.jobs.close()
    finally:
        bound.close()
