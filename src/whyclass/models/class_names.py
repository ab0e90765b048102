"""From what a user calls a class to its index."""

from __future__ import annotations

import json
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from whyclass.errors import ClassError

LONG, DIGITS, MANY = 40, 18, 20
"""Characters of a name, digits of an index, and names, that a message tells."""


def name_of(index: int, names: tuple[str, ...]) -> str:
    """The class's name, or ``class 7`` where names are unknown."""
    return names[index] if names else f"class {index}"


def resolve(wanted: str | int, names: tuple[str, ...], count: int) -> int:
    """The index of a class given by name or index.

    A name must match exactly, or else without regard to case, spaces, hyphens and underscores.

    Raises
    ------
    ClassError
        If it is unknown (names the nearest) or ambiguous (names the candidates with their indexes).
    """
    check_count(names, count)
    text = str(wanted).strip()
    if isinstance(wanted, int) or (text.removeprefix("-").isdecimal() and text not in names):
        return _numbered(text, count)
    exact = [i for i, name in enumerate(names) if name == text]
    found = exact or [i for i, name in enumerate(names) if _plain(name) == _plain(text)]
    if len(found) == 1:
        return found[0]
    if found:
        raise ClassError(f"class {text!r} is ambiguous; give the index of one: {_listed(found, names)}")
    raise ClassError(f"no class is called {text!r}.{_candidates(text, names, count)}")


def check_count(names: tuple[str, ...], count: int) -> None:
    """Refuse names of another number of classes than the model has.

    Raises
    ------
    ClassError
        If there are names, and more or fewer.
    """
    if names and len(names) != count:
        raise ClassError(
            f"there are {len(names)} class names, and the model has {count} classes; give one name for each "
            f"class, in the order of the outputs (the first is {names[0][:LONG]!r}, the last "
            f"{names[-1][:LONG]!r})"
        )


def _numbered(text: str, count: int) -> int:
    # what has so many digits is no index, and Python reads no more than 4300
    if len(text) <= DIGITS and 0 <= int(text) < count:
        return int(text)
    told = text if len(text) <= DIGITS else f"{text[:DIGITS]}…"
    raise ClassError(f"class {told} does not exist; the model has classes 0 to {count - 1}")


def rivals(scores: np.ndarray, predicted: np.ndarray, names: tuple[str, ...]) -> str:
    """For a class that is never predicted: its nearest rivals and how often each is predicted.

    ``scores`` (n,) are the target's softmax scores of images, ``predicted`` (n,) their argmax. The rivals are
    the classes predicted for the images that give the target its highest scores.
    """
    closest = np.argsort(-scores, kind="stable")[:50]
    near = list(dict.fromkeys(int(c) for c in predicted[closest]))[:5]
    counts = [f"{name_of(c, names)} ({int((predicted == c).sum())} images)" for c in near]
    best = float(scores.max())
    return (
        f"its highest score in the pool is {best:.3f}; predicted where it scores highest: {', '.join(counts)}"
    )


def _plain(name: str) -> str:
    return "".join(name.lower().replace("-", " ").replace("_", " ").split())


def _listed(found: list[int], names: tuple[str, ...]) -> str:
    return ", ".join(f"{i} ({names[i]})" for i in found)


def _candidates(text: str, names: tuple[str, ...], count: int) -> str:
    if not names:
        return f" Class names are unknown: give an index from 0 to {count - 1}, or a file of names."
    plain = {_plain(name): i for i, name in reversed(list(enumerate(names)))}
    inside = [i for i, name in enumerate(names) if _plain(text) in _plain(name)]
    near = [plain[match] for match in get_close_matches(_plain(text), plain, n=5, cutoff=0.5)]
    if found := list(dict.fromkeys(inside + near))[:8]:
        return f" Did you mean {_listed(found, names)}?"
    understood = f" Names or indexes 0 to {count - 1} are understood"
    told = ", ".join(f"{i} ({name[:LONG]})" for i, name in enumerate(names[:MANY]))
    return f"{understood}: {told}{', and so on' if count > MANY else ''}."


def names_of(given: Any) -> tuple[str, ...]:
    """Class names by index of a file's path, the names in order, or a mapping such as ``id2label``.

    Raises
    ------
    ClassError
        If a mapping leaves an index out.
    """
    if isinstance(given, (str, Path)):
        return read_class_names(Path(given))
    return _by_index(given) if isinstance(given, Mapping) else tuple(given)


def _by_index(given: Mapping[Any, Any]) -> tuple[str, ...]:
    """Names by index, of a mapping from index to name or, as ``label2id``, from name to index."""
    if given and all(isinstance(value, int) for value in given.values()):
        given = {value: key for key, value in given.items()}
    try:
        by = {int(key): str(name) for key, name in given.items()}
    except (TypeError, ValueError) as error:
        raise ClassError("class names came as a mapping; needed is one from index to name") from error
    if sorted(by) != list(range(len(given))):
        missing = next((k for k in range(len(given)) if k not in by), len(given))
        raise ClassError(f"class names by index lack {missing}; needed is a name for each index from 0 on")
    return tuple(by[k] for k in range(len(by)))


def read_class_names(path: Path) -> tuple[str, ...]:
    """Class names by index from a text file, one a line, or a JSON list of strings or ``id2label``."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        names = _named_in(json.loads(text), path) if path.suffix == ".json" else text.splitlines()
    except (OSError, ValueError) as error:
        raise ClassError(f"cannot read class names from {path}: {error}") from error
    names = [name.strip() for name in names]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise ClassError(f"{path} holds no class name; needed is one a line")
    return tuple(names)


def _named_in(held: Any, path: Path) -> list[str]:
    """Names in what a JSON file holds; a configuration of transformers has them beside much else."""
    if isinstance(held, dict):
        return list(_by_index(held.get("id2label", held)))
    if not isinstance(held, list) or not all(isinstance(name, str) for name in held):
        raise ClassError(f"{path} must hold a JSON list of strings, one for each class, or id2label")
    return held
