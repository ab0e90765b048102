"""Pages of what a store holds besides audits: each explanation and contrast, pairs side by side, an index.

Each page is complete in itself as if it were alone, but for links to the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whyclass import naming
from whyclass.errors import RecordError, StoreError
from whyclass.records import Contrast, Explanation, Prediction
from whyclass.report import contrast_verdict, verdict
from whyclass.report.page import rendered, template_of
from whyclass.report.page_pictures import once
from whyclass.settings import Settings, plain
from whyclass.store import Store, key_in, safe_name

INDEX = "results.html"

Link = tuple[str, str]
"""What is said of a page, and its address."""


@dataclass(frozen=True)
class _Kept:
    """A result as the index lists it."""

    file: Path
    page: str
    title: str
    where: str
    differs: str
    level: verdict.Level
    label: str
    line: str
    classes: tuple[Prediction, ...]
    group: tuple[str, str, str, str]


def files(store: Store, tell: Callable[[str], None] = lambda line: None) -> Iterator[tuple[str, bytes]]:
    """Path below the site's folder and content of each page; none where the store holds no such result."""
    explained = list(_listed(store, "explanations", Explanation, tell))
    contrasted = list(_listed(store, "contrasts", Contrast, tell))
    if not explained and not contrasted:
        return
    for one in explained:
        yield one.page, _page(store, one, Explanation, _links_of_class(one, contrasted)).encode()
    for one in contrasted:
        yield one.page, _page(store, one, Contrast, _links_of_contrast(one, explained)).encode()
        if two := _sides(one, explained):
            yield _beside(one), _side_by_side(store, one, two).encode()
    values = {"explained": explained, "contrasted": contrasted, "beside": _beside}
    values["pairs"] = [one for one in contrasted if _sides(one, explained)]
    yield INDEX, rendered("store_index.html", values).encode()


def differing(settings: dict[str, Any]) -> str:
    """The settings that are none of the defaults, as a name tells them: ``copies=2, seed=1``."""
    usual = plain(Settings())
    changed = [
        f"{name}={value}" for name, value in sorted(settings.items()) if usual.get(name, value) != value
    ]
    return ", ".join(changed[:3])


def _listed(
    store: Store, kind: str, record: type[Explanation] | type[Contrast], tell: Callable[[str], None]
) -> Iterator[_Kept]:
    for file in store.records(kind):
        try:
            found = record.load(file, (key_in(file), ""))
        except (RecordError, StoreError) as error:
            tell(f"left out, since {error}")
            continue
        yield _of_explanation(file, found) if isinstance(found, Explanation) else _of_contrast(file, found)


def _of_explanation(file: Path, found: Explanation) -> _Kept:
    judged = verdict.verdict(found)
    said = (judged.level, verdict.LABELS[judged.level], verdict.one_line(found.prediction_test))
    return _kept(file, found, f"Why “{found.target.name}”?", said, (found.target,))


def _of_contrast(file: Path, found: Contrast) -> _Kept:
    judged = contrast_verdict.verdict(found)
    a, b = found.a.explanation.target, found.b.explanation.target
    said = (judged.level, contrast_verdict.LABELS[judged.level], "")
    return _kept(file, found, f"Why “{a.name}” and not “{b.name}”?", said, (a, b))


def _kept(
    file: Path,
    found: Explanation | Contrast,
    title: str,
    said: tuple[verdict.Level, str, str],
    classes: tuple[Prediction, ...],
) -> _Kept:
    names = " against ".join(one.name for one in classes)
    differs = differing(found.settings)
    # a page's name says what differs: class, layer, settings; the key's start keeps two alike apart
    parts = (safe_name(names, "class"), safe_name(found.model.layer, "layer"), safe_name(differs, ""))
    name = "-".join([*(part for part in parts if part), file.stem[:8]])
    where = f"{found.model.name}, {found.model.layer}"
    group = (found.model.weights, found.model.layer, found.pool.digest, differs)
    return _Kept(file, f"{file.parent.name}/{name}.html", title, where, differs, *said, classes, group)


def _page(store: Store, one: _Kept, record: type[Explanation] | type[Contrast], links: Sequence[Link]) -> str:
    found = naming.with_names(store, record.load(one.file))
    template, values = template_of(found)
    return once(rendered(template, values | {"links": [("All results", f"../{INDEX}"), *links]}))


def _links_of_class(one: _Kept, contrasted: Sequence[_Kept]) -> list[Link]:
    target = one.classes[0].index
    mine = [c for c in contrasted if c.group == one.group and target in [k.index for k in c.classes]]
    return [(c.title, f"../{c.page}") for c in mine]


def _links_of_contrast(one: _Kept, explained: Sequence[_Kept]) -> list[Link]:
    sides = _sides(one, explained)
    alone = [(e.title, f"../{e.page}") for e in sides or ()]
    return [*alone, ("Side by side", f"../{_beside(one)}")] if sides else alone


def _sides(one: _Kept, explained: Sequence[_Kept]) -> tuple[_Kept, _Kept] | None:
    """The explanations of both classes of a contrast, where both are there."""
    found = [
        next((e for e in explained if e.group == one.group and e.classes[0].index == k.index), None)
        for k in one.classes
    ]
    return (found[0], found[1]) if found[0] and found[1] else None


def _beside(one: _Kept) -> str:
    return f"beside/{Path(one.page).name}"


def _side_by_side(store: Store, one: _Kept, two: tuple[_Kept, _Kept]) -> str:
    shown = [naming.with_names(store, Explanation.load(side.file)) for side in two]
    links = [("All results", f"../{INDEX}"), (one.title, f"../{one.page}")]
    links += [(side.title, f"../{side.page}") for side in two]
    return rendered(
        "side_by_side.html", {"two": list(zip(two, shown, strict=True)), "links": links, "e": shown[0]}
    )
