"""Why does a vision model predict class A? Concepts in pictures, each tested."""

from importlib.metadata import version as _version

from . import report as _report
from .data import Preprocessing
from .errors import (
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
from .models import Loaded, load
from .progress import Progress
from .records import VIEWS as _VIEWS
from .records import Contrast, Explanation, InsertionTest, LayerChoice, Pairs
from .settings import PRESETS, Settings, preset
from .study import Study, choose_layer

__version__ = _version("whyclass")

_VIEWS.update(html=_report.page, fragment=_report.fragment)

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
