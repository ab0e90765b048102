"""The same pictures as people have them: loaders, rows, tables, archives, patterns, pages, DICOM."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset
from torchvision.transforms import functional

from helpers.colours import AS_IS, NAMES, Colours, colour_mean, single, study
from helpers.dicom_files import dicom
from whyclass.errors import DataError
from whyclass.pool import loaders
from whyclass.pool.images import pool

PICTURES = single(12)
FILES = [f"{NAMES[label]}/{number:02d}.png" for number, (_, label) in enumerate(PICTURES)]
LABELS = [NAMES[label] for _, label in PICTURES]


def encoded(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "png")
    return out.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The pictures in a folder for each colour."""
    place = tmp_path_factory.mktemp("photos")
    for file, (image, _) in zip(FILES, PICTURES, strict=True):
        (place / file).parent.mkdir(exist_ok=True)
        image.save(place / file)
    return place


class Rows(Dataset):
    """Map-style: rows that are dicts."""

    classes = NAMES

    def __len__(self) -> int:
        return len(PICTURES)

    def __getitem__(self, position: int):
        if position >= len(self):
            raise IndexError
        return {"image": PICTURES[position][0], "label": PICTURES[position][1], "file_name": FILES[position]}


class Stream(IterableDataset):
    """Gone through once: normalised tensors with labels."""

    classes = NAMES
    passes = 0

    def __init__(self, same: bool = False) -> None:
        self.same = same

    def __iter__(self):
        self.passes += 1
        buffer = torch.empty(3, 32, 32)
        for image, label in PICTURES:
            tensor = functional.to_tensor(image)
            yield buffer.copy_(tensor) if self.same else tensor, label


class Tensors(Dataset):
    classes = NAMES

    def __len__(self) -> int:
        return len(PICTURES)

    def __getitem__(self, position: int):
        image, label = PICTURES[position]
        return functional.to_tensor(image), label


def stacked(rows):
    """A collation of one's own, which shifts nothing but is not the usual one."""
    return torch.stack([row[0] for row in rows]), torch.tensor([row[1] for row in rows])


def table(folder: Path, ending: str) -> Path:
    path = folder / f"table.{ending}"
    rows = [{"file": file, "label": label} for file, label in zip(FILES, LABELS, strict=True)]
    if ending == "parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        arrow = pytest.importorskip("pyarrow")
        parquet.write_table(arrow.Table.from_pylist(rows), path)
        return path
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["file", "label"], delimiter="\t" if ending == "tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)
    return path


def bytes_table(folder: Path) -> Path:
    """Parquet as Hugging Face writes it: the file's bytes in the table."""
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = [
        {"image": {"bytes": encoded(image), "path": file}, "label": label}
        for file, (image, _), label in zip(FILES, PICTURES, LABELS, strict=True)
    ]
    parquet.write_table(arrow.Table.from_pylist(rows), folder / "rows.parquet")
    return folder / "rows.parquet"


def shard(path: Path, rows: range) -> Path:
    """A tar file as WebDataset writes it."""
    with tarfile.open(path, "w") as archive:
        for row in rows:
            for ending, data in (
                ("png", encoded(PICTURES[row][0])),
                ("json", json.dumps({"label": LABELS[row]}).encode()),
            ):
                member = tarfile.TarInfo(f"{row:05d}.{ending}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return path


def hugging_face(_: Path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(NAMES))})
    rows = {
        "image": [
            {"bytes": encoded(image), "path": f} for f, (image, _) in zip(FILES, PICTURES, strict=True)
        ],
        "label": [label for _, label in PICTURES],
    }
    return datasets.Dataset.from_dict(rows, features=features)


SOURCES = {
    "folder": lambda place: place,
    "pattern": lambda place: str(place / "*" / "*.png"),
    "every folder's pattern": lambda place: str(place / "**" / "[0-9]*.png"),
    "csv": lambda place: table(place, "csv"),
    "tsv": lambda place: table(place, "tsv"),
    "parquet": lambda place: table(place, "parquet"),
    "parquet of bytes": bytes_table,
    "tar": lambda place: shard(place / "all.tar", range(12)),
    "tars": lambda place: [shard(place / "a.tar", range(7)), shard(place / "b.tar", range(7, 12))],
    "rows": lambda place: Rows(),
    "list of rows": lambda place: [Rows()[k] | {"label": LABELS[k]} for k in range(12)],
    "torchvision": lambda place: torchvision.datasets.ImageFolder(place),
    "part of a dataset": lambda place: Subset(torchvision.datasets.ImageFolder(place), range(12)),
    "loader": lambda place: DataLoader(Tensors(), batch_size=5, shuffle=True),
    "loader of its own": lambda place: DataLoader(Tensors(), batch_size=5, collate_fn=stacked),
    "iterable, in the same memory": lambda place: Stream(same=True),
    "loader of an iterable": lambda place: DataLoader(Stream(), batch_size=5),
    "generator": lambda place: ({"image": image, "label": NAMES[label]} for image, label in PICTURES),
    "hugging face": hugging_face,
    "hugging face, iterable": lambda place: hugging_face(place).to_iterable_dataset(),
}
NAMELESS = {
    "loader",
    "loader of its own",
    "iterable, in the same memory",
    "loader of an iterable",
    "generator",
}
"""Sources that say nothing of files."""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("source", SOURCES)
def test_pictures_from_anywhere_give_the_same_answer(folder, source):
    found = pool(SOURCES[source](folder))
    assert len(found.items) == 12
    for position, item in enumerate(found.items):
        # the file's name survives, or the place in the data stands for it
        digits = "".join(c for c in Path(item.path).stem if c.isdigit())
        number = position if source in NAMELESS else int(digits[-2:])
        wanted = AS_IS.sample(PICTURES[number][0])
        got = found.sample(position, AS_IS)
        assert torch.allclose(got.tensor, wanted.tensor, atol=1e-6), item
        assert item.label == LABELS[number]
    assert len({item.path for item in found.items}) == 12
    if source in ("torchvision", "part of a dataset", "rows", "csv", "parquet of bytes", "hugging face"):
        assert {item.path for item in found.items} == set(FILES)


@pytest.fixture(scope="module")
def of_folder(folder):
    return study(Colours(), folder).explain("green")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "source",
    [
        "csv",
        "parquet of bytes",
        "tars",
        "rows",
        "torchvision",
        "loader",
        "loader of an iterable",
        "hugging face",
    ],
)
def test_a_class_is_explained_from_any_source(folder, of_folder, source):
    found = study(Colours(), SOURCES[source](folder)).explain("green")
    assert found.target.score == pytest.approx(of_folder.target.score, abs=1e-6)
    assert found.n_predicted == 4
    assert found.prediction_test.including.predicted
    assert colour_mean(found.concepts[0].including[0].picture).argmax() == 1
    assert {image.image.labelled for image in found.images} == {"green"}


def test_a_loader_of_a_part_gives_that_part():
    part = DataLoader(Tensors(), batch_size=2, sampler=[7, 3, 5])
    found = pool(part)
    assert [item.label for item in found.items] == [LABELS[k] for k in (7, 3, 5)]
    assert torch.allclose(found.sample(1, AS_IS).tensor, functional.to_tensor(PICTURES[3][0]))
    batches = DataLoader(Tensors(), batch_sampler=[[1, 2], [4]])
    assert [item.label for item in pool(batches).items] == [LABELS[k] for k in (1, 2, 4)]
    single_rows = DataLoader(Tensors(), batch_size=None)
    assert len(pool(single_rows).items) == 12


def test_what_can_be_read_once_is_read_once():
    stream = Stream()
    found = pool(stream)
    for position in (3, 0, 3):
        found.sample(position, AS_IS)
    assert stream.passes == 1


def test_more_than_can_be_held_is_refused(monkeypatch):
    monkeypatch.setattr(loaders, "HELD", 20_000)
    with pytest.raises(DataError, match=r"Stream holds more than .* can be read only once"):
        pool(Stream())


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda place: str(place / "*.gif"), "nothing fits .*gif"),
        (lambda place: {"train": Rows(), "test": Rows()}, "mapping of train, test; choose one"),
        (lambda place: [{"sound": 1}], "a row holds sound; needed is an image under one of image"),
        (lambda place: _written(place / "a.csv", "name,kind\nx,y\n"), "has the columns name, kind"),
        (lambda place: _written(place / "b.csv", "file,label\n"), "has no rows"),
        (lambda place: _written(place / "c.tar", "nothing"), "cannot be read"),
        (lambda place: _written(place / "d.parquet", "nothing"), "cannot be read"),
        (lambda place: _written(place / "e.tar.gz", "nothing"), "is packed"),
        (lambda place: [_written(place / "f.csv", "file\nx\n"), place], "give one kind alone"),
        (lambda place: DataLoader(Empty()), "Empty gave no image"),
    ],
    ids=["pattern", "splits", "rows", "columns", "empty", "tar", "parquet", "packed", "mixed", "nothing"],
)
def test_what_holds_no_images_is_refused(tmp_path, make, reason):
    with pytest.raises(DataError, match=reason):
        pool(make(tmp_path))


class Empty(IterableDataset):
    def __iter__(self):
        return iter(())


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_missing_file_of_a_table_is_skipped_with_its_name(folder, tmp_path):
    path = _written(tmp_path / "t.csv", f"path,label\n{folder / FILES[0]},red\n/nowhere/x.png,red\n")
    found = study(Colours(), path).context().pool_info()
    (skipped,) = found.skipped
    assert skipped.reason == "No such file or directory"
    assert skipped.path.endswith("x.png")


def test_every_page_of_a_tiff_is_an_image(tmp_path):
    pages = [image.copy() for image, _ in PICTURES[:4]]
    pages[0].save(tmp_path / "scan.tif", save_all=True, append_images=pages[1:3])
    pages[3].save(tmp_path / "single.tif")
    found = pool(tmp_path)
    assert [item.path for item in found.items] == ["scan.tif#1", "scan.tif#2", "scan.tif#3", "single.tif"]
    for position in range(4):
        assert torch.equal(found.sample(position, AS_IS).tensor, AS_IS.sample(PICTURES[position][0]).tensor)


def test_pages_of_16_bits_that_use_a_fraction_of_their_range_are_told(tmp_path):
    deep = [Image.fromarray((np.asarray(image)[..., 1].astype(np.uint16)) * 4) for image, _ in PICTURES[:4]]
    deep[0].save(tmp_path / "deep.tif", save_all=True, append_images=deep[1:])
    highest = max(np.asarray(image).max() for image in deep) / 65535
    told = study(Colours(), tmp_path).context().pool_info().warnings
    assert any(f"4 pictures of more than 8 bits lies above {highest:.1%}" in one for one in told)


def test_tensors_of_0_to_1_where_normalised_ones_are_expected_are_told():
    from dataclasses import replace

    other = replace(AS_IS, mean=(0.5,) * 3, std=(0.25,) * 3)
    told = study(Colours(), Tensors(), preprocessing=other).context().pool_info().warnings
    assert any("look as if nobody had normalised them" in one for one in told)


# ---------------------------------------------------------------- DICOM


RAMP = np.linspace(0, 4000, 32 * 32).round().reshape(32, 32)


def shades(place: Path, position: int = 0) -> np.ndarray:
    return (pool(place).sample(position, AS_IS).tensor[0] * 255).round().numpy()


def test_a_dicom_file_is_shown_by_its_window(tmp_path):
    dicom(
        tmp_path / "ct.dcm", RAMP, WindowCenter=40.5, WindowWidth=401, RescaleSlope=1, RescaleIntercept=-1024
    )
    units = RAMP - 1024
    wanted = ((units - (40.5 - 0.5 - 200)) / 400).clip(0, 1) * 255
    assert np.abs(shades(tmp_path) - wanted).max() <= 0.51
    told = study(Colours(), tmp_path).context().pool_info().warnings
    assert any("DICOM pictures are shown by window of the file (40.5 ± 200.5)" in one for one in told)


def test_a_dicom_file_without_a_window_is_shown_whole_and_its_negative_turned(tmp_path):
    dicom(tmp_path / "a.dcm", RAMP, photometric="MONOCHROME1")
    assert np.abs(shades(tmp_path) - (255 - RAMP / 4000 * 255)).max() <= 0.51
    told = study(Colours(), tmp_path).context().pool_info().warnings
    assert any("lowest to highest value" in one for one in told)


def test_frames_of_a_dicom_file_are_images(tmp_path):
    dicom(tmp_path / "cine.dcm", np.stack([RAMP, RAMP[::-1]]))
    assert [item.path for item in pool(tmp_path).items] == ["cine.dcm#1", "cine.dcm#2"]
    assert np.array_equal(shades(tmp_path, 1), shades(tmp_path)[::-1])


def test_a_broken_dicom_file_and_a_missing_library_are_told(tmp_path, monkeypatch):
    path = dicom(tmp_path / "a.dcm", RAMP)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(DataError, match=r"a\.dcm: its pixels cannot be decoded"):
        pool(tmp_path).sample(0, AS_IS)
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(DataError, match=r"pip install 'whyclass\[dicom\]'"):
        pool(tmp_path).sample(0, AS_IS)
