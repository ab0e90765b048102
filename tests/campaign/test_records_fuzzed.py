"""Records with any values: refused, or shown, or refused when shown; never a crash."""

from __future__ import annotations

import io
import json
import zipfile
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console
from safetensors.numpy import load, save

from helpers import contrasts, explanations, image_explanations, layer_choices, model_comparisons
from helpers.campaign import LENGTH, tell
from whyclass.errors import RecordError
from whyclass.records import (
    FORMAT,
    Contrast,
    Explanation,
    ImageExplanation,
    InsertionTest,
    LayerChoice,
    ModelComparison,
    Record,
    codec,
)
from whyclass.report import json_objects

SMALL = {"size": (48, 48), "crop": (16, 16)}

MADE: dict[type[Record], bytes] = {
    Explanation: codec.encode(explanations.explanation()),
    Contrast: codec.encode(contrasts.contrast()),
    InsertionTest: codec.encode(contrasts.insertion_test()),
    ImageExplanation: codec.encode(image_explanations.image_explanation(**SMALL)),
    ModelComparison: codec.encode(model_comparisons.comparison(**SMALL)),
    LayerChoice: codec.encode(
        layer_choices.choice([layer_choices.candidate("a", 60, 0.8), layer_choices.candidate("b", 90, 0.6)])
    ),
}

TRIED = 60
"""Records of each kind in every run of the tests."""

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.sampled_from([float("inf"), float("-inf"), float("nan"), 1e308, -0.0, 5e-324]),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["", "a00000", "a99999", "blobs/0", "record.json", "\x1b[31m", "<script>", "\ud800"]),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)

LIKE: dict[type, Any] = {
    int: st.one_of(st.integers(-3, 10), st.integers(-(10**20), 10**20)),
    float: st.one_of(
        st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([1e308, -1e308, 5e-324])
    ),
    str: st.one_of(st.text(max_size=20), st.sampled_from(["\x1b[31m", "<script>", "\ud800", "image/png"])),
    bool: st.booleans(),
    list: st.just([]),
    dict: st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
}
"""Other values of the same kind, which no loading can refuse."""

SHAPES = st.one_of(st.just(()), st.lists(st.integers(0, 3), max_size=4).map(tuple))
KINDS = st.sampled_from(["float32", "float64", "float16", "int64", "uint8", "bool"])


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in plain values."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for name, one in inside for place in places(one, (*at, name)))]


def taken_apart(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def put_together(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


@st.composite
def spoilt(draw: Any, data: bytes) -> bytes:
    """A record with a few values, fields or arrays changed."""
    files = taken_apart(data)
    values = json.loads(files["record.json"])
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from([place for place in places(values["record"]) if place]))
        holder = values["record"]
        for step in way:
            if not isinstance(holder, dict | list) or (isinstance(holder, list) and len(holder) <= step):
                break
            holder = holder[step] if isinstance(holder, list) else holder.get(step)
        if isinstance(holder, dict) and draw(st.integers(0, 9)) == 0:
            holder.pop(last, None)
        elif isinstance(holder, dict) or (
            isinstance(holder, list) and isinstance(last, int) and len(holder) > last
        ):
            kind = LIKE.get(type(holder[last] if isinstance(holder, list) else holder.get(last)), VALUES)
            holder[last] = draw(kind if draw(st.integers(0, 5)) else VALUES)
    arrays = load(files["arrays.safetensors"])
    if arrays and draw(st.booleans()):
        name = draw(st.sampled_from(sorted(arrays)))
        arrays[name] = np.full(draw(SHAPES), draw(st.sampled_from([0, 1, np.nan])), draw(KINDS))
        files["arrays.safetensors"] = save(arrays)
    files["record.json"] = json.dumps(values).encode()
    return put_together(files)


def shown(found: Record) -> None:
    """In every form there is; each may refuse, and none may crash."""
    for view in (
        lambda: found._shown("html").encode(),
        lambda: found._repr_html_().encode(),
        lambda: json.dumps(json_objects.as_object(found), allow_nan=False),
        lambda: Console(file=io.StringIO()).print(found),
    ):
        with suppress(RecordError):
            view()
    assert "\n" not in repr(found)


@pytest.mark.filterwarnings("ignore:(invalid value|overflow|divide by zero):RuntimeWarning")
@pytest.mark.parametrize("kind", MADE, ids=lambda kind: kind.__name__)
def test_a_record_with_any_values_is_refused_or_shown(kind):
    tried = {"loaded": 0, "refused": 0}

    @settings(
        max_examples=TRIED * LENGTH,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(spoilt(MADE[kind]))
    def one(data: bytes) -> None:
        try:
            found = codec.decode(kind, data, FORMAT)
        except RecordError:
            tried["refused"] += 1
            return
        tried["loaded"] += 1
        shown(found)

    one()
    total = sum(tried.values())
    tell(f"{kind.__name__} with other values ({tried['refused']} refused on loading)", total, total)


@pytest.mark.parametrize("kind", MADE, ids=lambda kind: kind.__name__)
def test_any_bytes_are_refused_or_without_consequence(kind):
    whole = codec.decode(kind, MADE[kind], FORMAT)

    @settings(max_examples=TRIED * LENGTH, deadline=None, derandomize=True, database=None)
    @given(st.binary(max_size=200), st.integers(0, len(MADE[kind])))
    def one(some: bytes, at: int) -> None:
        for data in (some, MADE[kind][:at] + some):
            with suppress(RecordError):
                assert codec.decode(kind, data, FORMAT) == whole

    one()
