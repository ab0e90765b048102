"""The planted world as files of somebody's own: pictures, a model in a file, weights. To try commands on."""

from __future__ import annotations

from pathlib import Path

from whyclass import files
from whyclass.planted import world

MODEL = '''"""A small network that has learnt the planted world."""

from whyclass.planted import world
from whyclass.planted.nets import PlantedNet


def build():
    """The network without its weights; what it says of itself is found by whyclass."""
    model = PlantedNet()
    model.preprocessing = world.PREPROCESSING
    model.class_names = [planted.name for planted in world.CLASSES]
    return model
'''

PICTURES = 60


def write_project(folder: Path | str, n_per_class: int = PICTURES, seed: int = 0) -> Path:
    """Write ``photos/``, ``net.py`` and ``net.safetensors`` into a folder; returns it.

    Raises
    ------
    StoreError
        If the folder cannot be written.
    """
    folder = Path(folder)
    world.write_pool(folder / "photos", n_per_class, seed)
    files.write(folder / "net.py", MODEL.encode())
    files.write(folder / "net.safetensors", Path(__file__).with_name("net.safetensors").read_bytes())
    return folder
