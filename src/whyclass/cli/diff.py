"""The command that compares two models, or two pools of one."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

from whyclass.addresses import path_or_url
from whyclass.cli.options import Asked, Later, Page, app, page_file, with_options
from whyclass.errors import SettingsError


@app.command()
@with_options
def diff(
    later: Later,
    other_model: Annotated[str | None, typer.Option(help="the second model; default: the first")] = None,
    other_weights: Annotated[Path | None, typer.Option(help="weights of the second model")] = None,
    other_images: Annotated[
        list[Any] | None,
        typer.Option(parser=path_or_url, help="pool of the second; may be given again; default: the same"),
    ] = None,
    other_layer: Annotated[str | None, typer.Option(help="its layer; default: the same")] = None,
    target: Annotated[
        list[str] | None,
        typer.Option("--class", help="name or index; may be given again; default: all that both predict"),
    ] = None,
    page: Page = None,
) -> None:
    """Compare two models, or two pools of one: predictions that changed, concepts that came and went.

    One store holds the results of both.
    """
    from whyclass.store import key_of
    from whyclass.study.compare_models import compare_models

    changes: dict[str, Any] = {
        "model": other_model,
        "weights": other_weights,
        "images": other_images or None,
    }
    changes = {name: value for name, value in changes.items() if value is not None}
    if not changes and other_layer is None:
        raise SettingsError(
            "there is nothing to compare with; give --other-model, --other-weights, --other-images or "
            "--other-layer"
        )
    if "model" in changes:  # another model's weights would not fit
        changes.setdefault("weights", None)
    if page is not None:
        page_file(page)
    with redirect_stdout(sys.stderr):
        first, layer = later.open(), later.given["layer"]
        study = first.study(layer)
        other = later.open(**changes).study(other_layer or layer)
        found = compare_models(study, other, target or None)
    classes = [one.index for one in found.classes]
    key = key_of(asked=[study.key(*classes), other.key(*classes)])
    name = f"{found.model.name} and {found.other_model.name}"
    Asked(study, first.as_json).tell(found, page or study.store.page(name, key), {})
