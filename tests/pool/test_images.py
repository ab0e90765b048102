"""Every kind of image that people have: read right, or reported and skipped."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from helpers.pictures import noise
from whyclass.errors import DataError, SettingsError
from whyclass.models import pictures
from whyclass.models import preprocessing as models_preprocessing
from whyclass.models.preprocessing import Preprocessing
from whyclass.pool.images import pool, samples
from whyclass.study import crop_pictures

AS_IS = Preprocessing(None, (4, 6))


def only(path: Path, preprocessing: Preprocessing = AS_IS) -> np.ndarray:
    """The picture of the one image in a folder."""
    return np.asarray(pool(path.parent).sample(0, preprocessing).picture)


def constant(*colour: int, mode: str = "RGB", size: tuple[int, int] = (6, 4)) -> Image.Image:
    return Image.new(mode, size, colour if len(colour) > 1 else colour[0])


# ---------------------------------------------------------------- preprocessing


@pytest.mark.parametrize(
    "size", [(500, 375), (375, 500), (300, 300), (50, 100), (775, 50), (8, 9), (224, 256), (1, 1)]
)
@pytest.mark.parametrize(
    ("resize", "crop"), [(232, (224, 224)), (256, (224, 224)), (36, (32, 20)), (20, (32, 32))]
)
@pytest.mark.parametrize("interpolation", models_preprocessing.INTERPOLATIONS)
def test_resize_and_crop_are_torchvisions(rng, size, resize, crop, interpolation):
    image = noise(rng, *size)
    given = Preprocessing(resize, crop, interpolation=interpolation)
    reference = transforms.Compose(
        [
            transforms.Resize(resize, transforms.InterpolationMode(interpolation)),
            transforms.CenterCrop(crop),
            transforms.ToTensor(),
            transforms.Normalize(given.mean, given.std),
        ]
    )
    assert torch.equal(given.tensor(given.pixels(image)), reference(image))


def test_the_tensor_is_made_from_the_picture_that_is_shown(folder):
    preprocessing = Preprocessing(36, (32, 32))
    for _, sample in samples(pool(folder), range(7), preprocessing):
        assert torch.equal(sample.tensor, preprocessing.tensor(sample.pixels))
        assert np.array_equal(np.asarray(preprocessing.undo(sample.tensor)), np.asarray(sample.picture))


def test_undo_clips_what_no_picture_can_show():
    far = torch.tensor([-99.0, 0.0, 99.0]).view(3, 1, 1)
    assert Preprocessing().undo(far).getpixel((0, 0)) == (0, round(0.456 * 255), 255)


@pytest.mark.parametrize(("kind", "value"), [("ones", 1.0), ("white", (1 - 0.485) / 0.229)])
def test_the_constant_image_is_one_in_normalised_space_or_white(kind, value):
    image = Preprocessing(crop=(4, 6)).constant(kind)
    assert image.shape == (1, 3, 4, 6)
    assert torch.allclose(image[:, 0], torch.tensor(value))


@pytest.mark.parametrize(
    "wrong",
    [
        {"resize": 0},
        {"crop": (0, 224)},
        {"mean": (0.5,)},
        {"mean": (0.5, 0.5, float("nan"))},
        {"std": (0.2, 0.2, 0.0)},
        {"std": (0.2, 0.2, float("inf"))},
        {"interpolation": "smooth"},
    ],
    ids=str,
)
def test_preprocessing_that_no_image_can_have_is_refused(wrong):
    with pytest.raises(SettingsError, match=str(next(iter(wrong)))):
        Preprocessing(**wrong)


# ---------------------------------------------------------------- channels


def numbers(channels: int, **changes) -> Preprocessing:
    given = {"resize": 20, "crop": (16, 12), "mean": (0.5,) * channels, "std": (0.25,) * channels}
    return Preprocessing(**given | changes)


def test_a_grey_model_sees_torchvisions_grey_and_shows_it(rng):
    image = noise(rng)
    reference = transforms.Compose(
        [
            transforms.Grayscale(),
            transforms.Resize(20),
            transforms.CenterCrop((16, 12)),
            transforms.ToTensor(),
        ]
    )
    (sample,) = (s for _, s in samples(pool([image]), [0], numbers(1)))
    assert torch.equal(sample.tensor, (reference(image) - 0.5) / 0.25)
    assert sample.picture.mode == "RGB"
    assert all(
        np.array_equal(band, sample.pixels[..., 0]) for band in np.asarray(sample.picture).transpose(2, 0, 1)
    )
    assert numbers(1).undo(sample.tensor).tobytes() == sample.picture.tobytes()


@pytest.mark.parametrize("shape", [(30, 40), (30, 40, 1), (30, 40, 3)])
def test_arrays_of_any_kind_for_a_grey_model(rng, shape):
    array = rng.integers(0, 256, shape, np.uint8)
    wanted = numbers(1).pixels(Image.fromarray(array.squeeze()))
    assert np.array_equal(pool([array]).sample(0, numbers(1)).pixels, wanted)
    as_tensor = torch.from_numpy(array if array.ndim == 2 else array.transpose(2, 0, 1).copy())
    assert np.array_equal(pool([as_tensor]).sample(0, numbers(1)).pixels, wanted)


@pytest.mark.parametrize("interpolation", models_preprocessing.INTERPOLATIONS)
def test_channels_of_an_array_are_resized_as_those_of_a_picture(rng, interpolation):
    array = np.asarray(noise(rng))
    more = np.dstack([array, array[..., 1]])
    three, four = (numbers(n, interpolation=interpolation) for n in (3, 4))
    wanted, found = pool([array]).sample(0, three), pool([more]).sample(0, four)
    assert torch.equal(found.tensor[:3], wanted.tensor)
    assert torch.equal(found.tensor[3], wanted.tensor[1])
    assert found.picture.tobytes() == wanted.picture.tobytes()  # by its first three channels


@pytest.mark.parametrize(
    ("channels", "seen"), [(1, [0, 0, 0]), (2, [0, 0, 0]), (4, [0, 1, 2]), (5, [0, 1, 2])]
)
def test_tensors_of_any_channels_are_shown(channels, seen):
    values = torch.arange(channels).view(-1, 1, 1).expand(-1, 16, 12) / 10
    sample = pool([values]).sample(0, numbers(channels))
    assert torch.equal(sample.tensor, values)
    assert sample.pixels is None
    shown = [round((channel / 10 * 0.25 + 0.5) * 255) for channel in seen]
    assert list(sample.picture.getpixel((0, 0))) == shown


@pytest.mark.parametrize(
    ("image", "channels", "reason"),
    [
        (constant(1, 2, 3), 4, "a picture gives 1 or 3 channels and the model takes 4"),
        (constant(1, 2, mode="LA"), 2, "a picture gives 1 or 3 channels and the model takes 2"),
        (np.zeros((8, 8, 3), np.uint8), 4, r"shape \(8, 8, 3\); needed is \(H, W, 4\)"),
        (np.zeros((8, 8), np.uint8), 2, r"shape \(8, 8\); needed is \(H, W, 2\)"),
        (torch.zeros(3, 16, 12), 1, r"needed is \(1, 16, 12\)"),
    ],
)
def test_images_of_other_channels_than_the_models_are_reported(image, channels, reason):
    with pytest.raises(DataError, match=reason):
        pool([image]).sample(0, numbers(channels))


# ---------------------------------------------------------------- kinds of files


def cmyk(path: Path) -> None:
    Image.new("CMYK", (6, 4), (0, 255, 255, 0)).save(path)


def sixteen_bits(path: Path) -> None:
    Image.fromarray(np.full((4, 6), 200 * 257, np.uint16)).save(path)


def palette(path: Path) -> None:
    constant(200, 100, 50).quantize(4).save(path)


def palette_with_transparency(path: Path) -> None:
    image = constant(200, 100, 50).quantize(4)
    image.save(path, transparency=bytes([128] * 4))


def animated(path: Path) -> None:
    frames = [constant(200, 100, 50), constant(0, 0, 255), constant(0, 255, 0)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def transparent(path: Path) -> None:
    constant(200, 100, 50, 10, mode="RGBA").save(path)


def grey_with_alpha(path: Path) -> None:
    constant(200, 10, mode="LA").save(path)


def one_bit(path: Path) -> None:
    constant(1, mode="1").save(path)


def signed(path: Path) -> None:
    Image.fromarray(np.full((4, 6), 200 * 257, np.int32)).save(path)


@pytest.mark.parametrize(
    ("write", "name", "colour"),
    [
        (cmyk, "a.jpg", (255, 0, 0)),
        (cmyk, "a.tif", (255, 0, 0)),
        (sixteen_bits, "a.png", (200, 200, 200)),
        (sixteen_bits, "a.tif", (200, 200, 200)),
        (signed, "a.tif", (200, 200, 200)),
        (palette, "a.png", (200, 100, 50)),
        (palette_with_transparency, "a.png", (200, 100, 50)),
        (animated, "a.gif", (200, 100, 50)),
        (animated, "a.webp", (200, 100, 50)),
        (transparent, "a.png", (200, 100, 50)),
        (grey_with_alpha, "a.png", (200, 200, 200)),
        (one_bit, "a.png", (255, 255, 255)),
    ],
)
def test_every_mode_becomes_the_rgb_picture_that_it_shows(tmp_path, write, name, colour):
    write(tmp_path / name)
    seen = only(tmp_path / name)
    assert seen.shape == (4, 6, 3)
    assert np.abs(seen.astype(int) - colour).max() <= 4  # JPEG and WebP round


@pytest.mark.parametrize("turn", [3, 6, 8])
def test_a_picture_turned_by_its_camera_stands_upright(tmp_path, turn):
    image = Image.new("RGB", (6, 4))
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = turn
    image.save(tmp_path / "a.png", exif=exif)
    rows = {3: (4, 6, 3), 6: (6, 4, 3), 8: (6, 4, 3)}[turn]
    seen = only(tmp_path / "a.png", Preprocessing(None, rows[:2]))
    corner = {3: (3, 5), 6: (0, 3), 8: (5, 0)}[turn]
    assert seen.shape == rows
    assert seen[corner].tolist() == [255, 255, 255]
    assert seen.sum() == 3 * 255


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (3, 2)])
def test_tiny_images_and_extreme_strips_are_read(tmp_path, size):
    Image.new("RGB", size, (10, 20, 30)).save(tmp_path / "a.png")
    seen = only(tmp_path / "a.png", Preprocessing(40, (32, 32)))
    assert seen.shape == (32, 32, 3)
    assert (seen == (10, 20, 30)).all()


def test_an_image_above_pillows_limit_is_read_and_the_limit_stays(tmp_path):
    limit = Image.MAX_IMAGE_PIXELS
    size = (20_000, 9_000)
    assert size[0] * size[1] > 2 * limit
    Image.new("1", size, 1).save(tmp_path / "a.png")
    assert (only(tmp_path / "a.png", Preprocessing(40, (32, 32))) == 255).all()
    assert limit == Image.MAX_IMAGE_PIXELS


def test_an_image_above_our_own_limit_is_skipped_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "LARGEST", 100)
    noise(np.random.default_rng(0)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="40 x 30 pixels are more than the limit of 100"):
        pool(tmp_path).sample(0, AS_IS)


def broken(kind: str, whole: bytes) -> bytes:
    return {
        "zero bytes": b"",
        "cut off": whole[: len(whole) // 2],
        "text": b"not an image at all" * 9,
        "head": whole[:20],
    }[kind]


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tif", "webp"])
@pytest.mark.parametrize("kind", ["zero bytes", "cut off", "text", "head"])
def test_a_broken_file_is_reported_with_the_reason_and_the_others_are_read(tmp_path, rng, suffix, kind):
    for name in "abc":
        noise(rng, 200, 200).save(tmp_path / f"{name}.{suffix}")
    (tmp_path / f"b.{suffix}").write_bytes(broken(kind, (tmp_path / f"b.{suffix}").read_bytes()))
    first, second, third = (sample for _, sample in samples(pool(tmp_path), range(3), AS_IS))
    assert isinstance(second, DataError)
    assert str(second).startswith(f"b.{suffix}: ")
    assert len(str(second)) > len(f"b.{suffix}: ") + 5
    assert isinstance(first, models_preprocessing.Sample)
    assert isinstance(third, models_preprocessing.Sample)


def test_a_file_that_disappears_is_reported(folder):
    found = pool(folder)
    (folder / "a" / "0.png").unlink()
    with pytest.raises(DataError, match=r"a/0.png: .*No such file"):
        found.sample(0, AS_IS)


# ---------------------------------------------------------------- folders


def test_a_folder_is_searched_with_its_subfolders_and_without_hidden_files(folder):
    noise(np.random.default_rng(1)).save(folder / ".hidden.png")
    (folder / ".cache").mkdir()
    noise(np.random.default_rng(1)).save(folder / ".cache" / "x.png")
    (folder / "a" / "notes.txt").write_text("no image")
    noise(np.random.default_rng(1)).save(folder / "a" / "8.JPG", "JPEG")
    expected = ["a/0.png", "a/2.png", "a/4.png", "a/6.png", "a/8.JPG", "b/1.png", "b/3.png", "b/5.png"]
    assert [item.path for item in pool(folder).items] == expected


def test_the_order_is_not_that_of_the_directory_listing(folder, monkeypatch):
    expected = pool(folder)
    real = os.scandir

    class Backwards:
        def __init__(self, path):
            with real(path) as entries:
                self.entries = iter(sorted(entries, key=lambda entry: entry.name, reverse=True))

        def __iter__(self):
            return self.entries

        __next__ = lambda self: next(self.entries)  # noqa: E731
        __enter__ = lambda self: self  # noqa: E731
        __exit__ = lambda self, *_: None  # noqa: E731
        close = lambda self: None  # noqa: E731

    monkeypatch.setattr(os, "scandir", Backwards)
    assert pool(folder).items == expected.items
    assert pool(folder).digest == expected.digest


def test_an_image_is_its_relative_path_and_its_content(folder, tmp_path):
    before = pool(folder)
    moved = tmp_path / "elsewhere"
    folder.rename(moved)
    assert pool(moved).items == before.items
    (moved / "a" / "0.png").rename(moved / "a" / "00.png")
    noise(np.random.default_rng(5)).save(moved / "b" / "1.png")
    after = pool(moved)
    assert after.items[0].digest == before.items[0].digest
    assert after.items[0].path != before.items[0].path
    changed = {item.path for item in set(after.items) ^ set(before.items)}
    assert changed == {"a/0.png", "a/00.png", "b/1.png"}
    assert after.digest != before.digest


def test_two_folders_with_the_same_names_are_kept_apart(folder):
    noise(np.random.default_rng(3)).save(folder / "b" / "0.png")
    found = pool([folder / "a", folder / "b"])
    names = [item.path for item in found.items]
    assert "a/0.png" in names
    assert "b/0.png" in names
    assert len(set(names)) == len(names) == 8
    a, b = names.index("a/0.png"), names.index("b/0.png")
    assert found.items[a].digest != found.items[b].digest


def test_folders_are_one_pool_in_whatever_order_they_are_given(folder):
    assert pool([folder / "b", folder / "a"]).items == pool([folder / "a", folder / "b"]).items


def test_a_folder_given_twice_or_inside_another_counts_once(folder):
    once = pool(folder).items
    assert pool([folder, folder, folder / "a"]).items == once


def test_a_loop_of_links_ends_and_every_file_counts_once(folder):
    (folder / "a" / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "again").symlink_to(folder / "b", target_is_directory=True)
    digests = [item.digest for item in pool(folder).items]
    assert len(digests) == len(set(digests)) == 7


NAMES = (
    "münchen 日本.png",
    "a\nb.png",
    "<script>alert(1)</script>.png".replace("/", "∕"),
    "-rf *.png",
    "'\"&;$(x).png",
)


@pytest.mark.parametrize("name", NAMES)
def test_any_file_name_is_read(tmp_path, name):
    constant(9, 9, 9).save(tmp_path / name)
    found = pool(tmp_path)
    assert [item.path for item in found.items] == [name]
    assert found.sample(0, AS_IS).picture.size == (6, 4)
    assert found.digest


def test_a_file_name_that_is_no_unicode_stays_readable(tmp_path):
    constant(9, 9, 9).save(tmp_path / "a.png")
    os.rename(tmp_path / "a.png", os.fsencode(tmp_path) + b"/\xff\xe9.png")
    found = pool(tmp_path)
    assert found.items[0].path == r"\xff\xe9.png"
    found.items[0].path.encode()
    assert found.sample(0, AS_IS).picture.size == (6, 4)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda place: place / "nowhere", "there is no folder .*nowhere"),
        (lambda place: place / "a" / "0.png", "0.png is a file; give the folder"),
        (lambda place: [place / "a" / "0.png", place / "a" / "9.png"], "no folder or file .*9.png"),
        (lambda place: [place / "a", place / "c"], "no folder or file .*c"),
        (lambda place: place / "empty", "no image in .*empty; looked for .*png"),
        (lambda place: [], "empty"),
        (lambda place: 7, "images came as int"),
        (lambda place: iter([1]), "images came as list_iterator"),
    ],
    ids=["missing", "file", "mixed", "second", "empty", "none", "number", "iterator"],
)
def test_what_is_no_pool_is_refused(folder, make, reason):
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match=reason):
        pool(make(folder))


def test_a_subfolder_that_cannot_be_read_is_an_error_and_not_left_out(folder, monkeypatch):
    real = os.scandir

    def refuse(path):
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"cannot read folder .*b: Permission denied"):
        pool(folder)


# ---------------------------------------------------------------- lists and datasets


def test_every_way_of_giving_an_image_gives_the_same_image(folder):
    paths = sorted(folder.rglob("*.png"))
    pictures = [Image.open(path).convert("RGB") for path in paths]
    arrays = [np.asarray(picture) for picture in pictures]
    tensors = [torch.from_numpy(array.copy()).permute(2, 0, 1) for array in arrays]
    preprocessing = Preprocessing(36, (32, 32))
    wanted = [pool(folder).sample(i, preprocessing) for i in range(7)]
    ready = [sample.tensor for sample in wanted]
    labelled = [(picture, 3) for picture in pictures]
    ways = (
        paths,
        [str(p) for p in paths],
        pictures,
        arrays,
        tensors,
        ready,
        labelled,
        np.stack(arrays),
        torch.stack(ready),
    )
    for given in ways:
        found = pool(given)
        for position, sample in samples(found, range(7), preprocessing):
            assert torch.equal(sample.tensor, wanted[position].tensor)
            assert np.array_equal(np.asarray(sample.picture), np.asarray(wanted[position].picture))


def test_a_list_is_identified_by_content_and_position():
    arrays = [np.full((4, 6, 3), value, np.uint8) for value in (1, 2)]
    one, same, other = pool(arrays), pool([a.copy() for a in arrays]), pool(arrays[::-1])
    assert one.digest == same.digest != other.digest
    assert [item.path for item in one.items] == ["0", "1"]


def test_pictures_of_another_palette_are_other_pictures():
    red, blue = (Image.new("P", (6, 4)) for _ in range(2))
    red.putpalette([255, 0, 0])
    blue.putpalette([0, 0, 255])
    assert len({item.digest for item in pool([red, blue]).items}) == 2


class Torn:
    """A dataset one of whose images cannot be read."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __len__(self) -> int:
        return 3

    def __getitem__(self, position: int) -> tuple[Image.Image, int]:
        if position == 1:
            raise self.error
        return constant(9, 9, 9), 0


@pytest.mark.parametrize("error", [OSError("torn"), RuntimeError("torn"), KeyError("torn")])
def test_a_dataset_that_fails_on_an_image_has_it_reported(error):
    found = [sample for _, sample in samples(pool(Torn(error)), range(3), AS_IS)]
    assert [isinstance(sample, DataError) for sample in found] == [False, True, False]
    assert "1: " in str(found[1])
    assert "torn" in str(found[1])


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (torch.zeros(3, 8, 8), r"shape \(3, 8, 8\); needed is \(3, 4, 6\)"),
        (torch.zeros(1, 4, 6), r"needed is \(3, 4, 6\)"),
        (torch.full((3, 4, 6), float("nan")), "NaN"),
        (np.zeros((4, 6, 3)), "float64; needed is uint8"),
        (object(), "object"),
        (None, "NoneType"),
        (Image.new("F", (6, 4)), "32-bit float"),
    ],
    ids=["size", "channels", "NaN", "float array", "object", "none", "float picture"],
)
def test_an_image_that_cannot_be_used_is_reported(image, reason):
    found = pool([image, constant(9, 9, 9)])
    with pytest.raises(DataError, match=reason):
        found.sample(0, AS_IS)
    assert found.sample(1, AS_IS)


def test_a_pool_is_its_own_pool(folder):
    found = pool(folder)
    assert pool(found) is found


def test_samples_come_in_the_order_asked_for(folder):
    positions = [5, 0, 3, 3]
    assert [position for position, _ in samples(pool(folder), positions, AS_IS)] == positions


def test_samples_left_early_leave_no_thread_behind(folder):
    import threading

    before = threading.active_count()
    ahead = samples(pool(folder), range(7), AS_IS)
    next(ahead)
    ahead.close()
    assert threading.active_count() == before


@pytest.mark.parametrize(("lossless", "mime"), [(True, "image/png"), (False, "image/jpeg")])
def test_an_encoded_picture_says_what_it_is(rng, lossless, mime):
    import io

    image = noise(rng)
    found = crop_pictures.encode(image, lossless)
    back = Image.open(io.BytesIO(found.data))
    assert (found.mime, found.width, found.height) == (mime, 40, 30)
    assert back.size == (40, 30)
    assert back.get_format_mimetype() == mime
    if lossless:
        assert np.array_equal(np.asarray(back), np.asarray(image))


# ---------------------------------------------------------------- labels


class Listed:
    """Pairs of an image and a label, or images alone."""

    def __init__(self, labels, alone=False, **attributes):
        self.labels, self.alone = labels, alone
        vars(self).update(attributes)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, position):
        image = np.full((4, 6, 3), position, np.uint8)
        return image if self.alone else (image, self.labels[position])


def labels_of(source) -> list[str | None]:
    return [item.label for item in source.items]


def test_a_file_is_labelled_by_its_folder(tmp_path):
    files = [tmp_path / "hawk" / "a.png", tmp_path / "owl" / "grey" / "b.png"]
    for file in files:
        file.parent.mkdir(parents=True)
        constant(0).save(file)
    assert labels_of(pool(tmp_path)) == ["hawk", "grey"]
    assert labels_of(pool(tmp_path / "hawk")) == ["hawk"]
    assert labels_of(pool(files)) == ["hawk", "grey"]


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ("hawk", "hawk"),
        (3, "3"),
        (np.int64(3), "3"),
        (torch.tensor(3), "3"),
        (True, None),
        (0.5, None),
        (torch.zeros(2), None),
        ({"boxes": []}, None),
    ],
    ids=str,
)
def test_the_second_of_a_pair_is_the_label_where_it_can_be_one(value, label):
    assert labels_of(pool(Listed([value]))) == [label]


def test_a_dataset_names_its_numbers_and_may_keep_them_apart():
    names = ["hawk", "owl"]
    assert labels_of(pool(Listed([1, 0], classes=names))) == ["owl", "hawk"]
    assert labels_of(pool(Listed([0, 0], alone=True, classes=names, targets=[1, 0]))) == ["owl", "hawk"]
    assert labels_of(pool(Listed([1, 2], classes=names))) == ["owl", "2"]
    assert labels_of(pool(Listed([0, 0], alone=True, targets=[1]))) == [None, None]  # not of these images
    part = torch.utils.data.Subset(Listed([0, 1], classes=names), [1])
    assert labels_of(pool(part)) == ["owl"]


def test_a_label_is_no_part_of_the_identity():
    assert pool(Listed([0, 1])).digest == pool(Listed(["a", None])).digest
