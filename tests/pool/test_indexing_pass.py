"""One pass over the pool: right, the same each time, and never lost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers import nets
from helpers.pictures import noise
from whyclass import store as stores
from whyclass.errors import DataError, ModelError
from whyclass.models.preprocessing import Preprocessing, Sample
from whyclass.models.split import split
from whyclass.models.tasks import class_logits, task_of
from whyclass.pool import indexing_pass as index
from whyclass.pool import known_items
from whyclass.pool.images import pool
from whyclass.pool.indexing_pass import load_or_make, plan, pooled_cells
from whyclass.pool.value_ranges import NOTHING_SEEN
from whyclass.progress import Progress
from whyclass.rows import Rows
from whyclass.store import Store

PREPROCESSING = Preprocessing(36, (32, 32))
FILES = ("cells.f16", "logits.f32", "meta.json")


class Notes(Progress):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(index, "BATCH", 3)


@pytest.fixture
def model():
    return nets.seeded(nets.Plain())


def planned(model, images, layer="stem", preprocessing=PREPROCESSING, trunk=None, weights="w"):
    cut = split(model, layer, torch.zeros(1, 3, *preprocessing.crop))
    task = task_of(cut.head(cut.trunk(cut.example)))
    return plan(cut, task, lambda: trunk or cut.trunk, pool(images), preprocessing, 2, weights=weights)


def files(store: Path) -> dict[str, bytes]:
    """The one index of a store."""
    (made,) = [path for path in (store / "index").iterdir() if path.is_dir()]
    return {name: (made / name).read_bytes() for name in FILES}


def slow_cells(activations: np.ndarray) -> np.ndarray:
    """Unit vectors of 2x2 averages (p*q, c) of one image's activations (c, h, w), cell by cell."""
    c, h, w = activations.shape
    cells = []
    for i in range(h // 2):
        for j in range(w // 2):
            cell = activations[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].reshape(c, 4).mean(1)
            length = np.sqrt((cell**2).sum())
            cells.append(cell / length if length else cell)
    return np.stack(cells)


def test_the_index_is_what_the_model_says_of_each_image(model, folder, tmp_path):
    found = load_or_make(planned(model, folder), Store(tmp_path / "s"), Progress())
    images = pool(folder)
    assert found.items == images.items
    assert found.grid == (8, 8)
    assert found.skipped == {}
    for position in range(7):
        x = images.sample(position, PREPROCESSING).tensor[None]
        with torch.no_grad():
            logits, activations = model(x)[0].numpy(), model.stem(x)[0].numpy()
        assert np.allclose(found.outputs[position], logits, atol=1e-5)
        assert np.allclose(found.cells[position], slow_cells(activations), atol=1e-3)
        assert found.predicted[position] == logits.argmax()
        powers = np.exp(logits.astype(float))
        assert np.allclose(found.scores(np.array([position]))[0], powers / powers.sum(), atol=1e-6)
    assert (found.cells.dtype, found.outputs.dtype) == (np.float16, np.float32)


@pytest.mark.parametrize(("shape", "cells"), [((4, 6), 6), ((5, 7), 6), ((1, 1), 1), ((1, 4), 2)])
def test_pooled_cells_are_unit_vectors_or_zero(shape, cells):
    activations = torch.rand(2, 5, *shape, generator=torch.Generator().manual_seed(0)) * 1e5
    activations[1] = 0
    found = pooled_cells(activations, 2)
    assert found.shape == (2, cells, 5)
    assert torch.allclose(found[0].norm(dim=1), torch.ones(cells))
    assert (found[1] == 0).all()
    if min(shape) > 1:
        assert np.allclose(found[0], slow_cells(activations[0].numpy()), atol=1e-6)


def test_the_same_pass_gives_the_same_bytes(model, folder, tmp_path):
    for name in "ab":
        load_or_make(planned(model, folder), Store(tmp_path / name), Progress())
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_a_finished_index_is_read_and_not_made_again(model, folder, tmp_path):
    first = load_or_make(planned(model, folder), Store(tmp_path / "s"), Progress())

    def never(images):
        raise AssertionError

    progress = Progress()
    again = load_or_make(planned(model, folder, trunk=never), Store(tmp_path / "s"), progress)
    assert np.array_equal(again.cells, first.cells)
    assert "index" not in progress.seconds


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("out of memory")])
@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_a_pass_that_was_killed_goes_on_and_gives_the_same_bytes(model, folder, tmp_path, error, blocks):
    load_or_make(planned(model, folder), Store(tmp_path / "whole"), Progress())
    cut = split(model, "stem", torch.zeros(1, 3, 32, 32))
    calls = []

    def dies(images):
        calls.append(len(images))
        if len(calls) > blocks:
            raise error
        return cut.trunk(images)

    with pytest.raises(type(error)):
        load_or_make(planned(model, folder, trunk=dies), Store(tmp_path / "torn"), Progress())
    rest = []

    def goes_on(images):
        rest.append(len(images))
        return cut.trunk(images)

    load_or_make(planned(model, folder, trunk=goes_on), Store(tmp_path / "torn"), Progress())
    assert rest == [3, 3, 1][blocks:]
    assert files(tmp_path / "torn") == files(tmp_path / "whole")
    assert not list((tmp_path / "torn").rglob("*.partial"))


def test_a_pass_killed_while_it_wrote_gives_the_same_bytes(model, folder, tmp_path, monkeypatch):
    load_or_make(planned(model, folder), Store(tmp_path / "whole"), Progress())
    real = Rows.append

    def dies(self, start, rows):
        real(self, start, rows[:1] if start else rows)
        if start and self.path.name == "cells.f16":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Rows, "append", dies)
        with pytest.raises(KeyboardInterrupt):
            load_or_make(planned(model, folder), Store(tmp_path / "torn"), Progress())
    load_or_make(planned(model, folder), Store(tmp_path / "torn"), Progress())
    assert files(tmp_path / "torn") == files(tmp_path / "whole")


@pytest.mark.parametrize("name", ["cells.f16", "logits.f32"])
def test_rows_that_were_lost_before_the_pass_went_on_are_made_again(
    model, folder, tmp_path, monkeypatch, name
):
    load_or_make(planned(model, folder), Store(tmp_path / "whole"), Progress())

    def dies(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stores, "finish", dies)
        with pytest.raises(KeyboardInterrupt):
            load_or_make(planned(model, folder), Store(tmp_path / "torn"), Progress())
    (rows,) = (tmp_path / "torn").rglob(name)
    rows.write_bytes(rows.read_bytes()[:10])
    load_or_make(planned(model, folder), Store(tmp_path / "torn"), Progress())
    assert files(tmp_path / "torn") == files(tmp_path / "whole")


def test_broken_images_are_marked_and_the_others_are_not_moved(model, folder, tmp_path):
    whole = load_or_make(planned(model, folder), Store(tmp_path / "whole"), Progress())
    (folder / "a" / "2.png").write_bytes(b"torn")
    (folder / "b" / "5.png").write_bytes(b"")
    found = load_or_make(planned(model, folder), Store(tmp_path / "torn"), Progress())
    assert sorted(found.skipped) == [1, 6]
    assert found.items[1].path == "a/2.png"
    assert "not an image" in found.skipped[1]
    assert "a/2.png" not in found.skipped[1]
    assert found.usable.tolist() == [position not in (1, 6) for position in range(7)]
    assert np.isnan(found.outputs[[1, 6]]).all()
    assert (found.cells[[1, 6]] == 0).all()
    assert (found.predicted[[1, 6]] == -1).all()
    good = found.usable
    assert np.allclose(found.outputs[good], whole.outputs[good], atol=1e-5)
    assert np.array_equal(found.predicted[good], whole.predicted[good])


def test_the_reason_stays_whole_whatever_the_file_is_called(model, folder, tmp_path):
    (folder / "a: b.png").write_bytes(b"")
    found = load_or_make(planned(model, folder), Store(tmp_path / "s"), Progress())
    (reason,) = found.skipped.values()
    assert reason.startswith("not an image")


def test_a_pool_without_one_good_image_is_an_error(model, tmp_path):
    (tmp_path / "p").mkdir()
    for name in "abcd":
        (tmp_path / "p" / f"{name}.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"none of the 4 images can be read; the first, a\.png: not an image"):
        load_or_make(planned(model, tmp_path / "p"), Store(tmp_path / "s"), Progress())


def test_rows_are_written_as_they_come_and_read_from_the_disk(model, folder, tmp_path, monkeypatch):
    seen = []
    real = Rows.append
    monkeypatch.setattr(
        Rows, "append", lambda self, start, rows: (seen.append(len(rows)), real(self, start, rows))
    )
    found = load_or_make(planned(model, folder), Store(tmp_path / "s"), Progress())
    assert seen == [3, 3, 3, 3, 1, 1]
    assert isinstance(found.cells, np.memmap)
    assert isinstance(found.outputs, np.memmap)


def test_progress_counts_every_image_once_and_what_was_there_before(model, folder, tmp_path):
    class Counting(Progress):
        total = 0

        def _shown(self, name, total, unit):
            from contextlib import contextmanager

            @contextmanager
            def shown():
                yield lambda done: setattr(self, "total", self.total + done)

            return shown()

    progress = Counting()
    load_or_make(planned(model, folder), Store(tmp_path / "s"), progress)
    assert progress.total == 7


# ---------------------------------------------------------------- what was made for something else


def replaced(folder: Path) -> None:
    noise(np.random.default_rng(9)).save(folder / "a" / "0.png")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda folder: replaced(folder), "1 images, such as a/0.png"),
        (lambda folder: (folder / "b" / "1.png").unlink(), "1 images, such as b/1.png"),
        (
            lambda folder: {"preprocessing": Preprocessing(36, (32, 32), interpolation="bicubic")},
            "preprocessing",
        ),
        (lambda folder: {"preprocessing": Preprocessing(36, (28, 28))}, "grid, preprocessing"),
        (lambda folder: {"weights": "v"}, "weights"),
    ],
    ids=["content", "removed", "interpolation", "size", "weights"],
)
def test_what_changed_is_said_by_name_and_the_old_index_is_not_served(model, folder, tmp_path, change, named):
    store, progress = Store(tmp_path / "s"), Notes()
    load_or_make(planned(model, folder), store, progress)
    assert progress.notes == []
    changes = change(folder)
    made = planned(model, folder, **(changes if isinstance(changes, dict) else {}))
    found = load_or_make(made, store, progress)
    assert [note.partition("changed: ")[2] for note in progress.notes] == [named]
    fresh = load_or_make(made, Store(tmp_path / "fresh"), Progress())
    assert np.array_equal(found.outputs, fresh.outputs)


def test_another_order_of_the_same_images_is_another_pool(model, folder, tmp_path):
    store, progress = Store(tmp_path / "s"), Notes()
    paths = sorted(folder.rglob("*.png"))
    load_or_make(planned(model, paths), store, progress)
    load_or_make(planned(model, paths[::-1]), store, progress)
    assert "the order of the images" in progress.notes[0]


def test_another_layer_has_an_index_of_its_own_beside_the_first(model, folder, tmp_path):
    store, progress = Store(tmp_path / "s"), Notes()
    stem = load_or_make(planned(model, folder), store, progress)
    body = load_or_make(planned(model, folder, "body"), store, progress)
    assert progress.notes == []
    assert (stem.cells.shape[2], body.cells.shape[2]) == (8, 12)
    assert np.array_equal(load_or_make(planned(model, folder), store, progress).cells, stem.cells)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:9],
        lambda data: None,
        lambda data: bytes([data[0] ^ 4]) + data[1:],
        lambda data: data[:-2] + bytes([data[-2] ^ 1]) + data[-1:],
        lambda data: bytes(len(data)),
    ],
    ids=["cut", "gone", "first bit", "last bit", "zeros"],
)
def test_a_damaged_index_is_made_anew_and_said_by_name(model, folder, tmp_path, name, damage):
    store, progress = Store(tmp_path / "s"), Notes()
    load_or_make(planned(model, folder), store, Progress())
    before = files(tmp_path / "s")
    (file,) = store.folder.rglob(name)
    if (data := damage(file.read_bytes())) is None:
        file.unlink()
    else:
        file.write_bytes(data)
    again = load_or_make(planned(model, folder), store, progress)
    assert again.checked_cells.tobytes() == before["cells.f16"]
    assert again.outputs.tobytes() == before["logits.f32"]
    (note,) = progress.notes
    assert f"made anew, since {file.parent}" in note
    assert files(tmp_path / "s") == before


def test_an_index_of_another_key_in_its_place_is_made_anew(model, folder, tmp_path):
    store, progress = Store(tmp_path / "s"), Notes()
    mine, other = planned(model, folder), planned(model, sorted(folder.rglob("*.png"))[::-1])
    load_or_make(other, store, progress)
    load_or_make(mine, store, Progress())
    before = (store.index(mine.key) / "logits.f32").read_bytes()
    shutil.rmtree(store.index(mine.key))
    store.index(other.key).rename(store.index(mine.key))
    assert load_or_make(mine, store, progress).outputs.tobytes() == before


def test_an_index_says_what_it_was_made_for(model, folder, tmp_path):
    made = planned(model, folder)
    load_or_make(made, Store(tmp_path / "s"), Progress())
    meta = json.loads(files(tmp_path / "s")["meta.json"])
    assert meta.items() >= made.facts.items()
    names = known_items.kept(Store(tmp_path / "s").index(made.key) / known_items.FILE)
    assert list(names.items()) == [(item.path, item.digest) for item in made.pool.items]


# ---------------------------------------------------------------- the model's output


@pytest.mark.parametrize(
    "output",
    [
        torch.zeros(2),
        torch.zeros(2, 1),
        torch.zeros(2, 1, 4, 4),
        torch.zeros(2, 3, 4),
        (torch.zeros(2, 3),),
        None,
    ],
)
def test_an_output_that_is_no_logits_is_refused(output):
    with pytest.raises(ModelError, match="needed are logits"):
        class_logits(output)


def test_a_model_that_gives_no_number_for_an_image_is_refused(folder, tmp_path):
    model = nets.seeded(nets.Wrapped(lambda out: (out - 1e3).sqrt() if out.shape[0] == 3 else out))
    with pytest.raises(ModelError, match="not a number"):
        load_or_make(planned(model, folder, "net.stem"), Store(tmp_path / "s"), Progress())


def test_ranges_of_parts_are_those_of_the_whole(rng):
    seen = [
        Sample(torch.zeros(1), None, np.full((2, 2, 3), top, np.uint8), peak, window)
        for top, peak, window in zip(
            rng.integers(0, 64, 40),
            [None, 0.2, 0.7, None] * 10,
            [f"way {n % 17}" for n in range(40)],
            strict=True,
        )
    ]
    seen += [Sample(torch.full((1,), float(value)), None) for value in rng.normal(size=9)]
    order = rng.permutation(len(seen))
    whole, parts = NOTHING_SEEN, NOTHING_SEEN
    for start in range(0, len(seen), 7):
        part = NOTHING_SEEN
        for at in order[start : start + 7]:
            whole, part = whole.seen(f"{at}.png", seen[at]), part.seen(f"{at}.png", seen[at])
        parts = parts.and_then(part)
    assert parts == whole
