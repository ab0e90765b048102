"""Tables 1 to 3 from records of an audit: the numbers, what belongs to them, and their printed forms."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from whyclass.errors import SettingsError
from whyclass.records import (
    Audit,
    AuditedPair,
    ClassResult,
    Completeness,
    Control,
    ModelInfo,
    Moved,
    PoolInfo,
    Prediction,
    Separation,
    ShiftControl,
    Shifts,
    Trial,
)
from whyclass.report import audits_in_store, paper_tables, table_formats

IMAGENETS = ("tench", "goldfish", "great white shark", "tiger shark", "hammerhead", "electric ray")
"""Its first classes."""

SEPARATION = Separation(1.0, 1.0, 0.5, False, (9, 9), (3, 3))
POOL = PoolInfo("pool", 100, "00", ())


def model(name: str = "torchvision:resnet50", layer: str = "layer4.2") -> ModelInfo:
    return ModelInfo(name, "aa", layer, (4, 7, 7), "none")


CONTROL = Control(20, 0.01, 0.0, 0.05, 0.0)


def result(score: float, predicted: bool) -> Trial:
    winner = Prediction(0 if predicted else 9, "class" if predicted else "rival", score)
    return Trial(score, predicted, winner, "stacked", CONTROL)


def classes(*pairs: tuple[tuple[float, bool], tuple[float, bool] | None]) -> tuple[ClassResult, ...]:
    return tuple(
        ClassResult(
            Prediction(number, IMAGENETS[number], 0.9),
            20,
            30,
            Completeness(1, 0.0, 0.0),
            0.2,
            result(*including),
            result(*excluding) if excluding else None,
            "",
            f"{number}.whyclass",
        )
        for number, (including, excluding) in enumerate(pairs)
    )


def audit(found=(), shifts=(), **changes) -> Audit:
    made = Audit(model(), POOL, "names", len(found), tuple(found), tuple(shifts), {}, {})
    return replace(made, **changes)


FOUR = classes(
    ((0.9, True), (0.6, True)),
    ((0.4, True), (0.15, False)),
    ((0.15, False), (0.05, False)),
    ((0.05, False), None),
)


# ---------------------------------------------------------------- tables 1 and 2


def test_table_1_counts_by_hand():
    row = paper_tables.table1([audit(FOUR)]).rows[0]
    assert (row.label, row.layer, row.n, row.kind) == ("torchvision:resnet50", "layer4.2", 4, "measured")
    scores = [0.9, 0.4, 0.15, 0.05]
    assert row.values["average"].value == pytest.approx(np.mean(scores))
    assert row.values["average"].spread == pytest.approx(np.std(scores, ddof=1))
    shares = {name: row.values[name].value for name in row.values if name != "average"}
    assert shares == {"predicts class": 0.5, "above 0.1": 0.75, "above 0.2": 0.5, "above 0.5": 0.25}


def test_table_2_leaves_out_classes_that_have_no_other_images():
    row = paper_tables.table2([audit(FOUR)]).rows[0]
    assert row.n == 3
    assert row.values["predicts class"].value == pytest.approx(1 / 3)


def test_above_is_above_and_not_at():
    row = paper_tables.table1([audit(classes(((0.5, True), None)))]).rows[0]
    assert row.values["above 0.5"].value == 0
    assert row.values["above 0.2"].value == 1


def test_a_share_has_wilsons_interval():
    """Against the formula, and for none of n."""
    found = paper_tables.share([True] * 7 + [False] * 3)
    z, n, p = 1.959964, 10, 0.7
    centre, half = (
        (p + z * z / 2 / n) / (1 + z * z / n),
        z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / 4 / n / n),
    )
    assert (found.low, found.high) == pytest.approx((centre - half, centre + half), abs=1e-5)
    assert paper_tables.share([False] * 5).low == 0


def test_a_means_interval_stays_within_scores():
    found = paper_tables._mean(np.array([1.0, 1.0, 0.9]))
    assert 0.99 < found.high <= 1.0
    assert 0.3 < found.low < 0.7  # three scores say little of those that were not measured
    assert paper_tables._mean(np.array([1.0, 0.9])).low is None


def test_the_control_stands_under_its_row():
    rows = paper_tables.table1([audit(FOUR)]).rows
    assert rows[1].kind == "control"
    assert rows[1].values["average"].value == pytest.approx(0.01)
    bare = classes(((0.9, True), None))
    bare = tuple(replace(one, including=replace(one.including, control=None)) for one in bare)
    assert [row.kind for row in paper_tables.table1([audit(bare)]).rows if row.kind == "control"] == []


@pytest.mark.parametrize(
    ("name", "layer", "wanted"),
    [
        ("torchvision:resnet50", "layer4.2", {"paper: ResNet50", "paper: ResNet50 Robust"}),
        ("nets/own.py:ResNet_50", "layer3.5", {"paper: ResNet50", "paper: ResNet50 Robust"}),
        ("torchvision:resnet34", "layer3.5", {"paper: ResNet34"}),
        ("torchvision:resnet34", "layer3.4", set()),
        ("torchvision:vgg16", "layer4.2", set()),
        ("torchvision:wide_resnet50_2", "layer4.2", set()),
        ("torchvision:resnet34:IMAGENET1K_V1", "layer4.2", {"paper: ResNet34"}),
    ],
)
def test_the_papers_rows_stand_beside_the_model_they_are_of(name, layer, wanted):
    rows = paper_tables.table1([audit(FOUR, model=model(name, layer))]).rows
    assert {row.label for row in rows if row.kind == "paper"} == wanted


@pytest.mark.parametrize("name", ["class {}", "{}", "a {}"])
def test_the_papers_rows_do_not_stand_beside_a_model_of_other_classes(name):
    other = tuple(
        replace(one, target=replace(one.target, name=name.format(one.target.index))) for one in FOUR
    )
    table = paper_tables.table1([audit(other)])
    assert {row.kind for row in table.rows} == {"measured", "control"}
    assert "paper's rows" not in " ".join(table.notes)
    assert "paper's rows" in " ".join(paper_tables.table1([audit(FOUR)]).notes)


def test_the_papers_numbers_are_the_papers():
    rows = {row.label: row for row in paper_tables.table2([audit(FOUR)]).rows}
    values = rows["paper: ResNet50"].values
    assert (values["average"].value, values["average"].spread) == (0.619, 0.358)
    assert [round(values[name].value, 3) for name in paper_tables.COLUMNS[1:]] == [0.71, 0.86, 0.79, 0.626]


def test_notes_tell_what_differs_from_the_paper():
    few = tuple(replace(one, n_images=2) for one in FOUR)
    notes = " ".join(paper_tables.table1([audit(few, n_classes=10)]).notes)
    assert "4 of the 10 classes" in notes
    assert "4 of 4 classes rest on fewer than 10 images" in notes
    mosaic = tuple(replace(one, including=replace(one.including, layout="mosaic")) for one in FOUR)
    assert "mosaic" in " ".join(paper_tables.table1([audit(mosaic)]).notes)


# ---------------------------------------------------------------- table 3


def pair(target: int, highest: float, winner: int, runs=(0,), control=None, at=5.0) -> AuditedPair:
    moved = Moved(highest, highest, highest, at, Prediction(winner, str(winner), 0.5))
    return AuditedPair(Prediction(target, str(target), 0.01), runs, moved, control, SEPARATION, None)


def shifts(
    source: int, *pairs: AuditedPair, runs: int = 1, draw: str = "a draw", test: str = "shift"
) -> Shifts:
    of = Prediction(source, IMAGENETS[source] if source < len(IMAGENETS) else "", 0.9)
    return Shifts(model(), POOL, "names", test, of, 8, draw, f"group of {draw}", runs, pairs, {}, {})


def test_table_3_counts_by_hand():
    found = audit(shifts=[shifts(0, pair(1, 0.6, 1), pair(2, 0.3, 2)), shifts(1, pair(0, 0.4, 9))])
    row = paper_tables.table3([found]).rows[0]
    assert row.n == 3
    assert row.values["shifted"].value == pytest.approx(1.3 / 3)
    assert row.values["default"].value == pytest.approx(0.01)
    swapped = [row.values[f"swap {least}"].value for least in paper_tables.LEAST]
    assert swapped == pytest.approx([2 / 3, 2 / 3, 1 / 3])
    assert row.values["shifted"].runs is None


def test_runs_of_a_draw_have_their_own_deviation():
    """A pair that was drawn twice counts in both runs, and once among the pairs."""
    found = audit(shifts=[shifts(0, pair(1, 0.8, 1, (0, 1)), pair(2, 0.2, 2, (1,)), runs=2)])
    row = paper_tables.table3([found]).rows[0]
    assert row.n == 2
    assert row.values["shifted"].value == pytest.approx(0.5)
    assert row.values["shifted"].runs == pytest.approx(np.std([0.8, 0.5], ddof=1))


def test_each_draw_has_a_row_that_names_it():
    found = audit(shifts=[shifts(0, pair(1, 0.8, 1)), shifts(0, pair(1, 0.2, 1), draw="all pairs")])
    rows = [row for row in paper_tables.table3([found]).rows if row.kind == "measured"]
    assert [row.label for row in rows] == ["torchvision:resnet50: a draw", "torchvision:resnet50: all pairs"]
    assert [row.n for row in rows] == [1, 1]


def test_a_target_that_is_highest_without_a_step_did_not_swap():
    assert not paper_tables.swaps(pair(1, 0.9, 1, at=0.0), 0.1)
    assert paper_tables.swaps(pair(1, 0.9, 1), 0.1)


def test_controls_of_shifting_are_rows():
    control = ShiftControl((0.1, 0.3), 4, 0.05)
    table = paper_tables.table3([audit(shifts=[shifts(0, pair(1, 0.6, 1, control=control))])])
    by_label = {row.label: row for row in table.rows}
    assert by_label["random directions"].values["shifted"].value == pytest.approx(0.2)
    assert by_label["normal reversed"].values["shifted"].value == pytest.approx(0.05)
    assert "in 1 of 1 pairs" in " ".join(table.notes)


def test_the_interval_of_table_3_is_over_sources():
    """The same pairs of three sources, alike within each, say less than pairs of twelve."""
    highest = (0.1, 0.4, 0.9)
    few = audit(shifts=[shifts(k, *[pair(9 + i, p, 9 + i) for i in range(4)]) for k, p in enumerate(highest)])
    many = audit(shifts=[shifts(k, pair(99, highest[k % 3], 99)) for k in range(12)])
    (one, *_), (other, *_) = (paper_tables.table3([found]).rows for found in (few, many))
    assert one.n == other.n == 12
    for column in ("shifted", "swap 0.1", "swap 0.5"):
        widths = [row.values[column].high - row.values[column].low for row in (one, other)]
        assert one.values[column].value == pytest.approx(other.values[column].value)
        assert widths[0] > 1.3 * widths[1]
    two = audit(shifts=[shifts(k, pair(9, 0.5, 9)) for k in range(2)])
    assert paper_tables.table3([two]).rows[0].values["shifted"].low is None


def test_masking_has_a_table_of_its_own_without_rows_of_the_paper():
    (table,) = paper_tables.made([audit(shifts=[shifts(0, pair(1, 0.5, 1), test="mask")])])
    assert (table.number, table.title) == (0, "Masking test")
    assert [row.kind for row in table.rows] == ["measured"]
    assert table_formats.title(table) == "Masking test"


# ---------------------------------------------------------------- several audits in a store


def test_audits_of_one_layer_are_told_apart_by_what_differs():
    one, other = (
        audit(FOUR, settings={"seed": 0, "concepts": 6}),
        audit(FOUR, settings={"seed": 1, "concepts": 6}),
    )
    assert audits_in_store.labels([one, other]) == [
        "torchvision:resnet50 (seed 0)",
        "torchvision:resnet50 (seed 1)",
    ]
    assert audits_in_store.labels([one]) == ["torchvision:resnet50"]
    assert (
        audits_in_store.labels([one, audit(FOUR, model=model(layer="layer3.5"))])
        == ["torchvision:resnet50"] * 2
    )
    assert audits_in_store.identity(one) != audits_in_store.identity(other)


# ---------------------------------------------------------------- printed forms

ALL = [
    audit(FOUR, [shifts(0, pair(1, 0.6, 1), pair(2, 0.3, 2))], model=model("x:=net|%_<b>", "layer4.2")),
    audit(FOUR),
]


@pytest.fixture
def made() -> list[paper_tables.Table]:
    return paper_tables.made(ALL)


def test_text_has_every_row(made):
    shown = table_formats.text(made)
    assert "Table 1." in shown
    assert "Table 3." in shown
    assert "0.375 ±" in shown
    assert max(map(len, shown.splitlines())) <= table_formats.WIDTH == 80
    # what is folded at the ends of words is there all the same
    rows = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in shown.splitlines()]
    assert sum(row[0] == "paper:" for row in rows if row) >= 2


def test_csv_has_every_number_and_no_formula(made):
    rows = list(csv.DictReader(io.StringIO(table_formats.csv_form(made))))
    assert len(rows) == sum(len(row.values) for table in made for row in table.rows)
    average = next(row for row in rows if row["model"] == "torchvision:resnet50")
    assert float(average["value"]) == pytest.approx(0.375)
    assert not any(cell.startswith(("=", "+", "@")) for row in rows for cell in row.values())


def test_json_has_every_number(made):
    told = json.loads(table_formats.json_form(made))
    assert [table["number"] for table in told] == [1, 2, 3]
    assert told[0]["rows"][0]["values"]["average"]["value"] == pytest.approx(0.375)


def test_markdown_is_not_broken_by_a_name(made):
    shown = table_formats.markdown(made)
    lines = [line for line in shown.splitlines() if line.startswith("|") and "net" in line]
    assert all("net\\|%\\_\\<b\\>" in line for line in lines if "=net" in line)
    heads = [line for line in shown.splitlines() if line.startswith("| model")]
    assert len(heads) == 3


def test_latex_escapes_what_tex_reads(made):
    shown = table_formats.latex(made)
    assert r"\%\_" in shown
    assert r"$\pm$" in shown
    assert shown.count(r"\begin{tabular}") == shown.count(r"\end{tabular}") == 3
    widths = {line.count(" & ") for line in shown.splitlines() if line.endswith(r"\\")}
    assert widths == {7}


def test_every_class_as_parquet_and_csv():
    from pyarrow import parquet

    table = parquet.read_table(io.BytesIO(table_formats.per_class(ALL, ".parquet"))).to_pydict()
    assert table["class_name"] == [*IMAGENETS[:4]] * 2
    assert table["including_score"][:4] == [0.9, 0.4, 0.15, 0.05]
    assert table["excluding_score"][3] is None
    rows = list(csv.DictReader(io.StringIO(table_formats.per_class(ALL, ".csv").decode())))
    assert [row["excluding_predicted"] for row in rows[:4]] == ["True", "False", "False", ""]


def test_another_suffix_is_refused():
    with pytest.raises(SettingsError, match=r"\.parquet or \.csv"):
        table_formats.per_class(ALL, ".xlsx")


def test_without_pyarrow_parquet_says_what_to_do(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SettingsError, match=r"pip install 'whyclass\[parquet\]'"):
        table_formats.per_class(ALL, ".parquet")
