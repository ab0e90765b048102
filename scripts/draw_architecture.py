"""Draw ``docs/architecture.svg``: the floors of the house and which uses which, from the imports.

``PYTHONPATH=tests python scripts/draw_architecture.py`` when ``tests/test_architecture_map.py`` says so.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterable
from html import escape
from itertools import pairwise
from pathlib import Path

from test_house import FILES, FLOOR, FLOORS, MODULES, NAMES, imports, owner

OUT = Path(__file__).parents[1] / "docs" / "architecture.svg"

COLUMNS = {
    "cli": (0, 4),
    "serve": (0, 1),
    "planted": (2, 4),
    "study": (0, 4),
    "concepts": (0, 0),
    "report": (1, 1),
    "attribution": (2, 2),
    "visualise": (3, 3),
    "checks": (2, 2),
    "pool": (2, 3),
    "store merging naming": (1, 2),
    "models": (3, 4),
    "records": (0, 2),
    FLOORS[0]: (0, 4),
}
"""First and last column of each floor's box, chosen so that every arrow is a straight line downwards.

Rows follow from the imports; where no straight line is left, this table has to change."""

COLUMN, ACROSS, DOWN, EDGE = 196, 14, 30, 12
"""Width of a column, spaces between boxes, and the margin."""

LINE, CHARACTER, INSIDE = 16, 6.8, 12
"""Height of a line of text, width of its widest usual character, and the space around it in a box."""

STYLE = (
    "text{font:12px 'DejaVu Sans',Verdana,sans-serif;fill:#333}"
    ".name{font-weight:bold;font-size:14px;fill:#111}"
    "rect{fill:#eef3f8;stroke:#14558f}"
    ".house{fill:#fff;stroke:none}"
    "path{stroke:#14558f;stroke-width:1.5;fill:none;marker-end:url(#tip)}"
    ".part{stroke-width:.5;marker-end:none}"
)

Uses = dict[str, set[str]]


def uses() -> Uses:
    """The floors that each floor imports from, besides itself."""
    found: Uses = {floor: set() for floor in FLOORS}
    for file in MODULES:
        mine = FLOOR[owner(file)]
        others = {FLOOR[owner(NAMES[name])] for name in imports(file)}
        found[FLOORS[mine]] |= {FLOORS[other] for other in others if other != mine}
    return found


def reduced(all_uses: Uses) -> Uses:
    """Without those that follow from others (transitive reduction)."""

    def below(floor: str) -> set[str]:
        return all_uses[floor].union(*(below(used) for used in all_uses[floor]))

    return {
        floor: {one for one in used if not any(one in below(other) for other in used)}
        for floor, used in all_uses.items()
    }


def rows(arrows: Uses) -> dict[str, int]:
    """Row of each floor from the top, 0, downwards: just below the lowest that uses it."""
    found: dict[str, int] = {}
    for floor in reversed(FLOORS):  # all that use a floor stand above it
        found[floor] = max((found[user] + 1 for user, used in arrows.items() if floor in used), default=0)
    return found


def column(upper: str, lower: str, row: dict[str, int]) -> int:
    """The column in which an arrow leads straight down, past no other box."""
    between = [floor for floor in FLOORS if row[upper] < row[floor] < row[lower]]
    taken = {one for floor in between for one in _columns(floor)}
    free = [one for one in _columns(upper) if one in _columns(lower) and one not in taken]
    if not free:
        raise SystemExit(f"no straight line from {upper} to {lower}: change COLUMNS in {__file__}")
    return free[len(free) // 2]


def _columns(floor: str) -> range:
    first, last = COLUMNS[floor]
    return range(first, last + 1)


def _left(number: int) -> int:
    return EDGE + number * (COLUMN + ACROSS)


def _width(floor: str) -> int:
    return len(_columns(floor)) * (COLUMN + ACROSS) - ACROSS


def about(name: str) -> str:
    """What a folder or file says of itself in its first line."""
    file = f"{name}.py" if f"{name}.py" in FILES else f"{name}/__init__.py"
    return (ast.get_docstring(ast.parse(FILES[file])) or "").partition("\n")[0]


def _lines(name: str, width: int) -> list[str]:
    return textwrap.wrap(about(name), int((width - 2 * INSIDE) / CHARACTER))


def _parts(floor: str) -> Iterable[tuple[str, list[str]]]:
    """The folder of a floor, or each of its files, with the lines of what it says."""
    names = floor.split()
    for name in names:
        yield name, _lines(name, _width(floor) // len(names))


def drawing() -> str:
    """The picture as SVG, the same bytes for the same imports and first lines."""
    arrows = reduced(uses())
    row = rows(arrows)
    heights = [0] * (max(row.values()) + 1)
    for floor in FLOORS:
        most = max(len(lines) for _, lines in _parts(floor))
        heights[row[floor]] = max(heights[row[floor]], LINE * (most + 1) + 2 * INSIDE)
    tops = [EDGE]
    for height in heights:
        tops.append(tops[-1] + height + DOWN)
    width, height = 2 * EDGE + _width(FLOORS[0]), tops[-1] - DOWN + EDGE
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        "<title>Floors of the house: a box uses those that its arrows lead to</title>",
        f"<style>{STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" '
        'orient="auto"><polygon points="0,0 8,4 0,8" fill="#14558f"/></marker></defs>',
        f'<rect class="house" width="{width}" height="{height}"/>',
    ]
    for floor in reversed(FLOORS):
        drawn += _box(floor, tops[row[floor]], heights[row[floor]])
        for used in sorted(arrows[floor], key=FLOORS.index):
            x = _left(column(floor, used, row)) + COLUMN // 2
            drawn.append(f'<path d="M{x} {tops[row[floor]] + heights[row[floor]]}V{tops[row[used]]}"/>')
    return "\n".join([*drawn, "</svg>\n"])


def _box(floor: str, top: int, height: int) -> Iterable[str]:
    left, width = _left(COLUMNS[floor][0]), _width(floor)
    yield f'<rect x="{left}" y="{top}" width="{width}" height="{height}" rx="4"/>'
    parts = list(_parts(floor))
    lefts = [left + number * width // len(parts) for number in range(len(parts) + 1)]
    for (name, lines), (start, end) in zip(parts, pairwise(lefts), strict=True):
        if start > left:
            yield f'<path class="part" d="M{start} {top}v{height}"/>'
        middle, y = (start + end) // 2, top + INSIDE + LINE - 4
        kind = ".py" if f"{name}.py" in FILES else "/"
        yield f'<text class="name" x="{middle}" y="{y}" text-anchor="middle">{name}{kind}</text>'
        for number, line in enumerate(lines, 1):
            place = f'x="{middle}" y="{y + LINE * number}" text-anchor="middle"'
            yield f"<text {place}>{escape(line, quote=False)}</text>"


def main() -> None:
    """Write the picture."""
    OUT.write_text(drawing(), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
