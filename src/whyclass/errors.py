"""The exception tree: every message says what came, what was needed and what to do."""

from __future__ import annotations


class WhyclassError(Exception):
    """Base of everything whyclass raises on purpose; the command line turns it into exit code 1."""


class ModelError(WhyclassError):
    """A model that is unknown, cannot be built, or does not behave like an image classifier."""


class WeightsError(ModelError):
    """A weights file that is missing, unsafe, of another model, or not finite."""


class LayerError(WhyclassError):
    """A layer that does not exist or whose output cannot be explained."""


class AttributionError(WhyclassError):
    """An attribution that is not finite or for which no rule holds."""


class DataError(WhyclassError):
    """A pool of images that is missing, empty or unreadable."""


class ClassError(WhyclassError):
    """A class name that is unknown or ambiguous, or a class that is never predicted."""


class SettingsError(WhyclassError):
    """A setting outside its range, or unknown."""


class StoreError(WhyclassError):
    """A store that cannot be written, or that holds results of something else."""


class RecordError(WhyclassError):
    """A saved record that cannot be read: another format, damaged, or not a record."""
