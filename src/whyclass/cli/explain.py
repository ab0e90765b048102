"""Questions about one class, or about two."""

from __future__ import annotations

import hashlib
import re
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from whyclass.cli.options import Asked, Page, Target, app, with_study
from whyclass.cli.progress_display import out
from whyclass.errors import ClassError, SettingsError
from whyclass.grid import ANCHORS
from whyclass.models import sources
from whyclass.pool import images
from whyclass.records import Contrast, Explanation, codec
from whyclass.report import contrast_text, json_objects, pairs_table
from whyclass.settings import PICTURES
from whyclass.store import key_of
from whyclass.study.study import Study

Drawing = Annotated[
    str | None, typer.Option(help=f"{', '.join(PICTURES)}: also what each concept would itself draw; slow")
]
Decoder = Annotated[
    str | None, typer.Option(help="for generator: path/to/file.py:factory of a decoder z -> pixels")
]
DecoderWeights = Annotated[Path | None, typer.Option(help="its safetensors or weights_only checkpoint")]


@app.command()
@with_study
def explain(
    asked: Asked,
    target: Target,
    pictures: Drawing = None,
    decoder: Decoder = None,
    decoder_weights: DecoderWeights = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="where a prediction test fails, contrast with the class that won")
    ] = False,
    page: Page = None,
) -> None:
    """Explain one class: six concepts, their crops, and two tests of them, as a page."""
    with redirect_stdout(sys.stderr):
        _picture(asked.study, pictures, decoder, decoder_weights)
        found = asked.study.explain(target)
        more = _repaired(asked, found) if repair else {}
    place = page or asked.study.store.page(found.target.name, asked.study.key(found.target.index))
    asked.tell(found, place, {"repair": more} if repair else {})
    if "problem" in more:
        raise ClassError(f"no repair: {more['problem']}")
    if repair and not asked.as_json:
        out.print(escape(more["said"]), highlight=False)
        if "page" in more:
            out.print(f"[bold]page[/]  {escape(more['page'])}", highlight=False)


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
) -> None:
    """Contrast two classes: what speaks for each against the other, tested three ways, as a page."""
    with redirect_stdout(sys.stderr):
        _picture(asked.study, pictures, decoder, decoder_weights)
        found = asked.study.contrast(target, against)
    asked.tell(found, page or _contrast_page(asked, found), {})


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
    file, part = _patch(patch)
    with redirect_stdout(sys.stderr):
        pixels = images.as_patch(file, part, asked.study.loaded.preprocessing.channels)
        found = asked.study.insert(target, against, pixels, at, patch)
    inserted = found.insertion
    key = key_of(
        asked=asked.study.key(found.target.index, found.source.index),
        patch=hashlib.blake2b(inserted.patch.data).hexdigest(),
        box=inserted.box,
    )
    name = f"{found.target.name} into {found.source.name}"
    asked.tell(found, page or asked.study.store.page(name, key), {})


@app.command()
@with_study
def pairs(
    asked: Asked,
    target: Annotated[list[str], typer.Option("--class", help="name or index of a class; give two or more")],
) -> None:
    """The shifting test between all ordered pairs of classes: the paper's table 3, with controls."""
    with redirect_stdout(sys.stderr):
        found = asked.study.pairs(target)
    if asked.as_json:
        asked.print(found, {})
        return
    heading, *lines = pairs_table.lines(found)
    title = escape(f"{found.model.name}, {found.model.layer}")
    table = Table(*heading, title=title, title_justify="left", box=SIMPLE, padding=0, show_edge=False)
    for line in lines:
        table.add_row(*map(escape, line))
    out.print(table)
    for note in pairs_table.notes(found):
        out.print(escape(note), highlight=False)


def _picture(study: Study, pictures: str | None, decoder: str | None, weights: Path | None) -> None:
    """Let the study draw pictures; a decoder that no picture is drawn from is refused."""
    if pictures is not None:
        study.settings = replace(study.settings, pictures=pictures)
    if decoder is None and weights is not None:
        raise SettingsError("--decoder-weights came without --decoder; give both, or neither")
    if decoder is not None and study.settings.pictures != "generator":
        raise SettingsError("--decoder came and no pictures are drawn from it; add --pictures generator")
    if decoder is not None:
        study.decoder = sources.decoder(decoder, weights).to(study.split.example.device)


def _contrast_page(asked: Asked, found: Contrast) -> Path:
    a, b = found.a.explanation.target, found.b.explanation.target
    return asked.study.store.page(f"{a.name} against {b.name}", asked.study.key(a.index, b.index))


def _repaired(asked: Asked, alone: Explanation) -> dict[str, Any]:
    """What a contrast with the class that won makes of a failed explanation, and its page."""
    if alone.rival is None:
        return {"said": "nothing to repair: both prediction tests passed"}
    try:
        found = asked.study.contrast(alone.target.index)
    except ClassError as error:  # the class that won is predicted for no image, or has no cells
        return {"problem": str(error)}
    tests = found.a.prediction_test
    return {
        "said": contrast_text.repair_line(alone, found),
        "against": codec.to_json(found.b.explanation.target),
        "before": json_objects.tests(alone.prediction_test),
        "after": json_objects.tests(tests) if tests else None,
        "page": str(found.save(_contrast_page(asked, found))),
    }


def _patch(text: str) -> tuple[str, tuple[int, int, int, int] | None]:
    """A file, and the part of it that follows the last colon as ``x,y,w,h``."""
    file, colon, numbers = text.rpartition(":")
    if not colon or Path(text).exists() or not re.fullmatch(r"[-\d,\s]+", numbers):
        return text, None
    try:
        x, y, width, height = (int(number) for number in numbers.split(","))
    except ValueError as error:
        raise SettingsError(f"--patch {text}: needed is FILE or FILE:x,y,w,h in whole pixels") from error
    return file, (x, y, width, height)
