"""The explorer's addresses, and what answers each."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from importlib.resources import files as package_files
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from whyclass.errors import ClassError, WhyclassError
from whyclass.serve import class_views, job_views, picture_views
from whyclass.serve.explorer import Explorer, explorer_of, failed, viewed
from whyclass.serve.guard import Guard

STATIC = {"explorer.js": "text/javascript", "explorer.css": "text/css"}
"""Files of the application itself, with their types."""

VIEWS = {
    "/": class_views.home,
    "/class/{group}/{index:int}": class_views.one_class,
    "/concept/{group}/{index:int}/{number:int}": class_views.concept,
    "/compare/{group}/{a:int}/{b:int}": class_views.compare,
    "/map/{group}": class_views.concept_map,
    "/picture": picture_views.picture,
    "/at": picture_views.at,
    "/image": picture_views.bring,
    "/jobs": job_views.jobs,
    "/jobs/{id}.json": job_views.job_json,
    "/jobs/{id}": job_views.job,
    "/steer/{group}/{index:int}/{number:int}.json": job_views.steer,
    "/neighbours": picture_views.neighbours,
    "/across/{group}/{index:int}/{number:int}": picture_views.across,
    "/blob/{kind}/{key}/{blob}": picture_views.of_record,
    "/pool/{position:int}.jpg": picture_views.of_pool,
    "/upload/{key}.png": picture_views.of_upload,
    "/heat/{index:int}/{number:int}/{row:int}.png": picture_views.heat,
}
"""What is only looked at."""

RECORDS = ("contrasts", "insertions", "images")
"""Kinds of records that have a page of their own; of any kind there is JSON."""

CHANGES: dict[str, Callable[[Explorer, Request, FormData], Response]] = {
    "/jobs": lambda explorer, request, form: job_views.ask(explorer, form),
    "/jobs/{id}/stop": lambda explorer, request, form: job_views.stop(explorer, request),
    "/jobs/{id}/resume": lambda explorer, request, form: job_views.resume(explorer, request),
    "/concept/{group}/{index:int}/{number:int}": job_views.name,
    "/map/{group}": job_views.gather,
}
"""What changes something."""

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def application(explorer: Explorer) -> ASGIApp:
    """The explorer of a store, with its guard before it."""
    routes = [Route(path, viewed(view), methods=["GET"]) for path, view in VIEWS.items()]
    routes += [Route(path, _changed(change), methods=["POST"]) for path, change in CHANGES.items()]
    routes += [
        Route("/image", _brought, methods=["POST"]),
        Route("/static/{name}", _static, methods=["GET"]),
        Route("/{kind}/{key}.json", viewed(_of_record(class_views.record_json)), methods=["GET"]),
        Route("/{kind}/{key}", viewed(_of_record(class_views.record)), methods=["GET"]),
    ]
    made = Starlette(
        routes=routes, exception_handlers={HTTPException: _no_such_page, Exception: _not_foreseen}
    )
    made.state.explorer = explorer
    return Guard(made, explorer.gate)


def _of_record(view: Callable[[Explorer, Request], Response]) -> Callable[[Explorer, Request], Response]:
    """Nothing but a record's kind and hash goes on."""

    def checked(explorer: Explorer, request: Request) -> Response:
        kind, key = request.path_params["kind"], request.path_params["key"]
        if kind not in (*RECORDS, "explanations", "findings") or not picture_views.HASH.fullmatch(key):
            raise ClassError("there is no such page")
        return view(explorer, request)

    return checked


def _changed(change: Callable[[Explorer, Request, FormData], Response]) -> Handler:
    async def answer(request: Request) -> Response:
        async with request.form(max_files=0, max_fields=20) as form:
            held = FormData(form)

        def act(explorer: Explorer, asked: Request) -> Response:
            return change(explorer, asked, held)

        return await run_in_threadpool(viewed(act), request)

    return answer


async def _brought(request: Request) -> Response:
    explorer = explorer_of(request)
    try:
        data, name = await picture_views.brought_here(explorer, request)
    except WhyclassError as error:
        return failed(explorer, request, str(error), 400)

    def act(explorer: Explorer, asked: Request) -> Response:
        return picture_views.keep(explorer, data, name)

    return await run_in_threadpool(viewed(act), request)


def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in STATIC:
        return failed(explorer_of(request), request, "there is no such file", 404)
    data = (package_files("whyclass.serve") / "static" / name).read_bytes()
    return Response(data, media_type=STATIC[name], headers={"cache-control": "no-cache"})


def _no_such_page(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    said = "there is no such page" if status == 404 else str(getattr(error, "detail", "this cannot be done"))
    return failed(explorer_of(request), request, said, status)


def _not_foreseen(request: Request, error: Exception) -> Response:
    return failed(explorer_of(request), request, f"this failed: {type(error).__name__}: {error}", 500)
