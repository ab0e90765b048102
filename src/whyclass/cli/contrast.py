"""Commands about two classes or several: contrast, insert, pairs."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from contextlib import redirect_stdout
from typing import Annotated

import typer
from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from whyclass.cli import gate
from whyclass.cli.consoles import out
from whyclass.cli.engines import Engine, Workers, begun
from whyclass.cli.explain import Decoder, DecoderWeights, Drawing, contrast_page, set_pictures
from whyclass.cli.options import Asked, Page, Target, app, page_file, page_of, with_study
from whyclass.errors import SettingsError
from whyclass.grid import ANCHORS
from whyclass.setting_checks import told


@app.command()
@with_study
def contrast(
    asked: Asked,
    target: Target,
    against: Annotated[
        str | None,
        typer.Option(help="the other class; default: the one that won where --class alone failed its test"),
    ] = None,
    pictures: Drawing = None,
    decoder: Decoder = None,
    decoder_weights: DecoderWeights = None,
    page: Page = None,
    fail_on: gate.FailOn = None,
) -> None:
    """Contrast two classes: what speaks for each against the other, tested three ways, as a page."""
    from whyclass.report.contrast_verdict import verdict

    gate.check(fail_on)
    if page is not None:
        page_file(page)  # refused before anything is computed
    with redirect_stdout(sys.stderr):
        set_pictures(asked.study, pictures, decoder, decoder_weights)
        found = asked.study.contrast(target, against)
    asked.tell(found, page or contrast_page(asked, found), {})
    gate.close(fail_on, [verdict(found).level])


@app.command()
@with_study
def insert(
    asked: Asked,
    target: Target,
    against: Annotated[str, typer.Option(help="the class whose images get the patch")],
    patch: Annotated[str, typer.Option(help="image file, or a part of one: FILE:x,y,w,h")],
    at: Annotated[str, typer.Option(help=f"where: {', '.join(ANCHORS)}")] = "bottom-right",
    page: Page = None,
) -> None:
    """Insert a patch into images of one class: do they become another? Against blank and other crops."""
    from whyclass.models import preprocessing
    from whyclass.store import key_of

    if page is not None:
        page_file(page)
    file, part = _patch(patch)
    with redirect_stdout(sys.stderr):
        pixels = preprocessing.as_patch(file, part, asked.study.loaded.preprocessing.channels)
        found = asked.study.insert(target, against, pixels, at, patch)
    inserted = found.insertion
    key = key_of(
        asked=asked.study.key(found.target.index, found.source.index),
        patch=hashlib.blake2b(inserted.patch.data).hexdigest(),
        box=inserted.box,
    )
    name = f"{found.target.name} into {found.source.name}"
    asked.tell(found, page or page_of(asked, name, key), {})


@app.command()
@with_study
def pairs(
    asked: Asked,
    target: Annotated[list[str], typer.Option("--class", help="name or index of a class; give two or more")],
    engine: Engine = "local",
    workers: Workers = None,
) -> None:
    """The shifting test between all ordered pairs of classes: the paper's table 3, with controls."""
    from whyclass.report import pairs_table

    with redirect_stdout(sys.stderr):
        found = asked.study.pairs(target, **begun(engine, workers))
    if asked.as_json:
        asked.print(found, {})
        return
    heading, *lines = pairs_table.lines(found)
    title = escape(f"{found.model.name}, {found.model.layer}")
    table = Table(*heading, title=title, title_justify="left", box=SIMPLE, padding=0, show_edge=False)
    for line in lines:
        table.add_row(*map(escape, line))
    out.print(table, soft_wrap=False)
    for note in pairs_table.notes(found):
        out.print(escape(note), highlight=False)


def _patch(text: str) -> tuple[str, tuple[int, int, int, int] | None]:
    """A file, and the part of it that follows the last colon as ``x,y,w,h``."""
    file, colon, numbers = text.rpartition(":")
    if not colon or os.path.exists(text) or not re.fullmatch(r"[-\d,\s]+", numbers):
        return text, None
    try:
        x, y, width, height = (int(number) for number in numbers.split(","))
    except ValueError as error:
        raise SettingsError(
            f"--patch {told(text)}: needed is FILE or FILE:x,y,w,h in whole pixels"
        ) from error
    return file, (x, y, width, height)
