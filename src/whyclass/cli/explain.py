"""The command that explains one class."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from whyclass.cli import gate
from whyclass.cli.consoles import out
from whyclass.cli.options import Asked, Page, Target, app, page_file, page_of, with_study
from whyclass.errors import ClassError, SettingsError
from whyclass.settings import PICTURES

if TYPE_CHECKING:
    from whyclass.records import Contrast, Explanation
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
    fail_on: gate.FailOn = None,
) -> None:
    """Explain one class: six concepts, their crops, and two tests of them, as a page."""
    from whyclass.report.verdict import verdict

    gate.check(fail_on)
    if page is not None:
        page_file(page)  # refused before anything is computed
    with redirect_stdout(sys.stderr):
        set_pictures(asked.study, pictures, decoder, decoder_weights)
        found = asked.study.explain(target)
        more = _repaired(asked, found) if repair else {}
    place = page or page_of(asked, found.target.name, asked.study.key(found.target.index))
    asked.tell(found, place, {"repair": more} if repair else {})
    if "problem" in more:
        raise ClassError(f"no repair: {more['problem']}")
    if repair and not asked.as_json:
        out.print(escape(more["said"]), highlight=False)
        if "page" in more:
            out.print(f"[bold]page[/]  {escape(more['page'])}", highlight=False)
    gate.close(fail_on, [verdict(found).level])


def set_pictures(study: Study, pictures: str | None, decoder: str | None, weights: Path | None) -> None:
    """Let the study draw pictures; a decoder that no picture is drawn from is refused."""
    from whyclass.models import loading

    if pictures is not None:
        study.settings = replace(study.settings, pictures=pictures)
    if decoder is None and weights is not None:
        raise SettingsError("--decoder-weights came without --decoder; give both, or neither")
    if decoder is not None and study.settings.pictures != "generator":
        raise SettingsError("--decoder came and no pictures are drawn from it; add --pictures generator")
    if decoder is not None:
        study.decoder = loading.decoder(decoder, weights).to(study.split.example.device)


def _repaired(asked: Asked, alone: Explanation) -> dict[str, Any]:
    """What a contrast with the class that won makes of a failed explanation, and its page."""
    from whyclass.records import codec
    from whyclass.report import contrast_text, json_objects

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
        "page": str(found.save(contrast_page(asked, found))),
    }


def contrast_page(asked: Asked, found: Contrast) -> Path:
    """Where the page of a contrast lies."""
    a, b = found.a.explanation.target, found.b.explanation.target
    return page_of(asked, f"{a.name} against {b.name}", asked.study.key(a.index, b.index))
