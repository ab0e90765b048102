"""A site of static pages from the store of an audit: an index of all classes, and a page for each.

Pages load pictures from files beside them and nothing else; the index has one script, which sorts and
searches its table. Without the script the table is there, failures first.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files as package_files
from typing import Any

from whyclass.errors import RecordError
from whyclass.records import (
    Audit,
    ClassResult,
    Concept,
    Explanation,
    Finding,
    Fit,
    Picture,
    Shifts,
    Source,
    Strip,
)
from whyclass.report import page_pictures, paper_tables, sources_text, verdict
from whyclass.report import table_formats as tabular
from whyclass.report.page import rendered
from whyclass.report.standings import JUDGED, STANDINGS, Standing, judged, names_of, standing
from whyclass.settings import CONCEPTS_BY
from whyclass.store import Store, safe_name

BINS = 20
"""Of a distribution of scores."""

MANY = (1, 2, 5, 10, 30, 60)
"""Upper ends of the groups of classes by number of images."""

SUFFIXES = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp", "image/gif": "gif"}


@dataclass(frozen=True)
class Line:
    """A class in the index."""

    found: ClassResult
    standing: Standing
    page: str
    thumbnail: Shown | None


@dataclass(frozen=True)
class Shown:
    """A picture of the site: its file beside the page, and its size in pixels."""

    src: str
    width: int
    height: int


@dataclass(frozen=True)
class ShownStrip:
    """A strip with the spots it shows."""

    strip: Strip
    picture: Shown


def files(
    store: Store, audits: Sequence[Audit], advance: Callable[[int], None] = lambda done: None, more: str = ""
) -> Iterator[tuple[str, bytes]]:
    """Path below the site's folder and content of each file, one after the other.

    ``more`` is where the site's page of other results is, where there is one.

    Raises
    ------
    RecordError
        If a finding is damaged.
    """
    folders = _folders(audits)
    for audit, folder in zip(audits, folders, strict=True):
        lines: list[Line] = []
        for number, result in enumerate(audit.classes):
            finding = Finding.load(store.folder / "findings" / result.file)
            before, _, after = [None, *audit.classes, None][number : number + 3]
            made = _class_files(finding, result, (before, after), _shifts(audit, result))
            for name, data in made.files:
                yield f"{folder}/{name}", data
            lines.append(made.line)
            advance(1)
        yield f"{folder}/index.html", _index(audit, lines, len(audits) > 1).encode()
    yield "index.html", _front(audits, folders, more).encode()


def script() -> str:
    """The index's one script."""
    return (package_files("whyclass.report") / "templates" / "site.js").read_text(encoding="utf-8")


def policy() -> str:
    """Content security policy of the index: its own script by its hash, and pictures beside it."""
    digest = base64.b64encode(hashlib.sha256(script().encode()).digest()).decode()
    return f"{POLICY}; script-src 'sha256-{digest}'"


POLICY = (
    "default-src 'none'; img-src 'self' file: data:; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'"
)


def histogram(scores: Sequence[float]) -> list[int]:
    """How many scores fall into each of ``BINS`` equal parts of 0 to 1."""
    counts = [0] * BINS
    for score in scores:
        counts[min(BINS - 1, max(0, int(score * BINS)))] += 1
    return counts


def by_images(audit: Audit) -> list[tuple[str, int, tuple[float, float | None]]]:
    """Groups of classes by number of images: name, how many, shares passing with and without their images."""
    groups, least = [], 1
    for most in (*MANY, None):
        own = [
            one
            for one in audit.classes
            if least <= one.n_images <= (most or one.n_images) and one.including is not None
        ]
        if own:
            name = _span(least, most)
            with_, without = (_share(own, "including"), _share(own, "excluding"))
            assert with_ is not None
            groups.append((name, len(own), (with_, without)))
        least = (most or least) + 1
    return groups


def _span(least: int, most: int | None) -> str:
    if most is None:
        return f"over {least - 1}"
    return f"{most}" if least == most else f"{least} to {most}"


def _share(own: Sequence[ClassResult], kind: str) -> float | None:
    tests = [test for test in (getattr(one, kind) for one in own) if test is not None]
    return sum(test.predicted for test in tests) / len(tests) if tests else None


def _folders(audits: Sequence[Audit]) -> list[str]:
    """A folder for each audit, named by layer and other method; numbered where several have the same."""
    names: list[str] = []
    wanted = [
        safe_name(" ".join(filter(None, (one.model.layer, one.settings.get(CONCEPTS_BY)))), "layer")
        for one in audits
    ]
    # a layer may be called what another one's number makes of it, and some systems know no capitals
    taken = {name.lower() for name in wanted}
    for number, name in enumerate(wanted, 1):
        if name.lower() in (other.lower() for other in names):
            free = (f"{name}-{n}" for n in range(number, 2 * len(wanted) + number + 1))
            name = next(one for one in free if one.lower() not in taken)
            taken.add(name.lower())
        names.append(name)
    return names


@dataclass(frozen=True)
class _Made:
    files: list[tuple[str, bytes]]
    line: Line


def _shifts(audit: Audit, result: ClassResult) -> list[Shifts]:
    """Tests of pairs whose images are those of a class."""
    return [shift for shift in audit.shifts if shift.source.index == result.target.index and shift.pairs]


class _PictureFiles:
    """Pictures of a class's page, as files beside it, in the order in which they are shown."""

    def __init__(self, index: int) -> None:
        self.folder = f"img/{index}"
        self.files: list[tuple[str, bytes]] = []

    def shown(self, picture: Picture | None, name: str) -> Shown | None:
        if picture is None:
            return None
        if picture.mime not in page_pictures.MIMES:
            raise RecordError(f"a picture is of type {picture.mime!r}, which no page shows")
        src = f"{self.folder}/{name}.{SUFFIXES[picture.mime]}"
        self.files.append((src, picture.data))
        return Shown(src, picture.width, picture.height)

    def strip(self, found: Strip | None, name: str) -> ShownStrip | None:
        picture = self.shown(found.picture, name) if found else None
        return ShownStrip(found, picture) if found and picture else None


def _class_files(
    finding: Finding, result: ClassResult, beside: Sequence[ClassResult | None], shifts: Sequence[Shifts]
) -> _Made:
    """The page of a class and its pictures; names of files are made of numbers and safe letters alone."""
    pictures, tests = _PictureFiles(finding.target.index), finding.prediction_test
    scope: dict[str, Any] = {
        "f": finding,
        "shifts": shifts,
        "previous": beside[0],
        "next": beside[1],
        "page_of": page_name,
        "policy": POLICY,
        "examples": [
            (one, pictures.shown(one.picture, f"example{number}"))
            for number, one in enumerate(finding.examples, 1)
        ],
        "strips": [
            (pictures.strip(one.including, f"c{number}"), pictures.strip(one.excluding, f"c{number}-other"))
            for number, one in enumerate(finding.concepts, 1)
        ],
    }
    if tests is not None:
        alone = explanation(finding, result)
        scope |= {
            "e": alone,
            "judged": judged(result),
            "target": finding.target,
            "verdict": verdict.verdict(alone),
            "stitched": [
                pictures.shown(test.picture, name) if test else None
                for test, name in (
                    (tests.including, "stitched"),
                    (tests.excluding, "stitched-other"),
                    (tests.unlabelled, "stitched-unlabelled"),
                )
            ],
            "whence": [*(sources_text.line(own, finding.target) for own in _sources(finding)), ""],
        }
    line = Line(result, standing(result), page_name(result), pictures.shown(finding.thumbnail, "best"))
    name = "site_class.html" if tests else "site_unexplained.html"
    page = (page_name(result), rendered(name, scope).encode())
    return _Made([*pictures.files, page], line)


def _sources(finding: Finding) -> list[list[Source]]:
    """The images that the best crops of both tests come from."""
    strips = zip(*((one.including, one.excluding) for one in finding.concepts), strict=True)
    return [[strip.spots[0].image for strip in own if strip] for own in strips]


def page_name(found: ClassResult) -> str:
    """File of a class's page."""
    return f"{found.target.index}-{safe_name(found.target.name, 'class')}.html"


def explanation(finding: Finding, result: ClassResult | None = None) -> Explanation:
    """A finding as an explanation without crops and images, so that the same words are said of both.

    With the ``result`` of an audit its nulls are those of all classes.

    Raises
    ------
    RecordError
        If the class could not be explained.
    """
    if finding.prediction_test is None:
        raise RecordError(f"{finding.target.name!r} was not explained: {finding.problem}")
    tests = finding.prediction_test
    for name in ("including", "excluding"):
        own, over_all = getattr(tests, name), getattr(result, name, None)
        if own and over_all:
            tests = replace(tests, **{name: replace(own, nulls=over_all.nulls)})
    return Explanation(
        model=finding.model,
        pool=finding.pool,
        target=finding.target,
        n_images=finding.n_images,
        n_predicted=finding.n_predicted,
        images=(),
        concepts=tuple(
            Concept(one.vector, one.share, (), (), (), None, one.contribution, one.stability)
            for one in finding.concepts
        ),
        prediction_test=tests,
        rival=finding.rival,
        completeness=finding.completeness,
        warnings=finding.warnings,
        settings=finding.settings,
        versions=finding.versions,
        refits=finding.refits,
        fit=Fit(finding.residual, finding.converged),
    )


def _index(audit: Audit, lines: Sequence[Line], several: bool) -> str:
    order = list(STANDINGS)

    def rank(line: Line) -> tuple[int, float, int]:
        tests = (line.found.including, line.found.excluding)
        score = sum(test.score for test in tests if test)
        return order.index(line.standing), score, line.found.target.index

    scores = {
        name: [test.score for test in (getattr(one, kind) for one in audit.classes) if test is not None]
        for name, kind in (("with the class's images", "including"), ("without them", "excluding"))
    }
    return rendered(
        "site_index.html",
        {
            "a": audit,
            "lines": sorted(lines, key=rank),
            "standings": names_of(audit),
            "judged": names_of(audit) is JUDGED,
            "counts": {key: sum(line.standing == key for line in lines) for key in STANDINGS},
            "tables": [(table, tabular) for table in paper_tables.made([audit])],
            "histograms": [(name, histogram(found), len(found)) for name, found in scores.items() if found],
            "groups": by_images(audit),
            "several": several,
            "policy": policy(),
        },
    )


def _front(audits: Sequence[Audit], folders: Sequence[str], more: str) -> str:
    scope = {
        "audits": list(zip(audits, folders, strict=True)),
        "tables": [(table, tabular) for table in paper_tables.made(audits)],
        "policy": POLICY,
        "more": more,
    }
    return rendered("site_front.html", scope)
