"""What a release is made of agrees with itself, and what only POSIX has is guarded."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path, PureWindowsPath

import pytest

from whyclass import files, store
from whyclass.cli.init import Found, text
from whyclass.planted import project

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_version_is_the_same_everywhere():
    version = PROJECT["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == version.partition(".dev")[0]


def test_no_requirement_is_pinned_or_closed_upwards():
    extras = PROJECT["optional-dependencies"].values()
    wanted = [*PROJECT["dependencies"], *(one for extra in extras for one in extra)]
    assert not [one for one in wanted if re.search(r"==|<|~=|@", one)]


def test_every_tool_of_the_makefile_is_an_extra_of_development():
    extras = " ".join(PROJECT["optional-dependencies"]["dev"])
    assert {"docs", "release"} <= set(re.findall(r"\w+", extras))


def test_a_file_is_written_and_synced_where_no_file_can_be_locked_nor_moved_while_open(tmp_path, monkeypatch):
    """As on Windows: no fcntl, and an open file cannot be moved."""
    monkeypatch.setattr(files, "_able", lambda: False)
    real, opened = os.replace, []

    def moved(source, target):
        for place in Path("/proc/self/fd").iterdir():
            try:
                opened.append(os.readlink(place))
            except OSError:
                continue
        assert os.path.realpath(source) not in opened, "it is open"
        real(source, target)

    monkeypatch.setattr(os, "replace", moved)
    files.write(tmp_path / "a" / "b.txt", b"x")
    assert (tmp_path / "a" / "b.txt").read_bytes() == b"x"
    files.sync(tmp_path / "a" / "b.txt")
    with files.locked(tmp_path / "lock"):
        pass
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.txt"]


def test_names_that_we_make_are_names_on_windows(tmp_path):
    for name in ("a:b*c?", 'CON"<>|', "nul\\x", "ähnlich", "." * 3, "x" * 300):
        page = PureWindowsPath(store.Store(PureWindowsPath("C:/runs")).page(name, "0123456789"))
        assert not set(page.name) & set('<>:"/\\|?*')
        assert not page.name.endswith((" ", "."))
        assert len(page.name) < 100
        assert not page.is_reserved() if hasattr(page, "is_reserved") else True


def test_paths_are_written_with_slashes():
    found = Found({"store": Path("runs") / "net", "images": [Path("a") / "b"]})
    assert 'store = "runs/net"' in text(found)
    assert 'images = ["a/b"]' in text(found)


@pytest.mark.parametrize("name", [r"C:\nets\net.py:build", "C:/nets/net.py:build", "net.py:build"])
def test_a_drive_is_no_source_of_models(name):
    from whyclass.models.sources import SOURCES

    assert name.partition(":")[0] not in SOURCES
    assert PureWindowsPath(name.rpartition(":")[0]).suffix == ".py"


def test_the_files_of_the_planted_world_are_a_model_that_says_everything_itself(tmp_path):
    place = project.write_project(tmp_path, 1)
    assert {one.name for one in place.iterdir()} == {"photos", "net.py", "net.safetensors"}
