"""A matrix of the user's own directions: read, checked, or refused by name."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from whyclass.errors import DataError
from whyclass.study.own_directions import read_directions

GOOD = np.arange(1, 13, dtype=np.float32).reshape(3, 4)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_matrix_is_read(tmp_path, suffix):
    path = tmp_path / f"mine{suffix}"
    if suffix == ".npz":
        np.savez(path, GOOD)
    else:
        save_file({"decoder": GOOD}, path)
    found = read_directions(path, 4)
    assert found.rows.tolist() == GOOD.tolist()
    assert len(found.digest) == 32


def broken(row, value):
    changed = GOOD.copy()
    changed[row] = value
    return changed


@pytest.mark.parametrize(
    ("arrays", "channels", "said"),
    [
        ({"a": GOOD}, 7, "rows of 4 numbers, and the layer has 7 channels"),
        ({"a": GOOD}, 3, "it looks transposed"),
        ({"a": broken(1, 0)}, 4, "row 1 is all zero"),
        ({"a": broken(2, np.nan)}, 4, "row 2 is not finite"),
        ({"a": GOOD[0]}, 4, "of shape \\(4,\\); needed is one matrix"),
        ({"a": GOOD[:0]}, 4, "needed is one matrix"),
        ({"a": GOOD, "b": GOOD}, 4, "holds 2 arrays \\(a, b\\)"),
    ],
)
def test_what_is_no_set_of_directions_is_refused(tmp_path, arrays, channels, said):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(DataError, match=said):
        read_directions(tmp_path / "x.npz", channels)


@pytest.mark.parametrize("name", ["x.npz", "x.safetensors"])
def test_a_damaged_file_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(DataError, match="no whole"):
        read_directions(tmp_path / name, 4)


def test_objects_are_not_unpickled(tmp_path):
    np.savez(tmp_path / "x.npz", np.array([{"a": 1}], object))
    with pytest.raises(DataError, match="no whole"):
        read_directions(tmp_path / "x.npz", 4)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"not from '.pt'"):
        read_directions(tmp_path / "x.pt", 4)
    with pytest.raises(DataError, match="no such file"):
        read_directions(tmp_path / "x.npz", 4)
