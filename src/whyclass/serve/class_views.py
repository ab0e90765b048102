"""Views of classes and concepts: the list of all, one class, one concept, two classes, the map."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from whyclass import naming
from whyclass.errors import ClassError, WhyclassError
from whyclass.records import Contrast, ImageExplanation, InsertionTest
from whyclass.report import json_objects, page, standings
from whyclass.serve import maps
from whyclass.serve.catalogue import Group, Listed
from whyclass.serve.explorer import Explorer
from whyclass.serve.shown import ShownClass, ShownConcept

SORTS: dict[str, tuple[str, Any]] = {
    "failures": (
        "failures first",
        lambda one: (list(standings.STANDINGS).index(one.level), _sum(one), one.target.index),
    ),
    "name": ("name", lambda one: (one.target.name.lower(), one.target.index)),
    "including": ("score, lowest first", lambda one: (_or(one.including), one.target.index)),
    "excluding": (
        "score without its images, lowest first",
        lambda one: (_or(one.excluding), one.target.index),
    ),
    "images": ("images, fewest first", lambda one: (one.n_images, one.target.index)),
    "q": ("q-value, lowest first", lambda one: (2.0 if one.q is None else one.q, one.target.index)),
}
"""Orders of the first page: what each is called, and what is compared."""


def _or(value: float | None) -> float:
    return -1.0 if value is None else value


def _sum(one: Listed) -> float:
    return (one.including or 0.0) + (one.excluding or 0.0)


def home(explorer: Explorer, request: Request) -> Response:
    """All classes, failures first."""
    groups = explorer.catalogue.groups()
    asked = request.query_params
    name = asked.get("group") if asked.get("group") in groups else explorer.first_group()
    if name is None or name not in groups:
        return explorer.page(
            "home_empty.html", {"indexed": explorer.live is not None and explorer.live.indexed}
        )
    group = groups[name]
    sort = str(asked.get("sort")) if asked.get("sort") in SORTS else "failures"
    ordered = sorted(group.classes, key=SORTS[sort][1])
    words, level = asked.get("words", "")[:80], asked.get("level", "")
    chosen = _chosen(ordered, words.lower(), level)
    values = {"group": name, "groups": groups, "sort": sort, "asked_words": words, "asked_level": level}
    return explorer.page("home.html", values | _listing(explorer, group, ordered, chosen))


def _listing(explorer: Explorer, group: Group, ordered: list[Listed], chosen: set[int]) -> dict[str, Any]:
    """What the first page shows of its classes."""
    labels = {one.level: one.label for one in group.classes}
    by_failure = sorted(group.classes, key=SORTS["failures"][1])
    return {
        "g": group,
        "classes": ordered,
        "chosen": chosen,
        "sorts": {key: said for key, (said, _) in SORTS.items()},
        "ranks": {one.target.index: number for number, one in enumerate(by_failure)},
        "levels": {key: labels[key] for key in standings.STANDINGS if key in labels},
        "counts": {key: sum(one.level == key for one in group.classes) for key in labels},
        "unexplained": _unexplained(explorer, group),
    }


def _chosen(classes: list[Listed], words: str, level: str) -> set[int]:
    """Indexes of the classes that a search finds."""
    return {
        one.target.index for one in classes if (not level or one.level == level) and words in _searched(one)
    }


def _searched(one: Listed) -> str:
    return f"{one.target.name} {one.rival.name if one.rival else ''}".lower()


def _unexplained(explorer: Explorer, group: Group) -> list[tuple[int, str, int]]:
    """Classes of the pool that nothing is known of yet: index, name, images."""
    if not explorer.is_live(group.facts.group):
        return []
    known = {one.target.index for one in group.classes}
    live = explorer.need_live()
    return [
        (one.index, one.name, one.n_images) for one in live.context.named_classes() if one.index not in known
    ]


def one_class(explorer: Explorer, request: Request) -> Response:
    """A class: its concepts large, then its images, then its tests."""
    group, listed = explorer.listed(request)
    return explorer.page("class.html", class_values(explorer, group, listed))


def class_values(explorer: Explorer, group: Group, listed: Listed) -> dict[str, Any]:
    """What templates show of a class."""
    shown = explorer.records.shown_class(listed.kind, listed.key)
    name, target = group.facts.group, listed.target
    live = explorer.is_live(name)
    images: list[tuple[int, int, str, float]] = []
    if live:
        assert explorer.live is not None
        images = _class_images(explorer, target.index)
    mine = [one for one in group.contrasts if target.index in (one.a.index, one.b.index)]
    return {
        "group": name,
        "g": group,
        "listed": listed,
        "c": shown,
        "e": shown.e,
        "target": target,
        "verdict": shown.judged,
        "kept_as": (shown.kind, shown.key),
        "scope": "",
        "images": images,
        "heated": live and _explained(explorer, target.index),
        "contrasts": mine,
        "others": [one.target for one in group.classes if one.target.index != target.index],
        "beside": _beside(group, listed),
    }


def _class_images(explorer: Explorer, target: int) -> list[tuple[int, int, str, float]]:
    """The class's images that are used: row, place in the pool, path, score."""
    live = explorer.need_live()
    with live.lock:
        chosen = live.evidence(target).chosen
        scores = live.context.index.scores(chosen)[:, target]
    items = live.context.index.items
    return [
        (row, int(place), items[int(place)].path, float(score))
        for row, (place, score) in enumerate(zip(chosen, scores, strict=True))
    ]


def _explained(explorer: Explorer, target: int) -> bool:
    return explorer.need_live().evidence(target).factors_file.exists()


def _beside(group: Group, listed: Listed) -> tuple[Listed | None, Listed | None]:
    place = group.classes.index(listed)
    before = group.classes[place - 1] if place else None
    return before, group.classes[place + 1] if place + 1 < len(group.classes) else None


def concept(explorer: Explorer, request: Request) -> Response:
    """A concept: steered, compared with other classes', and named."""
    group, listed = explorer.listed(request)
    shown, found = concept_of(explorer, request, listed)
    live = explorer.is_live(group.facts.group)
    images = _class_images(explorer, listed.target.index) if live else []
    return explorer.page(
        "concept.html",
        {
            "group": group.facts.group,
            "g": group,
            "listed": listed,
            "c": shown,
            "k": found,
            "target": listed.target,
            "images": images,
            "alike": maps.alike(group, listed, found.number),
            "heated": live and _explained(explorer, listed.target.index),
        },
    )


def concept_of(explorer: Explorer, request: Request, listed: Listed) -> tuple[ShownClass, ShownConcept]:
    """The concept that an address names.

    Raises
    ------
    ClassError
        If the class has none of that number.
    """
    shown = explorer.records.shown_class(listed.kind, listed.key)
    wanted = request.path_params["number"]
    found = next((one for one in shown.concepts if one.number == wanted), None)
    if found is None:
        raise ClassError(
            f"“{listed.target.name}” has {len(shown.concepts)} concepts, and none of number {wanted}"
        )
    return shown, found


def compare(explorer: Explorer, request: Request) -> Response:
    """Two classes side by side."""
    group = explorer.group(request.path_params["group"])
    found = []
    for index in (request.path_params["a"], request.path_params["b"]):
        listed = group.listed(index)
        if listed is None:
            raise ClassError("nothing is known of one of these classes yet")
        found.append((listed, explorer.records.shown_class(listed.kind, listed.key)))
    two = {index for one, _ in found for index in [one.target.index]}
    contrasts = [one for one in group.contrasts if {one.a.index, one.b.index} == two]
    return explorer.page(
        "compare.html", {"group": group.facts.group, "g": group, "two": found, "contrasts": contrasts}
    )


def record(explorer: Explorer, request: Request) -> Response:
    """The page of a contrast, of one picture or of an insertion test."""
    kind, key = request.path_params["kind"], request.path_params["key"]
    found = explorer.records.load(kind, key)
    if isinstance(found, Contrast):
        found = naming.with_names(explorer.store, found)
    if not isinstance(found, (Contrast, ImageExplanation, InsertionTest)):
        raise WhyclassError("this is shown on the page of its class")
    template, values = page.template_of(found)
    return explorer.page(template, values | {"kept_as": (kind, key)})


def record_json(explorer: Explorer, request: Request) -> Response:
    """A result for programs, as the command line prints it, with the names that users gave."""
    found = explorer.records.load(request.path_params["kind"], request.path_params["key"])
    if type(found) not in json_objects.KINDS:
        raise WhyclassError("there is no JSON of this result")
    if hasattr(found, "concepts") or isinstance(found, Contrast):
        found = naming.with_names(explorer.store, found)  # type: ignore[type-var]
    return JSONResponse(json_objects.as_object(found))


def concept_map(explorer: Explorer, request: Request) -> Response:
    """All concepts in two dimensions."""
    group = explorer.group(request.path_params["group"])
    made = maps.kept(explorer.store, group.facts.group)
    listed = {one.key: (own, one) for own, one in maps.concepts_of(group)}
    points = (
        [
            (listed[key], float(x), float(y))
            for key, (x, y) in zip(made.keys, made.points, strict=True)
            if key in listed
        ]
        if made
        else []
    )
    return explorer.page(
        "map.html",
        {
            "group": group.facts.group,
            "g": group,
            "points": points,
            "lacking": len(listed) - len(points),
            "named": naming.groups(explorer.store),
            "by_key": listed,
            "labels": {key: naming.label(explorer.store, key).name for key in _labelled(explorer)},
        },
    )


def _labelled(explorer: Explorer) -> list[str]:
    return [file.stem for file in explorer.store.records(naming.LABELS)]
