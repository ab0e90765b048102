"""Views of long work: asked for, watched, stopped, resumed; and what a browser waits for while it steers."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from whyclass import naming
from whyclass.errors import ClassError, WhyclassError
from whyclass.grid import ANCHORS
from whyclass.serve.brought import GIVEN
from whyclass.serve.class_views import concept_of
from whyclass.serve.explorer import Explorer, number
from whyclass.serve.jobs import Job
from whyclass.serve.live import FURTHEST

STEPS = 41
"""Of a steered curve at most in one request."""


def jobs(explorer: Explorer, request: Request) -> Response:
    """All jobs."""
    return explorer.page("jobs.html", {"jobs": explorer.jobs.all()})


def job(explorer: Explorer, request: Request) -> Response:
    """One job, and what it brought so far."""
    return explorer.page(
        "job.html", {"job": _job(explorer, request), "addresses": _addresses(explorer, request)}
    )


def job_json(explorer: Explorer, request: Request) -> Response:
    """The same for a script."""
    found = _job(explorer, request)
    return JSONResponse(asdict(found) | {"over": found.over, "addresses": _addresses(explorer, request)})


def _job(explorer: Explorer, request: Request) -> Job:
    found = explorer.jobs.get(request.path_params["id"])
    if found is None:
        raise ClassError("there is no such job any more")
    return found


def _addresses(explorer: Explorer, request: Request) -> list[tuple[str, str]]:
    """What a job brought, and where that is shown."""
    return [(one.said, address_of(explorer, one.kind, one.key)) for one in _job(explorer, request).results]


def address_of(explorer: Explorer, kind: str, key: str) -> str:
    """Where a result is shown."""
    if kind == "maps":
        return f"/map/{key}"
    if kind == "explanations":
        for group in explorer.catalogue.groups().values():
            for one in group.classes:
                if one.key == key:
                    return f"/class/{one.group}/{one.target.index}"
    return f"/{kind}/{key}"


def ask(explorer: Explorer, form: FormData) -> Response:
    """Ask for long work."""
    kind = str(form.get("kind", ""))
    if kind not in ASKED:
        raise WhyclassError("there is no such work")
    title, given = ASKED[kind](explorer, {name: str(value) for name, value in form.items()})
    found = explorer.jobs.add(kind, title, given)
    return RedirectResponse(f"/jobs/{found.id}", 303)


def stop(explorer: Explorer, request: Request) -> Response:
    """Stop a job."""
    _job(explorer, request)
    explorer.jobs.cancel(request.path_params["id"])
    return RedirectResponse(f"/jobs/{request.path_params['id']}", 303)


def resume(explorer: Explorer, request: Request) -> Response:
    """Let a job that was stopped go on."""
    _job(explorer, request)
    explorer.jobs.again(request.path_params["id"])
    return RedirectResponse(f"/jobs/{request.path_params['id']}", 303)


Asked = tuple[str, dict[str, Any]]


def _class(explorer: Explorer, form: dict[str, str], name: str) -> tuple[int, str]:
    """A class of a form: its index and name."""
    live = explorer.need_live()
    index = number(form.get(name), 0, live.study.task.classes - 1, "a class")
    return index, live.context.name(index)


def _explain(explorer: Explorer, form: dict[str, str]) -> Asked:
    index, name = _class(explorer, form, "target")
    return f"Explain “{name}”", {"target": index}


def _contrast(explorer: Explorer, form: dict[str, str]) -> Asked:
    (a, first), (b, second) = _class(explorer, form, "target"), _class(explorer, form, "against")
    if a == b:
        raise WhyclassError(f"“{first}” cannot be contrasted with itself; choose two classes")
    return f"Contrast “{first}” with “{second}”", {"target": a, "against": b}


def _insert(explorer: Explorer, form: dict[str, str]) -> Asked:
    (a, first), (b, second) = _class(explorer, form, "target"), _class(explorer, form, "against")
    if a == b:
        raise WhyclassError("choose two classes: what the piece should bring, and one to put it into")
    picture, at = form.get("picture", ""), form.get("at", "bottom-right")
    if not GIVEN.fullmatch(picture):
        raise WhyclassError("there is no such picture")
    if at not in ANCHORS:
        raise WhyclassError(f"there is no such place; choose one of {', '.join(ANCHORS)}")
    numbers = re.findall(r"\d{1,5}", form.get("box", ""))
    if len(numbers) != 4:
        raise WhyclassError("draw a box on the picture first")
    box = [int(text) for text in numbers]
    given = {"classes": [a, b], "picture": picture, "box": box, "at": at}
    return f"Does this piece turn “{second}” into “{first}”?", given


def _image(explorer: Explorer, form: dict[str, str]) -> Asked:
    explorer.need_live()
    picture = form.get("picture", "")
    if not GIVEN.fullmatch(picture):
        raise WhyclassError("there is no such picture")
    return "Which concepts are in this picture?", {"picture": picture}


def _map(explorer: Explorer, form: dict[str, str]) -> Asked:
    return "Draw the map of concepts", {"group": explorer.group(form.get("group", "")).facts.group}


def _index(explorer: Explorer, form: dict[str, str]) -> Asked:
    explorer.need_live()
    return "Look at every image of the pool", {}


def _audit(explorer: Explorer, form: dict[str, str]) -> Asked:
    explorer.need_live()
    return "Explain and test every class", {}


ASKED = {
    "index": _index,
    "audit": _audit,
    "explain": _explain,
    "contrast": _contrast,
    "insert": _insert,
    "image": _image,
    "map": _map,
}
"""What can be asked: from a form to a title and what the work is given."""


# ---------------------------------------------------------------- a concept, steered and named


def steer(explorer: Explorer, request: Request) -> Response:
    """Scores along a concept's direction: ``at`` are steps, ``band`` asks for random directions."""
    _, listed = explorer.listed(request)
    _, found = concept_of(explorer, request, listed)
    if not explorer.is_live(listed.group):
        raise WhyclassError("the open model is not the one that these results are of")
    live, asked = explorer.need_live(), request.query_params
    given = asked.get("of", "all")
    if given != "all" and not GIVEN.fullmatch(given):
        raise WhyclassError("there is no such picture")
    at = _steps(asked.get("at", "0"))
    ask_live = live.random_band if asked.get("band") else live.steered
    return JSONResponse(ask_live(listed.target.index, found.found.vector, given, at))


def _steps(text: str) -> list[float]:
    try:
        found = [float(part) for part in text.split(",")[: STEPS + 1]]
    except ValueError as error:
        raise WhyclassError("steps are needed as numbers, with commas") from error
    if len(found) > STEPS or not all(abs(step) <= FURTHEST for step in found):
        raise WhyclassError(f"needed are at most {STEPS} steps from {-FURTHEST:g} to {FURTHEST:g}")
    return found


def name(explorer: Explorer, request: Request, form: FormData) -> Response:
    """Keep what a user calls a concept."""
    group, listed = explorer.listed(request)
    _, found = concept_of(explorer, request, listed)
    naming.keep_label(explorer.store, found.key, str(form.get("name", "")), str(form.get("note", "")))
    return RedirectResponse(f"/concept/{group.facts.group}/{listed.target.index}/{found.number}", 303)


def gather(explorer: Explorer, request: Request, form: FormData) -> Response:
    """Name a group of concepts on the map."""
    group = explorer.group(request.path_params["group"])
    known = {one.key for listed in group.classes for one in listed.concepts}
    keys = tuple(key for key in str(form.get("keys", "")).split(",") if key in known)
    if not keys and not form.get("remove"):
        raise WhyclassError("mark some concepts first: drag over the map, or choose one after the other")
    naming.keep_group(explorer.store, str(form.get("name", "")), keys)
    return RedirectResponse(f"/map/{group.facts.group}", 303)
