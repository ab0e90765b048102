"""Views of pictures: those in records, of the pool, and that a user brings, and what is said of each."""

from __future__ import annotations

import base64
import re
from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from whyclass.errors import ClassError, DataError, WhyclassError
from whyclass.records import HeatMap, Picture
from whyclass.records.codec import blob
from whyclass.report import page_pictures
from whyclass.serve import brought
from whyclass.serve.class_views import concept_of
from whyclass.serve.explorer import Explorer, number
from whyclass.serve.live import Live
from whyclass.serve.shown import KINDS

HASH = re.compile(r"[0-9a-f]{20}")
BLOB = re.compile(r"[0-9a-f]{24}")

SIDES = (0, 160)
"""Pixels of the longer side at which pictures of the pool are given; 0 is as the model sees them."""

MAGIC = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"RIFF": "image/webp", b"GIF8": "image/gif"}
"""What a picture begins with; nothing else of a record is given out as one."""

FOREVER = {"cache-control": "private, max-age=31536000, immutable"}
"""Of what is named by its content."""


def of_record(explorer: Explorer, request: Request) -> Response:
    """A picture within a record of the store."""
    kind, key, name = (request.path_params[part] for part in ("kind", "key", "blob"))
    if kind not in KINDS or not HASH.fullmatch(key) or not BLOB.fullmatch(name):
        raise ClassError("there is no such picture")
    data = blob(explorer.store.record(kind, key), name)
    mime = next((mime for magic, mime in MAGIC.items() if data.startswith(magic)), None)
    if mime is None:
        raise DataError("this is no picture")
    return Response(data, media_type=mime, headers=FOREVER)


def of_pool(explorer: Explorer, request: Request) -> Response:
    """A picture of the pool as the model sees it, by its place there."""
    side = number(request.query_params.get("side", "0"), 0, max(SIDES), "side")
    if side not in SIDES:
        raise DataError(f"side is {side}; needed is one of {SIDES}")
    picture = explorer.need_live().picture(f"pool:{request.path_params['position']}").copy()
    if side:
        picture.thumbnail((side, side))
    # a pool's file may change under its name
    return Response(
        brought.encoded(picture).data, media_type="image/jpeg", headers={"cache-control": "no-cache"}
    )


def of_upload(explorer: Explorer, request: Request) -> Response:
    """A picture that a user brought."""
    key = request.path_params["key"]
    if not HASH.fullmatch(key):
        raise ClassError("there is no such picture")
    return Response(brought.upload(explorer.store, key).picture.data, media_type="image/png", headers=FOREVER)


def heat(explorer: Explorer, request: Request) -> Response:
    """Where a concept is active on one of its class's images, to be laid over it."""
    parts = request.path_params
    live = explorer.need_live()
    values, _ = live.heat(parts["index"], parts["number"], parts["row"])
    height, width = live.context.preprocessing.crop
    address = page_pictures.overlay(HeatMap(values), Picture(b"", width, height))
    return Response(base64.b64decode(address.partition(",")[2]), media_type="image/png")


def picture(explorer: Explorer, request: Request) -> Response:
    """A whole picture with a place marked, what the model says of it, and a box for the insertion test."""
    live = explorer.need_live()
    given, asked = request.query_params.get("of", ""), request.query_params
    size = live.picture(given).size
    box, top = _box(asked.get("box", ""), size), live.top(live.scores_of(given))
    target = int(asked["for"]) if asked.get("for", "").isdigit() and len(asked["for"]) < 6 else top[0][0]
    group = explorer.catalogue.groups().get(live.group)
    values = {
        "group": live.group,
        "given": given,
        "size": size,
        "box": box,
        "top": top,
        "target": target,
        "names": [(one.index, one.name) for one in live.context.named_classes()],
        "explained": {one.target.index for one in group.classes} if group else set(),
    }
    return explorer.page("picture.html", values | _of_given(explorer, given, target, box))


def _of_given(
    explorer: Explorer, given: str, target: int, box: tuple[int, int, int, int] | None
) -> dict[str, Any]:
    """Where a picture is found, and what is known of it: more of one of the pool."""
    live = explorer.need_live()
    key = given.removeprefix("upload:")
    if key != given:
        called = brought.upload(explorer.store, key).name
        return {"src": f"/upload/{key}.png", "called": called, "source": None, "position": None, "cell": None}
    position = int(given.removeprefix("pool:"))
    return {
        "src": f"/pool/{position}.jpg",
        "called": None,
        "source": live.context.source(position, target),
        "position": position,
        "cell": None if box is None else live.cell_of(position, box),
    }


def at(explorer: Explorer, request: Request) -> Response:
    """The same, by the path that a record tells; only paths of the pool's own images are known."""
    live, asked = explorer.need_live(), request.query_params
    position = live.positions.get(asked.get("path", ""))
    if position is None:
        raise ClassError("the pool has no such picture")
    more = {name: asked[name] for name in ("box", "for") if name in asked}
    return RedirectResponse(f"/picture?{urlencode({'of': f'pool:{position}'} | more)}", 303)


def _box(text: str, size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """A box of an address, on a picture of (width, height); None where there is none."""
    parts = text.split(",")
    if len(parts) != 4 or not all(part.isascii() and part.isdigit() and len(part) < 6 for part in parts):
        return None
    left, top, right, bottom = map(int, parts)
    inside = 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]
    return (left, top, right, bottom) if inside else None


def neighbours(explorer: Explorer, request: Request) -> Response:
    """The places of the pool that are most like a place of an image, as a part of a page."""
    live, asked = explorer.need_live(), request.query_params
    position = number(asked.get("position"), 0, len(live.context.index.items) - 1, "position")
    cell = number(asked["cell"], 0, 10**6, "cell") if asked.get("cell") else None
    return _places(
        explorer, live, live.neighbours(position, cell), "No other image of the pool can be compared."
    )


def across(explorer: Explorer, request: Request) -> Response:
    """The nearest place of each class to a concept, as a part of a page."""
    _, listed = explorer.listed(request)
    _, found = concept_of(explorer, request, listed)
    live = explorer.need_live()
    return _places(explorer, live, live.across(found.found.vector), "No class of the pool can be compared.")


def _places(explorer: Explorer, live: Live, places: list, none: str) -> Response:  # type: ignore[type-arg]
    size, crops = live.context.preprocessing.crop, live.context.crops
    shown = [(place, live.context.source(place.position), place.box(crops, size)) for place in places]
    return explorer.page("places.html", {"group": live.group, "places": shown, "size": size, "none": none})


def bring(explorer: Explorer, request: Request) -> Response:
    """Where a picture is dropped."""
    return explorer.page("bring.html", {"has_live": explorer.live is not None and explorer.live.indexed})


async def brought_here(explorer: Explorer, request: Request) -> tuple[bytes, str]:
    """A form's picture, and what its file was called.

    Raises
    ------
    WhyclassError
        If the form has none.
    """
    async with request.form(max_files=1, max_fields=2) as form:
        found = form.get("picture")
        if not isinstance(found, UploadFile):
            raise WhyclassError("no picture came; choose a file, or drop one")
        return await found.read(), found.filename or ""


def keep(explorer: Explorer, data: bytes, name: str) -> Response:
    """Keep a picture that came, and show it."""
    live = explorer.need_live()
    with live.lock:
        key = brought.keep(explorer.store, data, name, live.study.loaded.preprocessing)
    return RedirectResponse(f"/picture?of=upload:{key}", 303)
