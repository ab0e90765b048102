"""Follow every link of the built site to a file and an anchor that are there; no network is asked.

``python scripts/check_links.py [FOLDER]``, by default ``build/site``. Pages that no other page leads to are
told too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

SITE = Path(__file__).resolve().parent.parent / "build" / "site"
MADE = ("genindex.html", "search.html", "py-modindex.html")
"""Pages of Sphinx's own, which its menus lead to."""


@dataclass
class Page(HTMLParser):
    """What a page leads to, and what in it can be led to."""

    links: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=lambda: {"", "top"})

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note links, pictures and anchors of a tag."""
        given = dict(attrs)
        self.links += [value for name in ("href", "src") if (value := given.get(name))]
        self.anchors |= {value for name in ("id", "name") if (value := given.get(name))}


@cache
def read(file: Path) -> Page:
    """A page of the site."""
    page = Page()
    page.feed(file.read_text(encoding="utf-8"))
    return page


def target(file: Path, link: str) -> tuple[Path, str] | None:
    """The file and the anchor that a link leads to; None where that is outside the site."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    place = (file.parent / unquote(parts.path)).resolve() if parts.path else file
    return (place / "index.html" if place.is_dir() else place), unquote(parts.fragment)


def broken(site: Path) -> Iterator[str]:
    """One line for each link that leads nowhere, and for each page that nothing leads to."""
    files = sorted(file for file in site.resolve().rglob("*.html") if "_static" not in file.parts)
    reached = {site.resolve() / "index.html", *(site.resolve() / name for name in MADE)}
    for file in files:
        named = file.relative_to(site.resolve())
        for link in read(file).links:
            if (found := target(file, link)) is None:
                continue
            place, anchor = found
            if not place.is_file():
                yield f"{named}: {link}: there is no such file"
            elif place.suffix == ".html" and anchor not in read(place).anchors:
                yield f"{named}: {link}: there is no such place in it"
            elif place != file:
                reached.add(place)
    for file in files:
        if file not in reached and "_modules" not in file.parts:
            yield f"{file.relative_to(site.resolve())}: no page leads to it"


if __name__ == "__main__":
    wrong = list(dict.fromkeys(broken(Path(sys.argv[1]) if sys.argv[1:] else SITE)))
    for line in wrong:
        print(line)
    sys.exit(bool(wrong))
