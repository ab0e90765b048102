"""Every constant has the paper's value, and a value that makes no sense is refused at once."""

from __future__ import annotations

import dataclasses

import pytest

from whyclass import grid, settings
from whyclass.attribution import methods
from whyclass.checks import stitching
from whyclass.errors import SettingsError
from whyclass.report import table_formats
from whyclass.settings import PRESETS, Settings, preset
from whyclass.study import concept_methods

PAPER = {
    "images": 60,
    "copies": 20,
    "noise": 0.25,
    "relu": "after",
    "concepts": 6,
    "crops": 8,
    "pool": 2,
    "cut": 0.25,
    "epochs": 100,
    "rate": 0.01,
    "fill": "zero",
}


@pytest.mark.parametrize(("name", "value"), PAPER.items())
def test_the_default_is_the_papers(name, value):
    assert getattr(Settings(), name) == value
    assert getattr(PRESETS["paper"], name) == value


def test_the_presets_differ_where_paper_and_code_do():
    assert (PRESETS["paper"].baseline, PRESETS["paper"].relu) == ("white", "after")
    assert (PRESETS["authors"].baseline, PRESETS["authors"].relu) == ("ones", "before")
    assert PRESETS["default"] == Settings()
    assert PRESETS["fast"] == Settings(copies="auto")
    assert PRESETS["four"] == Settings(concepts=4, crop_at="larger", layout="grid")
    assert PRESETS["paper"].crop_at == PRESETS["authors"].crop_at == "paper"


@pytest.mark.parametrize("name", ["paper", "authors"])
def test_the_presets_contrast_as_the_paper_does(name):
    own = PRESETS[name]
    assert own.shifts == (0, 0.5, 1, 2, 10, 15, 20, 35, 50, 200)
    assert (own.plane, own.contrast_by, own.shift_unit, own.finer) == ("paper", "plane", "normal", 0)
    assert len(Settings().shifts) >= 12


def test_choices_are_the_rows_of_the_tables_that_serve_them():
    assert set(settings.METHODS) == set(methods.METHODS)
    assert set(settings.CROPS) == set(grid.CROPS)
    assert {*settings.COMPARED_METHODS, *settings.NAMED_METHODS} == set(concept_methods.FOUND)
    assert set(settings.LAYOUTS) == {"auto", *stitching.LAYOUTS}
    assert tuple(table_formats.FORMATS) == settings.TABLE_FORMATS


@pytest.mark.parametrize(
    "wrong",
    [
        {"images": 0},
        {"images": 1.5},
        {"images": True},
        {"copies": -1},
        {"copies": "never"},
        {"concepts": "six"},
        {"concepts": None},
        {"pool": 0},
        {"seed": -1},
        {"controls": -1},
        {"noise": -0.1},
        {"noise": float("nan")},
        {"noise": float("inf")},
        {"tolerance": -1.0},
        {"noise": 0},
        {"baseline": "black"},
        {"relu": "both"},
        {"method": "magic"},
        {"layout": "row"},
        {"precision": "float8"},
        {"control_images": 0},
        {"epochs": 0},
        {"cut": 1.0},
        {"cut": -0.1},
        {"rate": 0.0},
        {"held_out": 1.0},
        {"budget": -1.0},
        {"tests": ("pushing",)},
        {"shifts": (1.0, 2.0)},
        {"shifts": (0.0,)},
        {"shifts": (0.0, 2.0, 1.0)},
        {"shifts": (0.0, float("nan"))},
        {"fill": "black"},
        {"crop_at": "corner"},
    ],
    ids=str,
)
def test_a_value_out_of_range_is_refused_by_name(wrong):
    (name,) = wrong
    with pytest.raises(SettingsError, match=name):
        Settings(**wrong)


def test_no_noise_needs_a_single_copy():
    assert Settings(noise=0, copies=1).noise == 0
    with pytest.raises(SettingsError, match="all copies are the same"):
        Settings(noise=0, copies="auto")


def test_a_preset_takes_changes_and_refuses_typing_errors():
    assert preset("paper", images=5) == dataclasses.replace(PRESETS["paper"], images=5)
    with pytest.raises(SettingsError, match=r"no preset 'papper'.*paper"):
        preset("papper")
    with pytest.raises(SettingsError, match=r"unknown setting imges; known are .*images"):
        preset("default", imges=5)
    with pytest.raises(SettingsError, match="images"):
        preset("default", images=0)


def test_settings_do_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().images = 3
