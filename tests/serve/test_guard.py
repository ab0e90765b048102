"""Nobody but the explorer's own browser gets anything, and nobody gets what is not the store's."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from helpers.explanations import HOSTILE
from helpers.explored import Running, failing, made, opener_of, running
from helpers.parsed_pages import Parsed
from whyclass import naming
from whyclass.errors import SettingsError
from whyclass.records import Finding
from whyclass.serve import brought, guard
from whyclass.serve.server import listening
from whyclass.store import find_store, key_in


def picture(size: tuple[int, int] = (120, 100), kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(out, kind)
    return out.getvalue()


def bomb(side: int) -> bytes:
    """A PNG of a few kB that says it has ``side`` x ``side`` pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = zlib.compress(bytes((side + 1) * 8), 9)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [
            chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)),
            chunk(b"IDAT", rows),
            chunk(b"IEND", b""),
        ]
    )


def form(data: bytes, name: str = "p.png") -> tuple[bytes, str]:
    """A browser's upload, and its type."""
    head = f'--b\r\nContent-Disposition: form-data; name="picture"; filename="{name}"\r\n\r\n'
    return head.encode() + data + b"\r\n--b--\r\n", "multipart/form-data; boundary=b"


def upload(explored: Running, data: bytes, name: str = "p.png") -> tuple[int, dict[str, str], bytes]:
    body, kind = form(data, name)
    return explored.request("POST", "/image", body, content_type=kind)


# ---------------------------------------------------------------- who asks


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "::", "example.org"])
def test_it_listens_on_this_machine_alone(host):
    with pytest.raises(SettingsError, match="this machine alone"):
        listening(host, 0)


def test_another_browser_of_this_machine_is_refused(explored):
    for cookie in ("", "other=1", f"{explored.explorer.gate.cookie}=guess"):
        status, _, body = explored.request("GET", "/", cookie=cookie)
        assert status == 403
        assert b"whyclass serve printed" in body
    assert explored.request("GET", "/")[0] == 200


def test_the_secret_opens_the_door_once_and_is_hidden_from_scripts(explored):
    gate = explored.explorer.gate
    status, headers, _ = explored.request("GET", f"/enter/{gate.secret}", cookie="")
    assert (status, headers["location"]) == (303, "/")
    kept = headers["set-cookie"].lower()
    assert "httponly" in kept
    assert "samesite=strict" in kept
    assert explored.request("GET", "/enter/guess", cookie="")[0] == 403


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1", "127.0.0.1.evil.example"])
def test_a_name_that_merely_resolves_here_is_refused(explored, host):
    assert explored.request("GET", "/", host=host)[0] == 421


@pytest.mark.parametrize(
    "origin", ["", "null", "http://evil.example", "http://127.0.0.1:1", "https://127.0.0.1"]
)
def test_another_site_changes_nothing(explored, origin):
    before = len(explored.explorer.jobs.all())
    form = {"kind": "explain", "target": 0}
    assert explored.request("POST", "/jobs", form, origin=origin)[0] == 403
    assert len(explored.explorer.jobs.all()) == before


def test_another_site_reads_nothing(explored):
    status, headers, _ = explored.request("GET", "/", sec_fetch_site="cross-site")
    assert status == 403
    status, headers, _ = explored.request("GET", "/", sec_fetch_site="none", origin="http://evil.example")
    assert "access-control-allow-origin" not in headers
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert (
        "unsafe-inline" not in headers["content-security-policy"].partition("script-src")[2].partition(";")[0]
    )
    assert explored.request("OPTIONS", "/jobs", origin="http://evil.example")[0] == 403


# ---------------------------------------------------------------- what is asked


SECRET = b"not of the store"


class Tags(Parsed):
    """Start tags with attributes, of a page that may leave tags open."""

    def handle_endtag(self, tag):
        pass


@pytest.mark.parametrize(
    "path",
    [
        "/blob/../secret/x",
        "/blob/findings/..%2f..%2fsecret/000000000000000000000000",
        "/blob/jobs/00000000000000000000/000000000000000000000000",
        "/static/..%2fexplorer.py",
        "/static/../explorer.py",
        "/upload/..%2f..%2f..%2fsecret.png",
        "/pool/-1.jpg",
        "/pool/999999.jpg",
        "/pool/..%2fsecret.jpg",
        "/at?path=../secret.png",
        "/at?path=/etc/passwd",
        "/picture?of=pool:99999999",
        "/picture?of=upload:../../secret",
        "/picture?of=/etc/passwd",
        "/findings/..%2f..%2fsecret.json",
        "/labels/00000000000000000000.json",
        "/whyclass.json",
        "//etc/passwd",
        "/class/0/1",
        "/class/" + "a" * 2000 + "/1",
        "/heat/0/1/99999.png",
        "/jobs/..%2f..%2fwhyclass.json",
    ],
)
def test_nothing_outside_the_store_is_read(explored, path):
    (explored.folder / "secret.png").write_bytes(SECRET)
    status, _, body = explored.request("GET", path)
    assert 400 <= status < 500
    assert SECRET not in body
    assert b"root:" not in body
    assert b"weights" not in body


def test_large_bodies_are_refused_whatever_they_say(explored):
    large = b"x" * (guard.LARGEST_BODY + 1)
    assert explored.request("POST", "/image", large, content_type="multipart/form-data; boundary=b")[0] == 413
    assert explored.request("POST", "/jobs", b"kind=explain", content_length=str(10**12))[0] == 413


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "cannot be read"),
        (b"<svg onload='alert(1)'></svg>", "cannot be read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "cannot be read"),
        (bomb(20_000), "pixels"),
        (picture()[:60], "cannot be read"),
    ],
)
def test_what_is_no_picture_or_unpacks_to_too_much_is_refused(explored, data, said):
    status, _, body = upload(explored, data)
    assert status == 400
    assert said in body.decode()


def test_an_upload_is_kept_as_the_model_sees_it_under_its_hash(explored, planted_store):
    status, headers, _ = upload(explored, picture(), name='../../"<img src=x onerror=alert(1)>.png')
    assert status == 303
    key = headers["location"].rpartition(":")[2]
    kept = brought.upload(explored.explorer.store, key)
    assert (kept.picture.width, kept.picture.height) == (96, 96)
    assert "/" not in kept.name
    status, _, body = explored.request("GET", headers["location"])
    assert status == 200
    assert b"<img src=x" not in body
    assert explored.request("GET", f"/upload/{key}.png")[2].startswith(b"\x89PNG")
    assert not list(planted_store.rglob("*onerror*"))


def test_uploads_do_not_fill_the_disk(explored, monkeypatch):
    monkeypatch.setattr(brought, "MOST", 3)
    for side in range(5):
        assert upload(explored, picture((100 + side, 100)))[0] == 303
    assert len(explored.explorer.store.records(brought.FOLDER)) <= 3


def test_forms_with_nonsense_get_one_sentence(explored):
    for given in (
        {},
        {"kind": "../explain"},
        {"kind": "explain"},
        {"kind": "explain", "target": "1e9"},
        {"kind": "explain", "target": "99"},
        {"kind": "contrast", "target": 1, "against": 1},
        {"kind": "insert", "target": 1, "against": 0, "picture": "/etc/passwd", "box": "1,1,2,2"},
        {"kind": "insert", "target": 1, "against": 0, "picture": "pool:0", "box": "1,1"},
        {"kind": "insert", "target": 1, "against": 0, "picture": "pool:0", "box": "1,1,2,2", "at": "<b>"},
        {"kind": "map", "group": "../.."},
    ):
        status, _, body = explored.request("POST", "/jobs", given)
        assert status in (400, 404), given
        assert b'role="alert"' in body


def test_markup_in_records_and_names_stays_text(tmp_path):
    """A class, its rival, files and a user's own words: none of them becomes markup or a script."""
    folder = made(tmp_path / "hostile", 2)
    store = find_store(folder / "store")
    for file in store.records("findings"):
        found = Finding.load(file)
        poisoned = replace(
            found,
            target=replace(found.target, name=HOSTILE),
            rival=replace(found.target, name=HOSTILE),
            model=replace(found.model, name=HOSTILE, layer=HOSTILE),
            warnings=(HOSTILE,),
        )
        poisoned.save(file, key_in(file))
        for concept in found.concepts:
            naming.keep_label(store, naming.key_of_concept(concept.vector), HOSTILE[:60], HOSTILE)
    with running(folder, None) as hostile:
        group, index = hostile.group, hostile.explorer.group(hostile.group).classes[0].target.index
        for path in ("/", f"/class/{group}/{index}", f"/concept/{group}/{index}/1", f"/map/{group}", "/jobs"):
            status, _, body = hostile.request("GET", path)
            text = body.decode()
            assert status == 200, text
            assert "<script>alert" not in text
            # what browsers close by themselves is left open by HTML's own rules, so tags are not counted here
            assert not any(name.startswith("on") for _, given in Tags(text).tags for name in given)
            assert not [given for name, given in Tags(text).tags if name == "script" and "src" not in given]
        status, headers, body = hostile.request("GET", f"/findings/{'0' * 20}.json")
        assert status == 400
        assert headers["content-type"].startswith("application/json")


def test_a_model_that_cannot_be_opened_leaves_the_store_to_be_looked_at(planted_store):
    with running(planted_store, partial(failing, planted_store)) as found:
        status, _, body = found.request("GET", "/")
        assert status == 200
        assert "RuntimeError: no model &lt;b&gt;in&lt;/b&gt;" in body.decode()
        assert found.request("POST", "/jobs", {"kind": "explain", "target": 0})[0] == 400
        group = found.group
        assert found.request("GET", f"/class/{group}/1")[0] == 200


def test_a_store_that_is_removed_is_said_to_be(tmp_path):
    folder = made(tmp_path / "gone", 2)
    with running(folder, opener_of(folder)) as found:
        (Path(folder) / "store" / "whyclass.json").unlink()
        status, _, body = found.request("GET", "/")
        assert status == 410
        assert "was removed" in body.decode()
        status, _, body = found.request("POST", "/jobs", {"kind": "explain", "target": 0})
        assert status == 410
