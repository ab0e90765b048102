"""Why does a vision model predict class A? Concepts in pictures, each tested."""

from importlib.metadata import version as _version

from whyclass.errors import (
    AttributionError,
    ClassError,
    DataError,
    LayerError,
    ModelError,
    RecordError,
    SettingsError,
    StoreError,
    WeightsError,
    WhyclassError,
)
from whyclass.models.sources import Loaded, load
from whyclass.pool.images import Preprocessing
from whyclass.progress import Progress
from whyclass.records import VIEWS as _VIEWS
from whyclass.records import Contrast, Explanation, InsertionTest, LayerChoice, Pairs
from whyclass.report.page import fragment as _fragment
from whyclass.report.page import page as _page
from whyclass.settings import PRESETS, Settings, preset
from whyclass.study.study import Study, choose_layer

__version__ = _version("whyclass")

_VIEWS.update(html=_page, fragment=_fragment)

__all__ = [
    "PRESETS",
    "AttributionError",
    "ClassError",
    "Contrast",
    "DataError",
    "Explanation",
    "InsertionTest",
    "LayerChoice",
    "LayerError",
    "Loaded",
    "ModelError",
    "Pairs",
    "Preprocessing",
    "Progress",
    "RecordError",
    "Settings",
    "SettingsError",
    "StoreError",
    "Study",
    "WeightsError",
    "WhyclassError",
    "choose_layer",
    "load",
    "preset",
]
