"""How help lays out the options that commands share: in which group each stands, and what it takes."""

from __future__ import annotations

import copy
import inspect
from typing import Annotated, get_args

MODEL, IMAGES, SETTINGS, RESULT = "Model", "Images", "Settings", "Result"

GROUPS: dict[str, tuple[str, str | None]] = {
    "model": (MODEL, "MODEL"),
    "layer": (MODEL, "LAYER"),
    "weights": (MODEL, "FILE"),
    "class_names": (MODEL, "FILE"),
    "resize": (MODEL, "PIXELS"),
    "crop": (MODEL, "PIXELS"),
    "mean": (MODEL, "NUMBERS"),
    "std": (MODEL, "NUMBERS"),
    "task": (MODEL, "TASK"),
    "device": (MODEL, "DEVICE"),
    "images": (IMAGES, "FOLDER"),
    "labels": (IMAGES, "FILE"),
    "variant": (SETTINGS, "NAME"),
    "change": (SETTINGS, "NAME=VALUE"),
    "seed": (SETTINGS, "N"),
    "precision": (SETTINGS, "NAME"),
    "store": (RESULT, "FOLDER"),
    "page": (RESULT, "FILE"),
    "fail_on": (RESULT, "VERDICT"),
    "as_json": (RESULT, None),
    "quiet": (RESULT, None),
    "target": ("Options", "CLASS"),
    "against": ("Options", "CLASS"),
    "pictures": ("Options", "SPACE"),
    "decoder": ("Options", "FILE.py:FACTORY"),
    "decoder_weights": ("Options", "FILE"),
    "patch": ("Options", "FILE[:x,y,w,h]"),
    "at": ("Options", "PLACE"),
    "methods": ("Options", "METHODS"),
    "table": ("Options", "FILE"),
    "layers": ("Options", "LAYERS"),
    "classes": ("Options", "CLASSES"),
    "concepts": ("Options", "NUMBERS"),
    "sample": ("Options", "N"),
    "tests": ("Options", "TESTS"),
    "pairs": ("Options", "PAIRS"),
    "part": ("Options", "I/N"),
    "workers": ("Options", "N"),
    "budget": ("Options", "MEMORY"),
    "engine": ("Options", "ENGINE"),
    "other_model": ("Options", "MODEL"),
    "other_weights": ("Options", "FILE"),
    "other_images": ("Options", "FOLDER"),
    "other_layer": ("Options", "LAYER"),
    "host": ("Options", "HOST"),
    "port": ("Options", "PORT"),
}
"""Of parameters by name: their group, and what stands for their value; flags have none."""

SPELT = {"variant": "preset", "change": "set", "as_json": "json", "target": "class"}
"""Parameters whose option has another name."""


def option_of(name: str) -> str:
    """The option of a parameter, without its hyphens before it."""
    return SPELT.get(name, name).replace("_", "-")


ORDER = ("Options", MODEL, IMAGES, SETTINGS, RESULT)
"""Groups in the order of help."""


def laid_out(parameter: inspect.Parameter, needed: bool = False) -> inspect.Parameter:
    """A parameter with its group and metavar, where it says none itself; ``needed`` is said in its help."""
    if not hasattr(parameter.annotation, "__metadata__"):
        return parameter
    panel, metavar = GROUPS.get(parameter.name, (ORDER[0], None))
    kind, option = get_args(parameter.annotation)[:2]
    option = copy.copy(option)  # commands share one object
    option.rich_help_panel = option.rich_help_panel or panel
    option.metavar = option.metavar or metavar
    option.help = f"(needed) {option.help}" if needed else option.help
    return parameter.replace(annotation=Annotated[kind, option])


def place(parameter: inspect.Parameter) -> int:
    """Where a parameter that is laid out stands in help."""
    panel = next((one.rich_help_panel for one in get_args(parameter.annotation)[1:]), ORDER[0])
    return ORDER.index(panel) if panel in ORDER else 0
