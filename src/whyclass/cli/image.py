"""The command that explains images, one by one, by the concepts of their classes."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whyclass.cli.consoles import out, say
from whyclass.cli.options import Asked, Page, app, page_file, with_study
from whyclass.errors import SettingsError

if TYPE_CHECKING:
    from whyclass.records import ImageExplanation


@app.command()
@with_study
def image(
    asked: Asked,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="images, in the pool or not")],
    target: Annotated[
        str | None, typer.Option("--class", help="name or index of the class; default: what is predicted")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(help="the other class; default: what the image is labelled as, or the runner-up"),
    ] = None,
    tests: Annotated[
        bool, typer.Option(help="remove concepts, and seek the smallest set that swaps the prediction")
    ] = True,
    page: Page = None,
) -> None:
    """Explain images: which concepts of a class are where, what each counts, and what would have to change.

    With --json one object is printed, whose "images" hold one for each file.
    """
    if page is not None:
        page_file(page)
        if len(files) > 1:
            raise SettingsError(f"--page is one file, and {len(files)} images came; leave it out")
    with redirect_stdout(sys.stderr):
        found = asked.study.explain_images(files, target, against, tests=tests)
    if not asked.as_json:
        for one in found:
            asked.tell(one, page or image_page(asked, one), {})
        return
    from whyclass.report import json_objects

    with asked.study.progress.step("page"):
        pages = [str(one.save(page_file(page or image_page(asked, one)))) for one in found]
    objects = [json_objects.as_object(one) | {"page": page} for one, page in zip(found, pages, strict=True)]
    seconds = {name: round(value, 3) for name, value in asked.study.progress.seconds.items()}
    say("images", {"images": objects, "seconds": seconds})


@app.command()
@with_study
def spurious(
    asked: Asked,
    target: Annotated[
        list[str] | None,
        typer.Option("--class", help="name or index; may be given again; default: all that are predicted"),
    ] = None,
) -> None:
    """Concepts that raise their class in images without it, ranked: shortcuts come first.

    An audit of the same store saves most of the work.
    """
    from whyclass.report.terminal import terminal

    with redirect_stdout(sys.stderr):
        found = asked.study.spurious(target or None)
    if asked.as_json:
        asked.print(found, {})
    else:
        out.print(terminal(found))


def image_page(asked: Asked, found: ImageExplanation) -> Path:
    """Where the page of an image lies."""
    from whyclass.store import key_of

    classes = [side.target.index for side in (found.target, found.against) if side]
    key = key_of(asked=asked.study.key(*classes), image=found.image.digest, tested=found.swap is not None)
    return asked.study.store.page(f"{found.target.target.name} in {Path(found.image.path).stem}", key)
