"""What all views of the explorer share: the store with its lists, the open model, and the jobs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from whyclass.errors import ClassError, StoreError, WhyclassError
from whyclass.serve.catalogue import Catalogue, Group, Listed
from whyclass.serve.guard import Gate
from whyclass.serve.jobs import Jobs
from whyclass.serve.live import Live
from whyclass.serve.shown import Records, rendered
from whyclass.store import Store


@dataclass(frozen=True)
class Explorer:
    """A store that is explored.

    Attributes
    ----------
    live
        The open model; None where the store is only looked at.
    problem
        Why there is none where there should be one.
    """

    store: Store
    catalogue: Catalogue
    records: Records
    jobs: Jobs
    gate: Gate
    live: Live | None
    problem: str = ""
    told: list[str] = field(default_factory=list)

    def group(self, name: str) -> Group:
        """All of one model, layer, pool and settings.

        Raises
        ------
        ClassError
            If the store holds no such results.
        """
        found = self.catalogue.groups().get(name)
        if found is None:
            raise ClassError("the store holds no such results; the first page lists those that it holds")
        return found

    def listed(self, request: Request) -> tuple[Group, Listed]:
        """The class that an address names."""
        group = self.group(request.path_params["group"])
        found = group.listed(request.path_params["index"])
        if found is None:
            raise ClassError("nothing is known of this class here yet; the first page lists what is")
        return group, found

    def is_live(self, group: str) -> bool:
        """Whether the open model is what made these results."""
        return self.live is not None and self.live.indexed and self.live.group == group

    def first_group(self) -> str | None:
        """Shown where none is asked for: the open model's, or that of most classes."""
        groups = self.catalogue.groups()
        if self.live is not None and self.live.indexed and self.live.group in groups:
            return self.live.group
        return next(iter(groups), None)

    def need_live(self) -> Live:
        """The open model.

        Raises
        ------
        WhyclassError
            If there is none.
        """
        if self.live is None:
            why = (
                f": {self.problem}"
                if self.problem
                else "; start whyclass serve with --model, --layer, --images"
            )
            raise WhyclassError(f"no model is open{why}")
        return self.live

    def page(self, template: str, values: dict[str, Any], status: int = 200) -> Response:
        """A page in the explorer's frame."""
        group = values.get("group") or self.first_group()
        frame = {
            "frame_group": group,
            "frame_jobs": [job for job in self.jobs.all() if not job.over],
            "frame_problem": self.problem,
            "has_model": self.live is not None,
            "live": self.live is not None and group is not None and self.is_live(group),
        }
        return HTMLResponse(rendered(template, frame | values), status)


View = Callable[[Explorer, Request], Response]


def explorer_of(request: Request) -> Explorer:
    """The explorer whose request it is."""
    return request.app.state.explorer  # type: ignore[no-any-return]


def viewed(view: View) -> Callable[[Request], Response]:
    """A view as the server calls it: what is wrong is one sentence, and not a trace."""

    def answer(request: Request) -> Response:
        explorer = explorer_of(request)
        try:
            explorer.store.check()
            return view(explorer, request)
        except WhyclassError as error:
            return failed(explorer, request, str(error), 404 if isinstance(error, ClassError) else 400)

    return answer


def failed(explorer: Explorer, request: Request, why: str, status: int) -> Response:
    """What went wrong, as a page or, to a script, as JSON."""
    try:
        explorer.store.check()
    except StoreError as error:
        why, status = str(error), 410
    if request.url.path.endswith(".json"):
        return JSONResponse({"problem": why}, status)
    values: dict[str, Any] = {"why": why, "frame_jobs": [], "frame_problem": "", "frame_group": None}
    return HTMLResponse(rendered("failed.html", values | {"has_model": False, "live": False}), status)


def number(text: str | None, least: int, most: int, what: str) -> int:
    """A whole number of a form.

    Raises
    ------
    WhyclassError
        If it is none, or out of range.
    """
    if text is None or not text.isascii() or not text.removeprefix("-").isdigit() or len(text) > 9:
        raise WhyclassError(f"{what} is needed as a whole number")
    if not least <= int(text) <= most:
        raise WhyclassError(f"{what} is {text}; needed is {least} to {most}")
    return int(text)
