"""The picture zoo: every awkward file is read right, or skipped with one clear reason, within the budget."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import nets
from helpers.picture_zoo import CASES, COLOUR, GIVEN, JPEG, RAMP, Case, png
from helpers.pictures import noise
from whyclass import Preprocessing, Settings, Study
from whyclass.errors import DataError, SettingsError
from whyclass.models import pictures
from whyclass.models.preprocessing import as_patch
from whyclass.models.split import split
from whyclass.models.tasks import task_of
from whyclass.pool import images, indexing_pass, pixel_cache, reading
from whyclass.pool.images import pool, samples
from whyclass.pool.indexing_pass import load_or_make, plan
from whyclass.progress import Progress
from whyclass.report import json_objects, page, summary
from whyclass.store import Store, open_store

AS_IS = Preprocessing(None, (32, 48))
SMALL = Preprocessing(36, (32, 32))


def agrees(found: np.ndarray, case: Case) -> bool:
    assert isinstance(case.right, np.ndarray)
    return found.shape == case.right.shape and np.abs(found.astype(int) - case.right).mean() <= case.close


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    place = tmp_path / "zoo"
    place.mkdir()
    for case in CASES:
        case.make(place / case.name)
    return place


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_file_is_read_right_or_skipped_with_one_reason(tmp_path, case, capfd):
    case.make(tmp_path / case.name)
    found = pool(tmp_path)
    shape = case.right.shape[:2] if isinstance(case.right, np.ndarray) else (32, 48)
    if isinstance(case.right, str):
        with pytest.raises(DataError, match=case.right) as raised:
            found.sample(0, AS_IS)
        assert not reading.stops(raised.value)
        assert str(raised.value).startswith(f"{case.name}: ")
        assert "\n" not in str(raised.value)
        assert str(tmp_path) not in str(raised.value)
    else:
        assert agrees(found.sample(0, Preprocessing(None, shape)).pixels, case)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("image", "right"), GIVEN.values(), ids=GIVEN)
def test_an_image_of_a_list_is_read_right_or_skipped_with_one_reason(image, right):
    found = pool([image])
    if isinstance(right, str):
        with pytest.raises(DataError, match=right) as raised:
            found.sample(0, AS_IS)
        assert not reading.stops(raised.value)
    else:
        assert np.abs(found.sample(0, AS_IS).pixels.astype(int) - right).mean() <= 1


def planned(folder: Any, trunk: Callable[[torch.Tensor], torch.Tensor] | None = None) -> indexing_pass.Plan:
    cut = split(nets.seeded(nets.Plain()), "stem", torch.zeros(1, 3, *SMALL.crop))
    task = task_of(cut.head(cut.trunk(cut.example)))
    return plan(cut, task, lambda: trunk or cut.trunk, pool(folder), SMALL, 2, weights="w")


def test_a_pass_over_the_whole_zoo_skips_what_is_broken_and_nothing_else(zoo, tmp_path):
    for name in ("a.HEIC", "b.heic", "photo", "labels.csv", "clip.mp4"):
        (zoo / name).write_bytes(JPEG)
    (zoo / "folder.jpg").mkdir()
    (zoo / "folder.jpg" / "within.jpg").write_bytes(JPEG)
    made = planned(zoo)
    found = load_or_make(made, Store(tmp_path / "s"), Progress())
    assert {found.items[position].path for position in found.skipped} == {
        case.name for case in CASES if isinstance(case.right, str)
    }
    assert len(found.items) == len(CASES) + 1 + 2 > 80  # two more pages of one file
    assert dict(made.pool.left_out) == {".heic": 2, "without an ending": 1, ".csv": 1, ".mp4": 1}
    assert np.isfinite(found.outputs[found.usable]).all()


def test_decoded_once_and_kept_the_zoo_gives_the_same_index(zoo, tmp_path):
    store = open_store(tmp_path / "s", "net", "w")
    plain = planned(zoo)
    kept = planned(pixel_cache.decoded(plain.pool, SMALL, store, Progress()))
    one = load_or_make(plain, Store(tmp_path / "one"), Progress())
    other = load_or_make(kept, store, Progress())
    assert (one.skipped, one.ranges) == (other.skipped, other.ranges)
    assert np.array_equal(one.outputs, other.outputs, equal_nan=True)


def test_only_other_files_are_named_by_kind(tmp_path):
    for name in ("a.HEIC", "b.heic", "c"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=r"no image in .*; there are 2 \.heic, 1 without an ending"):
        pool(tmp_path)


def test_a_file_that_may_not_be_read_is_skipped(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(JPEG)

    def forbidden(*_: Any) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", forbidden)
    with pytest.raises(DataError, match=r"a\.jpg: Permission denied") as raised:
        pool(tmp_path).sample(0, AS_IS)
    assert not reading.stops(raised.value)


def test_a_patch_is_no_pipe_either(tmp_path):
    os.mkfifo(tmp_path / "patch.png")
    with pytest.raises(DataError, match="a named pipe"):
        as_patch(tmp_path / "patch.png")


# ---------------------------------------------------------------- what changes meanwhile


def replaced(path: Path) -> None:
    noise(np.random.default_rng(9)).save(path.with_suffix(".new.png"))
    path.with_suffix(".new.png").rename(path)


def folded(path: Path) -> None:
    path.unlink()
    path.mkdir()


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


CHANGES: dict[str, Callable[[Path], Any]] = {
    "replaced": replaced,
    "rewritten": lambda path: noise(np.random.default_rng(8)).save(path),
    "removed": Path.unlink,
    "cut off": lambda path: os.truncate(path, 50),
    "emptied": lambda path: os.truncate(path, 0),
    "made a folder": folded,
    "made a pipe": piped,
    "with a tail": lambda path: path.write_bytes(path.read_bytes() + b"x"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_file_that_changes_during_a_pass_leaves_no_row(folder, tmp_path, monkeypatch, change):
    monkeypatch.setattr(indexing_pass, "BATCH", 3)
    shutil.copytree(folder, tmp_path / "before")
    last, store = folder / "b" / "5.png", Store(tmp_path / "s")
    made = planned(folder)
    change(last)
    with pytest.raises(DataError, match=r"b/5\.png") as raised:
        load_or_make(made, store, Progress())
    assert reading.stops(raised.value)
    assert "\n" not in str(raised.value)
    assert not store.index(made.key).exists()
    shutil.rmtree(folder)
    (tmp_path / "before").rename(folder)
    again = load_or_make(planned(folder), store, Progress())
    fresh = load_or_make(planned(folder), Store(tmp_path / "fresh"), Progress())
    assert again.skipped == {}
    assert np.array_equal(again.outputs, fresh.outputs)


@pytest.mark.parametrize("change", ["rewritten", "cut off", "emptied", "with a tail"])
@pytest.mark.parametrize("late", [False, True], ids=["before its decoding", "after it"])
def test_a_file_that_changes_while_it_is_open_is_told(folder, monkeypatch, change, late):
    real, found = images.sample_of, pool(folder)

    def meddled(file: Any, preprocessing: Preprocessing) -> Any:
        if late:
            sample = real(file, preprocessing)
        CHANGES[change](folder / "a" / "0.png")
        return sample if late else real(file, preprocessing)

    monkeypatch.setattr(images, "sample_of", meddled)
    with pytest.raises(DataError, match=r"a/0\.png changed") as raised:
        found.sample(0, AS_IS)
    assert reading.stops(raised.value)


def test_a_file_replaced_while_it_is_open_is_the_one_that_was_hashed(folder, monkeypatch):
    real, found = images.sample_of, pool(folder)
    right = found.sample(0, AS_IS).pixels

    def meddled(file: Any, preprocessing: Preprocessing) -> Any:
        replaced(folder / "a" / "0.png")
        return real(file, preprocessing)

    monkeypatch.setattr(images, "sample_of", meddled)
    assert np.array_equal(found.sample(0, AS_IS).pixels, right)


class Augmented:
    """A dataset that gives another image each time."""

    rng = np.random.default_rng(0)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, position: int) -> tuple[Image.Image, int]:
        return noise(self.rng), 0


def test_a_dataset_that_augments_is_refused_before_anything_is_kept(tmp_path):
    with pytest.raises(DataError, match="without random augmentation"):
        load_or_make(planned(Augmented()), Store(tmp_path / "s"), Progress())


# ---------------------------------------------------------------- memory


def short(times: int, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Decoding ``b/5.png`` meets an error so many times."""
    real, left = images.sample_of, [times]

    def fails(file: Any, preprocessing: Preprocessing) -> Any:
        if "5.png" in os.readlink(f"/proc/self/fd/{file.fileno()}") and left[0]:
            left[0] -= 1
            raise error
        return real(file, preprocessing)

    monkeypatch.setattr(images, "sample_of", fails)


SHORTAGES = [
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: 9 bytes"),
    OSError("out of memory error when reading image file"),
]


@pytest.mark.parametrize("error", SHORTAGES, ids=lambda error: type(error).__name__)
def test_a_shortage_of_memory_stops_a_pass_and_skips_nothing(folder, tmp_path, monkeypatch, error):
    store = Store(tmp_path / "s")
    with monkeypatch.context() as patch:
        short(99, patch, error)
        patch.setattr(reading, "_there_is_memory", lambda: False)
        with pytest.raises(DataError, match=r"b/5\.png: not enough memory"):
            load_or_make(planned(folder), store, Progress())
    assert load_or_make(planned(folder), store, Progress()).skipped == {}


@pytest.mark.parametrize("error", SHORTAGES, ids=lambda error: type(error).__name__)
def test_what_found_no_memory_once_is_decoded_alone(folder, tmp_path, monkeypatch, error):
    short(1, monkeypatch, error)
    assert load_or_make(planned(folder), Store(tmp_path / "s"), Progress()).skipped == {}


def test_a_file_that_asks_for_memory_without_end_is_skipped(folder, tmp_path, monkeypatch):
    short(99, monkeypatch, MemoryError())
    (reason,) = load_or_make(planned(folder), Store(tmp_path / "s"), Progress()).skipped.values()
    assert "far more memory" in reason


def test_too_many_open_files_are_no_broken_picture(folder, monkeypatch):
    found = pool(folder)

    def none_left(*_: Any) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "open", none_left)
    with pytest.raises(DataError, match="Too many open files") as raised:
        found.sample(0, AS_IS)
    assert reading.stops(raised.value)
    with pytest.raises(DataError, match="Too many open files"):
        pool(folder)


def test_all_threads_share_one_budget():
    budget, lock, held, most = pictures.Budget(100), threading.Lock(), [0], [0]

    def work(cost: int) -> None:
        with budget.of(cost):
            with lock:
                held[0] += cost
                most[0] = max(most[0], held[0])
            threading.Event().wait(0.001)
            with lock:
                held[0] -= cost

    costs = np.random.default_rng(0).integers(1, 101, 60).tolist()
    threads = [threading.Thread(target=work, args=(cost,)) for cost in costs]
    for thread in threads:
        thread.start()
    with budget.alone(), budget.of(70):
        assert held[0] == 0
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    assert 50 < most[0] <= 100


CHILD = """
import re, sys
import numpy as np
from whyclass import Preprocessing
from whyclass.models import pictures
from whyclass.pool.images import pool, samples
from whyclass.models.preprocessing import Sample, sample_of
pictures.budget.size = int(sys.argv[2])
size = Preprocessing()
found = pool(sys.argv[1])
sample_of(np.zeros((600, 600, 3), np.uint8), size)
def highest():
    # of this process alone: getrusage goes on from that of whoever started it
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
before = highest()
pairs = samples(found, range(len(found.items)), size, 4)
read = [found.items[p].path for p, one in pairs if isinstance(one, Sample)]
print(highest() - before, *read)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def test_the_peak_of_memory_keeps_to_the_budget(tmp_path):
    rows = {"grey16.png": (5000, 16, 0), "palette.png": (5000, 8, 3), "bits.png": (7000, 1, 0)}
    for number in range(3):
        for name, (side, depth, kind) in rows.items():
            (tmp_path / f"{number}-{name}").write_bytes(png(side, side, depth, kind, whole=True))
    Image.new("RGB", (7200, 7200), (200, 9, 9)).save(tmp_path / "huge.jpg")
    for number in range(4):
        (tmp_path / f"bomb-{number}.png").write_bytes(
            png(30_000, 30_000, (8, 16)[number % 2], (3, 0)[number % 2])
        )
    budget = 240 << 20
    ran = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path), str(budget)], capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    peak, *read = ran.stdout.split()
    assert sorted(read) == sorted([*(f"{n}-{name}" for n in range(3) for name in rows), "huge.jpg"])
    assert int(peak) < 1.1 * budget


@pytest.mark.parametrize("wrong", [{"resize": 1_000_000}, {"crop": (100_000, 224)}])
def test_sizes_that_no_memory_holds_are_refused(wrong):
    with pytest.raises(SettingsError, match="at most 8192 pixels"):
        Preprocessing(**wrong)


def test_a_strip_that_grows_beyond_the_budget_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(png(1, 90_000_000, 8, 0))
    with pytest.raises(DataError, match=r"take 13.* GB to decode and resize"):
        pool(tmp_path).sample(0, SMALL)


def test_a_huge_photograph_is_decoded_small_and_looks_the_same(tmp_path, monkeypatch):
    COLOUR.resize((960, 640)).save(tmp_path / "a.jpg", quality=95)
    whole = pool(tmp_path).sample(0, SMALL).pixels
    monkeypatch.setattr(pictures, "DRAFTED", 1000)
    monkeypatch.setattr(pictures, "FINE", 64)
    small = pool(tmp_path).sample(0, SMALL).pixels
    assert np.abs(whole.astype(int) - small).mean() < 2


def test_few_images_of_a_large_size_wait_to_be_asked_for(folder, monkeypatch):
    asked: list[int] = []
    real = images.sample_of
    monkeypatch.setattr(images, "AHEAD", 1)
    monkeypatch.setattr(images, "sample_of", lambda *given: (asked.append(1), real(*given))[1])
    ahead = samples(pool(folder), range(7), AS_IS, 2)
    next(ahead)
    ahead.close()
    assert len(asked) <= 4


# ---------------------------------------------------------------- what a reader is told


def told(found: images.Pool, preprocessing: Preprocessing, tmp_path: Path) -> str:
    cut = split(nets.seeded(nets.Plain()), "stem", torch.zeros(1, 3, *preprocessing.crop))
    task = task_of(cut.head(cut.trunk(cut.example)))
    made = plan(cut, task, lambda: cut.trunk, found, preprocessing, 2, weights="w")
    index = load_or_make(made, Store(tmp_path / "s"), Progress())
    assert load_or_make(made, Store(tmp_path / "s"), Progress()).ranges == index.ranges
    return "\n".join(index.ranges.warnings(preprocessing))


def ramps(most: int) -> list[Image.Image]:
    return [Image.fromarray((RAMP // (65536 // most)).astype(np.uint16)) for _ in range(3)]


SCALED = Preprocessing(36, (32, 32), mean=(0.0,) * 3, std=(1.0,) * 3)
TOLD: list[tuple[str, Any, Preprocessing, str]] = [
    ("12 bits in 16", ramps(4096), SMALL, r"no value of the 3 pictures of more than 8 bits lies above 6\.2%"),
    ("14 bits in 16", ramps(16384), SMALL, r"lies above 25\.0%"),
    ("16 bits", ramps(65536), SMALL, ""),
    (
        "one dark of three",
        [*ramps(65536)[:2], *ramps(256)[:1]],
        SMALL,
        "1 picture is nearly black .* such as 2",
    ),
    ("masks of few classes", [np.full((40, 40), 7, np.uint8)] * 3, SMALL, "3 pictures are nearly black"),
    ("photographs", [COLOUR] * 3, SMALL, ""),
    ("tensors of 0 to 1", [torch.rand(3, 32, 32)] * 3, SMALL, "as if nobody had normalised them"),
    ("tensors of 0 to 255", [torch.rand(3, 32, 32) * 255] * 3, SMALL, "normalised otherwise, or not at all"),
    ("tensors as they should be", [SMALL.tensor(SMALL.pixels(COLOUR))] * 3, SMALL, ""),
    ("tensors of a model of 0 to 1", [torch.rand(3, 32, 32)] * 3, SCALED, ""),
]


@pytest.mark.parametrize(("given", "size", "right"), [row[1:] for row in TOLD], ids=[row[0] for row in TOLD])
def test_values_that_change_how_a_result_is_read_are_told(tmp_path, given, size, right):
    found = told(pool(given), size, tmp_path)
    assert re.search(right, found) if right else not found


def test_12_bits_that_a_file_declares_are_scaled(tmp_path):
    values = (RAMP >> 4).astype(np.uint16)
    packed = np.empty((32, 72), np.uint8)
    first, second = values[:, ::2], values[:, 1::2]
    packed[:, ::3], packed[:, 1::3], packed[:, 2::3] = (
        first >> 4,
        (first & 15) << 4 | second >> 8,
        second & 255,
    )
    tags = [
        (256, 48),
        (257, 32),
        (258, 12),
        (259, 1),
        (262, 1),
        (273, 8),
        (277, 1),
        (278, 32),
        (279, 32 * 72),
    ]
    data = packed.tobytes()
    head = b"II*\0" + (8 + len(data)).to_bytes(4, "little")
    ifd = len(tags).to_bytes(2, "little")
    for tag, value in tags:
        ifd += tag.to_bytes(2, "little") + b"\4\0\1\0\0\0" + value.to_bytes(4, "little")
    (tmp_path / "a.tif").write_bytes(head + data + ifd + b"\0\0\0\0")
    sample = pool(tmp_path).sample(0, AS_IS)
    assert np.abs(sample.pixels[..., 0].astype(int) - (RAMP >> 8)).max() <= 1
    assert sample.peak == 1.0


def test_page_terminal_json_and_record_tell_of_the_pool(tmp_path):
    place = tmp_path / "pool"
    place.mkdir()
    rng = np.random.default_rng(0)
    for number in range(8):
        values = np.kron(rng.integers(0, 4096, (4, 4)), np.ones((16, 16), int)).astype(np.uint16)
        Image.fromarray(values).save(place / f"{number}.png")
    (place / "a.heic").write_bytes(b"x")
    settings = Settings(images=3, copies=3, starts=1, controls=2)
    model = nets.seeded(nets.Plain())
    study = Study(model, "stem", place, tmp_path / "s", settings, preprocessing=SMALL, progress=False)
    found = study.explain(study.classes()[0].index)
    terminal = " ".join(value for _, value in summary.rows(found))
    plain = json.dumps(json_objects.as_object(found), ensure_ascii=False)
    saved = type(found).load(found.save(tmp_path / "r.whyclass"))
    for shown in (terminal, plain, page.page(found), page.page(saved)):
        assert "no value of the 8 pictures of more than 8 bits" in shown
        assert "(1 .heic)" in shown
        assert "files that may be pictures are left out" in shown
    (place / "b.heic").write_bytes(b"x")
    again = Study(model, "stem", place, tmp_path / "s", settings, preprocessing=SMALL, progress=False)
    assert again.explain(found.target.index).pool.left_out[0].n == 2


def test_a_store_within_the_images_is_no_part_of_them(folder):
    noise(np.random.default_rng(3)).save(folder / "7.png")
    before = pool(folder)
    store = open_store(folder / "results", "net", "w")
    (store.folder / "pages").mkdir()
    noise(np.random.default_rng(4)).save(store.folder / "pages" / "x.png")
    assert pool(folder).items == before.items
    assert pool(folder).left_out == before.left_out
