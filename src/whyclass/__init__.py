"""Why does a vision model predict class A? Concepts in pictures, each tested.

Names load when they are first used, so that ``import whyclass`` costs nothing.
"""

import sys as _sys
from importlib import import_module as _import_module
from importlib.util import find_spec as _find_spec
from typing import TYPE_CHECKING
from typing import Any as _Any

from whyclass.views import VIEWS as _VIEWS

if TYPE_CHECKING:
    from whyclass import visualise as visualise
    from whyclass.errors import AttributionError as AttributionError
    from whyclass.errors import ClassError as ClassError
    from whyclass.errors import DataError as DataError
    from whyclass.errors import LayerError as LayerError
    from whyclass.errors import ModelError as ModelError
    from whyclass.errors import RecordError as RecordError
    from whyclass.errors import SettingsError as SettingsError
    from whyclass.errors import StoreError as StoreError
    from whyclass.errors import WeightsError as WeightsError
    from whyclass.errors import WhyclassError as WhyclassError
    from whyclass.models.described import Loaded as Loaded
    from whyclass.models.loading import load as load
    from whyclass.models.preprocessing import Preprocessing as Preprocessing
    from whyclass.models.readings import Reading as Reading
    from whyclass.progress import Progress as Progress
    from whyclass.records import Audit as Audit
    from whyclass.records import Comparison as Comparison
    from whyclass.records import Contrast as Contrast
    from whyclass.records import Explanation as Explanation
    from whyclass.records import ImageExplanation as ImageExplanation
    from whyclass.records import InsertionTest as InsertionTest
    from whyclass.records import LayerChoice as LayerChoice
    from whyclass.records import Pairs as Pairs
    from whyclass.settings import PRESETS as PRESETS
    from whyclass.settings import Settings as Settings
    from whyclass.settings import preset as preset
    from whyclass.study.compare_models import compare_models as compare_models
    from whyclass.study.layer_choice import choose_layer as choose_layer
    from whyclass.study.study import Study as Study

_HOMES = {
    "errors": (
        "AttributionError ClassError DataError LayerError ModelError RecordError SettingsError StoreError "
        "WeightsError WhyclassError"
    ),
    "models.described": "Loaded",
    "models.loading": "load",
    "models.preprocessing": "Preprocessing",
    "models.readings": "Reading",
    "progress": "Progress",
    "records": "Audit Comparison Contrast Explanation ImageExplanation InsertionTest LayerChoice Pairs",
    "settings": "PRESETS Settings preset",
    "study.compare_models": "compare_models",
    "study.layer_choice": "choose_layer",
    "study.study": "Study",
    "visualise": "visualise",
}
"""Where each public name is defined."""

_HOME = {name: home for home, names in _HOMES.items() for name in names.split()}

_MOVED = {
    "attribution": "whyclass.attribution.smoothgrad",
    "checks": "whyclass.checks.stitching, .interventions and .statistics",
    "classes": "whyclass.models.class_names",
    "codec": "whyclass.records.codec",
    "concepts": "whyclass.concepts.nmf",
    "contrast": "whyclass.concepts.hyperplanes, or Study.contrast",
    "crops": "whyclass.pool.nearest_crops",
    "data": "whyclass.pool.images and whyclass.models.preprocessing",
    "deeplift": "whyclass.attribution.deeplift",
    "demo": "whyclass.planted.demo",
    "disk": "whyclass.files",
    "forms": "whyclass.models.layer_layouts",
    "frames": "whyclass.pool.pixel_cache",
    "fuse": "whyclass.models.fast_trunk",
    "index": "whyclass.pool.indexing_pass",
    "parts": "whyclass.planted.parts",
    "pictures": "whyclass.study.crop_pictures",
    "rewrites": "whyclass.attribution.deeplift_rules.rewrites",
    "rules": "whyclass.attribution.deeplift_rules",
    "scene": "whyclass.study.context",
    "spaces": "whyclass.visualise.parametrisations",
    "split": "whyclass.models.split",
    "tables": "whyclass.report.paper_tables",
    "tasks": "whyclass.models.tasks",
    "weights": "whyclass.models.weights",
    "world": "whyclass.planted.world",
}
"""Modules of version 0.1 and where what they held is now."""

__all__ = sorted(_HOME)


def __getattr__(name: str) -> _Any:
    """The public name, loaded now; the version; or an error that says where a name of 0.1 has gone."""
    if name == "__version__":
        from importlib.metadata import version

        value: _Any = version("whyclass")
    elif name == "visualise":
        value = _import_module("whyclass.visualise")
    elif name in _HOME:
        value = getattr(_import_module(f"whyclass.{_HOME[name]}"), name)
    else:
        raise _absent(name, _sys._getframe(1).f_globals.get("__name__"))
    globals()[name] = value
    return value


def _absent(name: str, asked_by: str | None) -> Exception:
    """What says where a name of 0.1 has gone, or which names there are."""
    if name.startswith("__"):
        return AttributeError(f"module 'whyclass' has no attribute {name!r}")
    said = f"whyclass has no {name!r}; it gives {', '.join(__all__)}"
    if name in _MOVED:
        said = f"whyclass.{name} of version 0.1 is now {_MOVED[name]}; public names: {', '.join(__all__)}"
    # `from whyclass import NAME` asks this way first, and would throw away what an AttributeError says; where
    # there is a module of the name it has to have one, and imports it then
    told = asked_by == "importlib._bootstrap" and _find_spec(f"{__name__}.{name}") is None
    return ImportError(said, name=name) if told else AttributeError(said)


def __dir__() -> list[str]:
    return list(__all__)


def _page(record: _Any) -> str:
    from whyclass.report.page import page

    return page(record)


def _fragment(record: _Any) -> str:
    from whyclass.report.page import fragment

    return fragment(record)


def _line(record: _Any) -> str:
    from whyclass.report.short_forms import line

    return line(record)


def _terminal(record: _Any) -> _Any:
    from whyclass.report.terminal import terminal

    return terminal(record)


def _frame(record: _Any) -> _Any:
    from whyclass.report.frames import frame

    return frame(record)


def _figure(record: _Any) -> _Any:
    from whyclass.report.figures import figure

    return figure(record)


def _crops(record: _Any) -> _Any:
    from whyclass.report.crop_files import crop_files

    return crop_files(record)


_VIEWS.update(
    html=_page,
    fragment=_fragment,
    line=_line,
    terminal=_terminal,
    frame=_frame,
    figure=_figure,
    crops=_crops,
)
