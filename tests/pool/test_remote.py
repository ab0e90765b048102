"""A pool behind addresses is that of a local copy: from a memory, a web server and an object store."""

from __future__ import annotations

import errno
import importlib.util
import os
import pickle
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers import object_store
from helpers.planted_world import contents, model_arguments, quick, quick_arguments, whyclass
from whyclass.cli import project
from whyclass.errors import DataError
from whyclass.planted import demo, world
from whyclass.pool import images, known_remote, remote
from whyclass.pool.images import pool
from whyclass.study.study import Study

fsspec = pytest.importorskip("fsspec", reason="the extra remote is not installed")

HAS = {name: importlib.util.find_spec(name) is not None for name in ("aiohttp", "s3fs", "moto", "flask_cors")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Pictures of the planted world, and what else lies about in folders."""
    found = world.write_pool(tmp_path_factory.mktemp("some 100% odd") / "pool", 2)
    picture = next((found / "owl").iterdir()).read_bytes()
    for name in ("other/grey #1?.png", ".hidden.png", ".cache/a.png", "store/a.png", "store/pages/b.png"):
        (found / name).parent.mkdir(exist_ok=True)
        (found / name).write_bytes(picture)
    (found / "store" / "whyclass.json").write_text("{}")  # a store within it is no part of it
    (found / "notes.txt").write_text("none")
    (found / "README").write_text("none")
    (found / "broken.png").write_bytes(b"")
    pages = [Image.fromarray(np.full((20, 20, 3), shade, np.uint8)) for shade in (0, 128, 255)]
    pages[0].save(found / "pages.tif", save_all=True, append_images=pages[1:])
    return found


@pytest.fixture(scope="module")
def local(folder):
    return pool(folder)


@pytest.fixture(scope="module")
def web(folder):
    if not HAS["aiohttp"]:
        pytest.skip("aiohttp is not installed")
    with object_store.web(folder.parent) as address:
        yield address


def in_memory(folder: Path, name: str) -> str:
    fsspec.filesystem("memory").put(str(folder), f"/{name}/pool", recursive=True)
    return f"memory://{name}/pool"


@pytest.fixture(params=["file", "memory", "http"])
def url(request, folder) -> str:
    if request.param == "http":
        return f"{request.getfixturevalue('web')}/pool/"
    return in_memory(folder, "pictures") if request.param == "memory" else f"file://{folder}"


def test_it_is_the_pool_of_a_local_copy(url, local):
    found = pool(url)
    assert found.name == url
    assert found.items == local.items
    assert found.digest == local.digest
    assert found.left_out == local.left_out
    assert {item.label for item in found.items} >= {"owl", "other", "pool"}
    sent = pickle.loads(pickle.dumps(found))
    for position, item in enumerate(local.items):
        if item.path == "broken.png":
            with pytest.raises(DataError, match=r"broken\.png: not an image"):
                sent.sample(position, world.PREPROCESSING)
            continue
        one, same = (each.sample(position, world.PREPROCESSING).tensor for each in (sent, local))
        assert one.equal(same), item.path


def test_several_folders_patterns_and_files_are_those_of_a_local_copy(folder):
    url = in_memory(folder, "several")
    both = pool([f"{url}/owl", f"{url}/bee"])
    assert both.items == pool([folder / "owl", folder / "bee"]).items
    files = [f"{url}/owl/0001.png", f"{url}/bee/0000.png"]
    assert pool(files).items == pool([folder / "owl/0001.png", folder / "bee/0000.png"]).items
    assert pool(files).name == "2 files"
    fits = pool(f"{url}/**/*.png")
    assert fits.items == pool(str(folder / "**/*.png")).items
    assert pool(f"{url}/owl/*.png").items[0].label == "owl"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nobody://x/y", "nobody://x/y: Protocol not known"),
        ("gs://bucket/x", "needs another library beside fsspec"),
        ("memory://empty", "no image in memory://empty"),
        ("memory://empty/*.png", "no file fits memory://empty"),
        ("http://127.0.0.1:9/x", "http://127.0.0.1:9/x cannot be listed: .*check the address, the network"),
        ("memory://x/a.png", "is a file; give the folder"),
        ("memory://x/pool.tar", "is a file; .*copy a table or an archive"),
        ("ftp://me:secret@host/x", "holds a password"),
        ("http://127.0.0.1:9/*.png", "is a file; give the folder"),
        (["memory://x", "pictures"], "memory://x is an address, and paths were given beside it"),
        (["memory://x", "file:///x"], "of several stores"),
        (["memory://x/*.png", "memory://y"], "a pattern of addresses is given alone"),
    ],
)
def test_what_cannot_be_read_is_one_error(url, says):
    if "gs:" in url and importlib.util.find_spec("gcsfs"):
        pytest.skip("gcsfs is installed")
    if "127.0.0.1" in url and not HAS["aiohttp"]:
        pytest.skip("aiohttp is not installed")
    with pytest.raises(DataError, match=says) as error:
        pool(url)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_that_is_not_there_is_said(web):
    with pytest.raises(DataError, match=r"there is no folder or file .*/nothing"):
        pool(f"{web}/nothing")


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(DataError, match=r"memory://none needs the fsspec library: .*whyclass\[remote\]"):
        pool("memory://none")


def test_a_file_that_changed_or_is_gone_stops_a_pass(folder):
    found = pool(in_memory(folder, "changing"))
    store = fsspec.filesystem("memory")
    positions = {item.path: number for number, item in enumerate(found.items)}
    for name, change, says in (
        ("owl/0000.png", lambda path: store.pipe(path, store.cat("/changing/pool/bee/0000.png")), "changed"),
        ("owl/0001.png", store.rm, "could be read before"),
    ):
        change(f"/changing/pool/{name}")
        with pytest.raises(DataError, match=f"{name}.*{says}"):
            list(images.samples(found, [positions[name]], world.PREPROCESSING))  # not skipped


class Flaky:
    """A file system whose first answers are errors."""

    async_impl = True

    def __init__(self, errors: list[Exception]) -> None:
        self.errors, self.asked = errors, 0

    def cat_file(self, path: str) -> bytes:
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        return b"data"


@pytest.mark.parametrize(
    ("errors", "reads", "number", "asked"),
    [
        ([TimeoutError("slow"), ConnectionResetError("reset")], True, None, 3),
        ([RuntimeError("busy\nwith much")] * 3, False, errno.ECONNABORTED, 3),
        ([OSError(errno.EIO, "internal error")] * 3, False, errno.ECONNABORTED, 3),  # no broken image
        ([FileNotFoundError("key")], False, errno.ENOENT, 1),
        ([PermissionError("forbidden")], False, errno.EACCES, 1),
    ],
)
def test_what_may_pass_is_asked_for_again(monkeypatch, errors, reads, number, asked):
    flaky = Flaky(list(errors))
    monkeypatch.setattr(remote, "_opened", lambda url, process: (flaky, url, None))
    monkeypatch.setattr(remote, "PAUSE", 0.0)
    file = remote.RemoteFile(remote.Bucket("memory://x"), "x/a.png")
    if reads:
        assert file.read() == b"data"
    else:
        with pytest.raises(OSError) as error:
            file.read()
        assert error.value.errno == number
    assert flaky.asked == asked


def test_a_file_that_is_too_long_is_not_read(folder, monkeypatch):
    monkeypatch.setattr(remote, "LONGEST", 400)
    found = pool(in_memory(folder, "long"))
    position = next(n for n, item in enumerate(found.items) if item.path == "owl/0000.png")
    assert found.items[position].digest == f"unreadable-{errno.EFBIG}"
    with pytest.raises(DataError, match="more than"):
        found.sample(position, world.PREPROCESSING)


# ---------------------------------------------------------------- questions


def audited(given, store) -> Study:
    study = Study(demo.loaded(), "stage4", given, store, quick())
    study.audit(["hawk", "owl"])
    return study


NAMELESS = ("index", "frames", "evidence", "factors", "comparisons")
"""Folders of what no name of a pool is in."""


def test_a_study_leaves_the_bytes_of_a_local_copy(folder, tmp_path):
    url = in_memory(folder, "study")
    here, far = audited(folder, tmp_path / "here"), audited(url, tmp_path / "far")
    bytes_of = [
        {name: data for name, data in contents(study.store.folder).items() if name.split("/")[0] in NAMELESS}
        for study in (here, far)
    ]
    assert bytes_of[0] == bytes_of[1]
    assert {name.split("/")[0] for name in bytes_of[0]} >= {"index", "frames", "evidence", "factors"}
    one, other = here.explain("hawk"), far.explain("hawk")
    assert other.pool.name == url
    assert replace(other, pool=replace(other.pool, name=one.pool.name)) == one


def test_what_is_known_by_its_mark_is_not_read_again(folder, local, tmp_path, monkeypatch):
    url, store, asked = in_memory(folder, "marked"), tmp_path / "store", list[str]()
    once = remote.RemoteFile._once
    monkeypatch.setattr(remote, "_mark", lambda told: str(told.get("created", "")))
    monkeypatch.setattr(remote.RemoteFile, "_once", lambda self: (asked.append(self.path), once(self))[1])
    study = Study(demo.loaded(), "stage4", url, store, quick(), progress=False)
    assert len(set(asked)) == len({item.path.partition("#")[0] for item in local.items})
    assert len(pickle.dumps(study.pool)) > len(pickle.dumps(replace(study.pool, known={})))
    asked.clear()
    assert pool(url, store).items == local.items
    assert asked == []
    assert pool(url).items == local.items  # whoever has no store reads them all
    assert len(asked) > len(local.items)
    asked.clear()
    fsspec.filesystem("memory").pipe("/marked/pool/owl/0000.png", (folder / "bee/0000.png").read_bytes())
    changed = Study(demo.loaded(), "stage4", url, store, quick(), progress=False).pool
    assert asked == ["/marked/pool/owl/0000.png"]
    digests = {item.path: item.digest for item in changed.items}
    assert digests["owl/0000.png"] == digests["bee/0000.png"]
    (store / known_remote.FILE).write_text('{"x": 3}')  # damaged
    assert pool(url, store).items == changed.items


def test_options_keep_an_address_as_it_is(folder, local, tmp_path, monkeypatch):
    url = in_memory(folder, "options")
    told = ("--store", tmp_path / "store", "--json", "--quiet")
    settings = [
        text for name in ("copies", "starts", "null_crops", "refits") for text in ("--set", f"{name}=1")
    ]
    given = [*model_arguments(tmp_path / "model"), "--class", "hawk", *settings, *told]
    found = whyclass("explain", *given, "--images", url)
    assert found.code == 0, found.err
    assert found.json["pool"]["digest"] == local.digest
    (tmp_path / project.FILE).write_text(f'images = ["{url}", "photos"]\n')
    assert project.read(tmp_path / project.FILE)["images"] == [url, tmp_path / "photos"]
    (tmp_path / project.FILE).unlink()
    monkeypatch.chdir(tmp_path / "model")  # what the store remembers is not made a path of this folder
    again = whyclass("explain", "--class", "owl", *told)
    assert again.json["pool"]["digest"] == local.digest


# ---------------------------------------------------------------- an object store


@pytest.fixture
def bucket(monkeypatch):
    """A server of buckets, and its address; this process and those it begins find it."""
    if lacking := [name for name in ("s3fs", "moto", "flask_cors") if not HAS[name]]:
        pytest.skip(f"{lacking[0]} is not installed")
    with object_store.buckets() as said:
        for name, value in said.items():
            monkeypatch.setenv(name, value)
        remote._opened.cache_clear()
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        yield said["AWS_ENDPOINT_URL"]
        remote._opened.cache_clear()
        fsspec.get_filesystem_class("s3").clear_instance_cache()


# older Ray leaves files of its own log open
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_bucket_is_read_by_workers_too(bucket, folder, local, tmp_path, monkeypatch):
    """By a server of buckets, with the model from a file and workers that are processes of their own."""
    pytest.importorskip("ray", reason="the extra ray is not installed")
    object_store.put(bucket, folder, "some/pool")
    url = f"s3://{object_store.BUCKET}/some/pool"
    found = pool(url)
    assert found.items == local.items
    assert found.left_out == local.left_out
    with pytest.raises(DataError, match=r"there is no folder or file s3://nowhere"):
        pool("s3://nowhere/pool")
    with pytest.raises(DataError, match=r"no image in s3://pools/other"):
        pool(f"s3://{object_store.BUCKET}/other")
    model = model_arguments(tmp_path / "model")
    model[model.index("--layer")] = "--layers"
    given = [
        "audit",
        *model,
        "--classes",
        "hawk,owl",
        *quick_arguments(),
        "--json",
        "--quiet",
        "--workers",
        "1",
    ]
    for store, engine in (("here", "local"), ("ray", "ray")):
        ran = whyclass(*given, "--images", url, "--store", tmp_path / store, "--engine", engine)
        assert ran.code == 0, ran.err
    assert contents(tmp_path / "ray") == contents(tmp_path / "here")
    monkeypatch.setattr(remote.RemoteFile, "_once", None)  # nothing is read again
    assert pool(url, tmp_path / "here").items == local.items
    assert os.environ["AWS_ENDPOINT_URL"] == bucket
