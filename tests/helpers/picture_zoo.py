"""Awkward pictures that people have, each with what is right: its pixels, or why it is skipped."""

from __future__ import annotations

import io
import os
import stat
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

SIZE = (48, 32)
"""(width, height) of pictures."""

rng = np.random.default_rng(20)
COARSE = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
COLOUR = Image.fromarray(COARSE).resize(SIZE, Image.Resampling.BICUBIC)
GREY = COLOUR.convert("L")
RAMP = np.tile(np.linspace(0, 65535, SIZE[0]).astype(np.uint16), (SIZE[1], 1))


@dataclass(frozen=True)
class Case:
    """A file's name, how it is made, and what is right: pixels (H, W, 3), or a part of the reason.

    ``close`` is how far a lossy format may be off on average.
    """

    name: str
    make: Callable[[Path], Any]
    right: np.ndarray | str
    close: float = 0.0


def rgb(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"))


def stacked(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None].astype(np.uint8), 3, 2)


def saved(image: Image.Image | np.ndarray, **options: Any) -> Callable[[Path], Any]:
    picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    return lambda path: picture.save(path, **options)


def written(data: bytes) -> Callable[[Path], Any]:
    return lambda path: path.write_bytes(data)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


JPEG = encoded(COLOUR, "JPEG", quality=95)
PNG = encoded(COLOUR, "PNG")


def tagged(entries: list[tuple[int, int, int, bytes]], order: str = "<") -> bytes:
    """The JPEG with an EXIF block of (tag, type, count, value)."""
    data, rest = b"", 8 + 2 + 12 * len(entries) + 4
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(entries))
    for tag, kind, count, value in entries:
        head += struct.pack(f"{order}HHI", tag, kind, count)
        head += value.ljust(4, b"\0") if len(value) <= 4 else struct.pack(f"{order}I", rest + len(data))
        data += value if len(value) > 4 else b""
    block = b"Exif\0\0" + head + b"\0\0\0\0" + data
    return JPEG[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + JPEG[2:]


def turned(a: np.ndarray, tag: int) -> np.ndarray:
    """What a viewer shows of pixels with an orientation tag, written down by hand."""
    return {
        1: a,
        2: a[:, ::-1],
        3: a[::-1, ::-1],
        4: a[::-1],
        5: a.swapaxes(0, 1),
        6: a.swapaxes(0, 1)[:, ::-1],
        7: a[::-1, ::-1].swapaxes(0, 1),
        8: a.swapaxes(0, 1)[::-1],
    }[tag]


def turned_tiff(tag: int) -> Callable[[Path], Any]:
    exif = Image.Exif()
    exif[0x112] = tag
    return saved(COLOUR, exif=exif)


PLAIN = rgb(Image.open(io.BytesIO(JPEG)))


def turn(tag: int) -> tuple[int, int, int, bytes]:
    """An entry of EXIF that asks for an orientation."""
    return 0x112, 3, 1, struct.pack("<H", tag)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, depth: int, kind: int, whole: bool = False) -> bytes:
    """A PNG of zeros that claims as many pixels as it likes; ``whole`` has them all."""
    row = b"\0" * (1 + (width * depth * {0: 1, 2: 3, 3: 1}[kind] + 7) // 8)
    packer = zlib.compressobj(1)
    rows = b"".join(packer.compress(row * 64) for _ in range(height // 64)) if whole else b""
    rows += packer.compress(row * (height % 64 if whole else 1)) + packer.flush()
    palette = chunk(b"PLTE", bytes(range(256)) * 3) if kind == 3 else b""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + palette + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def text_bomb() -> bytes:
    """A PNG one of whose notes unpacks to a gigabyte."""
    packer = zlib.compressobj(9)
    note = b"".join(packer.compress(b"\0" * (1 << 22)) for _ in range(128)) + packer.flush()
    return PNG[:33] + chunk(b"zTXt", b"note\0\0" + note) + PNG[33:]


def pages(path: Path) -> None:
    COLOUR.save(path, save_all=True, append_images=[Image.new("RGB", SIZE, "red")] * 2)


def frames(path: Path) -> None:
    first = COLOUR.quantize(64)
    first.save(path, save_all=True, append_images=[Image.new("P", SIZE, 3)] * 2, duration=50)


def palette_see_through(path: Path) -> None:
    COLOUR.quantize(32).save(path, transparency=bytes(range(0, 256, 8)))


def with_text(path: Path) -> None:
    notes = PngImagePlugin.PngInfo()
    for key in ("full", "progressive", "transparency", "exif"):
        notes.add_text(key, "9" * 50)
    COLOUR.save(path, pnginfo=notes)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(80 << 30)


ODD_TAGS = [
    (0x11A, 10, 1, struct.pack("<ii", -1, 0)),
    (0x11A, 5, 1, struct.pack("<II", 1, 0)),
    (0x100, 3, 7, b"ab\xffcd" + b"\0" * 8),
    (0x110, 4, 1, b"\xff" * 4),
    (0x10F, 12, 1, struct.pack("<d", float("nan"))),
    (0x13B, 99, 1, b"abcd"),
    (0x8769, 2, 4, b"abcd"),
    (0x8825, 4, 1, b"\xff" * 4),
    (0xC4A5, 7, 1 << 30, b"abcd"),
    (0x9286, 1, 5, b"\xff\xfe\0\0\0"),
]
"""EXIF that Pillow reads but cannot write again, that is cut off, or of a type that is none."""

DEEP = stacked(RAMP >> 8)
INK = GREY.point(lambda value: 255 * (value > 99))
BOMB = b"GIF89a" + b"\xff" * 4 + bytes(3) + b"," + bytes(4) + b"\xff" * 4 + b"\0\2\2\0"
QUANTISED = rgb(COLOUR.quantize(64))
CASES = [
    # right pixels
    Case("rgb.png", saved(COLOUR), rgb(COLOUR)),
    Case("grey.png", saved(GREY), rgb(GREY)),
    Case("grey-alpha.png", saved(COLOUR.convert("LA")), rgb(COLOUR.convert("LA"))),
    Case("rgba.png", saved(COLOUR.convert("RGBA")), rgb(COLOUR)),
    Case("one-bit.png", saved(INK.convert("1")), rgb(INK)),
    Case("two-bits.png", saved(GREY.quantize(4), bits=2), rgb(GREY.quantize(4))),
    Case("palette.png", saved(COLOUR.quantize(64)), QUANTISED),
    Case("palette-see-through.png", palette_see_through, rgb(COLOUR.quantize(32))),
    Case("16-bits.png", saved(RAMP), stacked(RAMP >> 8)),
    Case("16-bits.tif", saved(RAMP), stacked(RAMP >> 8)),
    Case("16-bits-lzw.tif", saved(RAMP, compression="tiff_lzw"), stacked(RAMP >> 8)),
    Case("12-in-16.png", saved(RAMP >> 4), stacked(RAMP >> 12)),
    Case("int32.tif", saved((RAMP >> 8).astype(np.int32)), stacked(RAMP >> 16)),
    Case("int32-whole.tif", saved(RAMP.astype(np.int32)), stacked(RAMP >> 8)),
    Case("65535.pgm", written(b"P5 48 32 65535\n" + RAMP.astype(">u2").tobytes()), stacked(RAMP >> 8)),
    Case("4095.pgm", written(b"P5 48 32 4095\n" + (RAMP >> 4).astype(">u2").tobytes()), DEEP, 1),
    Case("cmyk.tif", saved(COLOUR.convert("CMYK")), rgb(COLOUR.convert("CMYK"))),
    Case("cmyk.jpg", saved(COLOUR.convert("CMYK"), quality=95), rgb(COLOUR.convert("CMYK")), 4),
    Case("ycbcr.tif", saved(COLOUR.convert("YCbCr")), rgb(COLOUR.convert("YCbCr")), 2),
    Case("baseline.jpg", written(JPEG), rgb(COLOUR), 6),
    Case("progressive.jpg", saved(COLOUR, progressive=True, quality=95), rgb(COLOUR), 6),
    Case("grey.jpeg", saved(GREY, quality=95), rgb(GREY), 3),
    Case("animated.gif", frames, QUANTISED),
    Case("animated.webp", lambda path: pages(path), rgb(COLOUR), 12),
    Case("animated.png", lambda path: pages(path), rgb(COLOUR)),
    Case("pages.tif", pages, rgb(COLOUR)),
    Case("picture.bmp", saved(COLOUR), rgb(COLOUR)),
    Case("picture.jp2", saved(COLOUR), rgb(COLOUR), 1),
    Case("lies.png", written(JPEG), rgb(COLOUR), 6),
    Case("lies.jpg", written(PNG), rgb(COLOUR)),
    Case("text.png", with_text, rgb(COLOUR)),
    Case("tail.png", written(PNG + b"PK\3\4" * 99), rgb(COLOUR)),
    *(Case(f"turn-{tag}.jpg", written(tagged([turn(tag)])), turned(PLAIN, tag)) for tag in range(1, 9)),
    *(Case(f"turn-{tag}.tif", turned_tiff(tag), turned(rgb(COLOUR), tag)) for tag in range(1, 9)),
    *(
        Case(f"tag-{odd[0]:x}-{odd[1]}.jpg", written(tagged(sorted([turn(6), odd]))), turned(PLAIN, 6))
        for odd in ODD_TAGS
    ),
    Case("big-endian.jpg", written(tagged([(0x112, 3, 1, struct.pack(">H", 6))], ">")), turned(PLAIN, 6)),
    Case("turn-99.jpg", written(tagged([turn(99)])), PLAIN),
    Case("turn-text.jpg", written(tagged([(0x112, 2, 2, b"6\0")])), turned(PLAIN, 6)),
    Case("turn-of-nothing.jpg", written(tagged([(0x112, 5, 1, struct.pack("<II", 6, 0))])), PLAIN),
    Case("no-exif.jpg", written(JPEG[:2] + b"\xff\xe1\0\x0eExif\0\0xxxxxx" + JPEG[2:]), PLAIN),
    # one clear reason
    Case("empty.jpg", written(b""), "not an image"),
    Case("words.jpg", written(b"no image" * 99), "not an image"),
    Case("head.jpg", written(JPEG[:20]), "not an image"),
    Case("cut.jpg", written(JPEG[: len(JPEG) // 2]), "truncated"),
    Case("cut.png", written(PNG[: len(PNG) // 2]), "truncated"),
    Case("cut.webp", written(encoded(COLOUR, "WEBP")[:200]), "decode|not an image"),
    Case("heic.jpg", written(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 99), "not an image"),
    Case("postscript.jpg", written(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "not an image"),
    Case("no-pixel.png", written(png(0, 9, 8, 2)), "not an image"),
    Case("bomb-palette.png", written(png(30_000, 30_000, 8, 3)), "take .* GB to decode"),
    Case("bomb-16.png", written(png(31_000, 31_000, 16, 0)), "take .* GB to decode"),
    Case("bomb-1.png", written(png(31_600, 31_600, 1, 0)), "take .* GB to decode"),
    Case("bomb.png", written(png(60_000, 60_000, 8, 2)), "more than the limit"),
    Case("bomb.gif", written(BOMB), "more than the limit"),
    Case("bomb-note.png", written(text_bomb()), "too large"),
    Case("float.tif", saved((RAMP / 65535).astype(np.float32)), "32-bit float"),
    Case("below-zero.tif", saved(RAMP.astype(np.int32) - 1000), "no agreed range"),
    Case("beyond-16-bits.tif", saved(RAMP.astype(np.int32) * 9), "no agreed range"),
    Case("pipe.jpg", os.mkfifo, "a named pipe, no file"),
    Case("socket.jpg", lambda path: os.mknod(path, stat.S_IFSOCK | 0o600), "a socket, no file"),
    Case("endless.jpg", lambda path: path.symlink_to("/dev/zero"), "a device, no file"),
    Case("loop.jpg", lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
    Case("nowhere.jpg", lambda path: path.symlink_to("nothing.png"), "No such file"),
    Case("hole.jpg", sparse, "more than 64 GiB"),
]
"""Files of a pool."""


def pixels(mode: str) -> Image.Image:
    return COLOUR.convert(mode)


GIVEN: dict[str, tuple[Any, np.ndarray | str]] = {
    "array": (np.asarray(COLOUR), rgb(COLOUR)),
    "grey array": (np.asarray(GREY), rgb(GREY)),
    "grey array of three sides": (np.asarray(GREY)[..., None], rgb(GREY)),
    "RGBA array": (np.asarray(pixels("RGBA")), rgb(COLOUR)),
    "flipped array": (np.asarray(COLOUR)[::-1, ::-1], rgb(COLOUR)[::-1, ::-1]),
    "HSV": (pixels("HSV"), rgb(pixels("HSV"))),
    "premultiplied": (pixels("RGBA").convert("RGBa"), rgb(COLOUR)),
    "grey premultiplied": (pixels("LA").convert("La"), rgb(GREY)),
    "RGBX": (pixels("RGBX"), rgb(COLOUR)),
    "16 bits": (Image.fromarray(RAMP), stacked(RAMP >> 8)),
    "no rows": (np.zeros((0, 6, 3), np.uint8), "each at least 1"),
    "no pixels": (Image.new("RGB", (0, 4)), "no pixels"),
    "five channels": (np.zeros((4, 6, 5), np.uint8), "."),
    "one side": (np.zeros(9, np.uint8), "needed is"),
    "booleans": (np.zeros((4, 6, 3), bool), "bool; needed is uint8"),
    "16-bit array": (RAMP, "uint16; needed is uint8"),
    "float picture": (Image.new("F", SIZE), "32-bit float"),
    "LAB": (Image.new("LAB", SIZE, (255, 128, 128)), stacked(np.full((32, 48), 255))),
    "nothing": (None, "NoneType"),
    "an object": (object(), "object"),
}
"""Images of a list."""
