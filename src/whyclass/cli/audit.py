"""Every class of a model in one run, and what is made of the store it leaves."""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from whyclass import files
from whyclass.cli import gate
from whyclass.cli.consoles import err, out, say
from whyclass.cli.engines import Engine, begun
from whyclass.cli.options import AsJson, Opened, Quiet, app, shown_unless, with_model
from whyclass.errors import SettingsError
from whyclass.setting_checks import told
from whyclass.settings import AUDIT_TESTS, COMPARED_METHODS, NAMED_METHODS, TABLE_FORMATS

if TYPE_CHECKING:
    from whyclass.merging import Merged
    from whyclass.records import Audit
    from whyclass.study.study import Study

OWN = COMPARED_METHODS[0]
"""The method that every audit is of."""

Stored = Annotated[Path, typer.Argument(help="the folder that an audit had as --store")]


@app.command()
@with_model
def audit(
    opened: Opened,
    layers: Annotated[str, typer.Option(help="module paths, with commas: layer3.5,layer4.2")],
    classes: Annotated[
        str | None,
        typer.Option(help="names or indexes, with commas, or a file with one a line; default: all predicted"),
    ] = None,
    tests: Annotated[str, typer.Option(help=f"of {','.join(AUDIT_TESTS)}")] = "prediction",
    pairs: Annotated[
        str, typer.Option(help="for shifting: drawn (10 random targets for each class, 5 runs), or all")
    ] = "drawn",
    part: Annotated[
        str, typer.Option(help="i/n: this machine does every n-th class from the i-th on")
    ] = "1/1",
    workers: Annotated[
        int | None, typer.Option(help="processes for the factorisations; default: the processors")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="memory in which hyperplanes are fitted together, such as 8GiB")
    ] = None,
    methods: Annotated[
        str,
        typer.Option(
            help="also rows of the prediction test by others: of "
            + ",".join(COMPARED_METHODS + NAMED_METHODS)
        ),
    ] = OWN,
    fail_on: gate.FailOn = None,
    engine: Engine = "local",
) -> None:
    """Explain and test every class: the paper's tables. Stopped at any moment, the same command goes on."""
    gate.check(fail_on)
    if pairs not in ("drawn", "all"):
        raise SettingsError(f"--pairs is {told(pairs)}; choose drawn or all")
    if not (named := split_list(layers)):
        raise SettingsError(f"--layers is {told(layers)}; needed are module paths, such as layer3.5,layer4.2")
    others = [name for name in split_list(methods) if name != OWN]
    found, beside, changes = [], [], {"budget": _gibibytes(budget)} if budget else {}
    wanted = None if classes is None else class_list(classes)
    studies = _studies(opened, named, changes, others)
    for number, study in enumerate(studies):
        study.beside = tuple(studies[number + 1 :])
        with redirect_stdout(sys.stderr):
            made = study.audit(
                wanted,
                split_list(tests),
                every_pair=pairs == "all",
                part=_part(part),
                **begun(engine, workers),
            )
            found.append(made)
            beside += study.audit_methods(others, wanted, part=_part(part))
    _tell([*found, *beside], opened.as_json, study.store.folder)
    gate.close(fail_on, [gate.level_of(one) for audit in found for one in audit.classes])


def _studies(opened: Opened, layers: list[str], changes: dict[str, float], others: list[str]) -> list[Study]:
    """A study at each layer, where those methods can be audited too."""
    with redirect_stdout(sys.stderr):
        studies = [opened.study(layer, **changes) for layer in dict.fromkeys(layers)]
        for study in studies:
            study.check_methods(others)
    return studies


def _tell(audits: list[Audit], as_json: bool, store: Path) -> None:
    """Audits as one object, or as the paper's tables and what can be done next."""
    from whyclass.report import json_objects, paper_tables, table_formats

    if as_json:
        say("audit", json_objects.audits_as_object(audits))
        return
    out.print(table_formats.text(paper_tables.made(audits)), highlight=False, markup=False)
    folder = escape(str(store))
    out.print(f"more:  whyclass tables {folder}    whyclass report {folder}", highlight=False)


@app.command("tables")
def show_tables(
    store: Stored,
    form: Annotated[str, typer.Option("--format", metavar="FORM", help=", ".join(TABLE_FORMATS))] = "text",
    number: Annotated[int | None, typer.Option("--table", metavar="N", help="only table 1, 2 or 3")] = None,
    per_class: Annotated[
        Path | None, typer.Option(metavar="FILE", help="write every class's numbers as .parquet or .csv")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print tables 1 to 3 from the store of an audit, each beside the paper's own rows."""
    if form not in TABLE_FORMATS:
        raise SettingsError(f"--format is {told(form)}; choose one of {', '.join(TABLE_FORMATS)}")
    from whyclass.records import codec
    from whyclass.report import audits_in_store, paper_tables, table_formats
    from whyclass.store import stores_in

    if number is not None and number not in paper_tables.TABLES:
        raise SettingsError(f"--table is {number}; choose one of {', '.join(map(str, paper_tables.TABLES))}")
    first, *others = stores_in(store)
    found = [audit for other in others for audit in audits_in_store.gathered(other, _noted)]
    # one model's store says itself where it holds nothing
    found = [*(audits_in_store.gathered if found else audits_in_store.collect)(first, _noted), *found]
    chosen = [table for table in paper_tables.made(found) if number in (None, table.number)]
    if as_json:
        say("tables", {"tables": [codec.to_json(table) for table in chosen]})
    else:
        print(table_formats.FORMATS[form](chosen))
    if per_class is not None:
        files.write(per_class, table_formats.per_class(found, per_class.suffix))
        err.print(f"written: {escape(str(per_class))}", highlight=False)


@app.command("report")
def show_report(
    store: Stored,
    to: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="folder of the site; default: STORE/site")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make a site of static pages from a store: every class of its audits, failures first, and all else."""
    from whyclass.report import audits_in_store, site, store_pages
    from whyclass.store import find_store

    opened = find_store(store)
    folder = to or opened.folder / "site"
    files.sweep(opened.folder)
    progress, total = shown_unless(quiet), 0
    with progress.step("read"):
        found = audits_in_store.gathered(opened, progress.note)
    pages = list(store_pages.files(opened, progress.note))
    if not found and not pages:
        audits_in_store.collect(opened)  # which says what is missing
    # without an audit the page of the other results is the first one
    first = [] if found else [("index.html", dict(pages)[store_pages.INDEX])]
    with progress.step("pages", sum(len(one.classes) for one in found), "classes") as advance:
        audited = site.files(opened, found, advance, store_pages.INDEX if pages else "") if found else ()
        for name, data in chain(pages, first, audited):
            opened.check()
            files.write(folder / name, data)
            total += len(data)
    index = str(folder / "index.html")
    if as_json:
        say("report", {"page": index, "bytes": total, "classes": sum(len(one.classes) for one in found)})
    else:
        out.print(f"[bold]page[/]  {escape(index)}  ({total / 1e6:.0f} MB)", highlight=False)


@app.command()
def merge(
    store: Stored,
    others: Annotated[list[Path], typer.Argument(help="stores of the same model, such as of other parts")],
    as_json: AsJson = False,
) -> None:
    """Take what other stores of the same model hold into one: they may come from other machines."""
    from whyclass.merging import merge_into
    from whyclass.records import codec
    from whyclass.store import find_store

    into = find_store(store)
    merged = {str(other): merge_into(into, find_store(other)) for other in others}
    if as_json:
        # what was left out is there only where there is such
        plain = {name: codec.to_json(one) for name, one in merged.items()}
        said = {name: {k: v for k, v in one.items() if v != []} for name, one in plain.items()}
        say("merge", {"stores": said})
    else:
        _tell_merged(merged)
    refused = [name for one in merged.values() for name in one.refused]
    for name in refused:
        _noted(f"left out, {name}")
    if refused:
        raise typer.Exit(1)


def _tell_merged(merged: dict[str, Merged]) -> None:
    for name, one in merged.items():
        others = f", {one.different} were there with other numbers and stay as they are"
        out.print(
            f"{escape(name)}: {one.taken} results taken, {one.same} were there already"
            f"{others if one.different else ''}",
            highlight=False,
        )


def _noted(message: str) -> None:
    err.print(f"[yellow]note:[/] {escape(message)}", highlight=False)


def split_list(text: str) -> list[str]:
    """The parts of a list with commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def class_list(text: str) -> list[str]:
    """Names or indexes of classes, with commas, or from a file."""
    from whyclass.models import class_names

    # a list of names may be too long for the name of a file
    return list(class_names.read_class_names(Path(text))) if os.path.isfile(text) else split_list(text)


def _part(text: str) -> tuple[int, int]:
    try:
        number, of = (int(part) for part in text.split("/"))
    except ValueError as error:
        raise SettingsError(f"--part is {told(text)}; needed is i/n, such as 1/2") from error
    return number, of


def _gibibytes(text: str) -> float:
    units = {"gib": 1.0, "gb": 1e9 / 2**30, "mib": 2.0**-10, "mb": 1e6 / 2**30}
    number = text.strip().lower()
    unit = next((u for u in units if number.endswith(u)), "")
    try:
        return float(number.removesuffix(unit)) * units.get(unit, 1.0)
    except ValueError as error:
        raise SettingsError(f"--budget is {told(text)}; needed is a size such as 8GiB") from error
