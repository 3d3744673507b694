"""Every form of image that a camera or program may leave, and every form of damage."""

import os
import pickle
import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from leukospike.errors import ImageError
from leukospike.images import (
    IMAGE_SUFFIXES,
    MAX_PIXELS,
    MAX_SCANS,
    Note,
    encode_png,
    luma,
    pixel_digest,
    read_image,
    tiff_planes,
    tiff_strips,
    write_png,
)


def _noise(rows: int = 20, columns: int = 24, channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    values = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (rows, columns, channels), dtype, endpoint=True)
    return values[:, :, 0] if channels == 1 else values


def _saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


# --- what is read ---


@pytest.mark.parametrize("name", ["a.bmp", "a.png", "a.tif", "a.TIFF", "a.PNG"])
def test_rgb_comes_back_as_stored(tmp_path: Path, name: str) -> None:
    pixels = _noise()
    picture = read_image(_saved(tmp_path / name, Image.fromarray(pixels)))
    np.testing.assert_array_equal(picture.pixels, pixels)
    assert (picture.bit_depth, picture.generated) == (8, False)
    assert picture.pixels.flags.writeable


def test_lossless_webp_comes_back_as_stored(tmp_path: Path) -> None:
    picture = read_image(_saved(tmp_path / "a.webp", Image.fromarray(_noise()), lossless=True))
    np.testing.assert_array_equal(picture.pixels, _noise())
    assert picture.format == "WebP"


@pytest.mark.parametrize("name", ["a.jpg", "a.jpeg", "a.JPG"])
def test_jpeg_is_read_as_pillow_decodes_it(tmp_path: Path, name: str) -> None:
    path = _saved(tmp_path / name, Image.fromarray(_noise()))
    picture = read_image(path)
    np.testing.assert_array_equal(picture.pixels, np.asarray(Image.open(path)))
    assert picture.format == "JPEG"


def test_multi_picture_jpeg_gives_its_first_picture(tmp_path: Path) -> None:
    first, second = Image.new("RGB", (32, 24), "red"), Image.new("RGB", (16, 16), "blue")
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second])
    picture = read_image(tmp_path / "a.jpg")
    assert picture.pixels.shape == (24, 32, 3)
    assert picture.pixels[0, 0, 0] > 200


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp"])
def test_grey_becomes_three_equal_channels(tmp_path: Path, name: str) -> None:
    grey = _noise(channels=1)
    pixels = read_image(_saved(tmp_path / name, Image.fromarray(grey))).pixels
    np.testing.assert_array_equal(pixels, np.stack([grey] * 3, axis=2))


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp"])
def test_one_bit_becomes_black_and_white(tmp_path: Path, name: str) -> None:
    image = Image.fromarray(_noise(channels=1)).convert("1")
    pixels = read_image(_saved(tmp_path / name, image)).pixels
    np.testing.assert_array_equal(pixels[:, :, 0], np.asarray(image) * np.uint8(255))


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp"])
def test_palette_is_looked_up(tmp_path: Path, name: str) -> None:
    image = Image.fromarray(_noise()).quantize(16)
    pixels = read_image(_saved(tmp_path / name, image)).pixels
    np.testing.assert_array_equal(pixels, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("name", ["a.tif", "a.jpg"])
def test_cmyk_becomes_rgb(tmp_path: Path, name: str) -> None:
    image = Image.new("CMYK", (20, 20), (0, 255, 255, 0))
    pixels = read_image(_saved(tmp_path / name, image)).pixels
    np.testing.assert_allclose(pixels[10, 10], (255, 0, 0), atol=2)


def test_ycbcr_tiff_becomes_rgb(tmp_path: Path) -> None:
    image = Image.fromarray(_noise()).convert("YCbCr")
    pixels = read_image(_saved(tmp_path / "a.tif", image)).pixels
    np.testing.assert_array_equal(pixels, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize(("mode", "name"), [("RGBA", "a.png"), ("RGBA", "a.tif"), ("LA", "a.png"), ("PA", "a.tif")])
def test_transparency_is_laid_over_white(tmp_path: Path, mode: str, name: str) -> None:
    image = Image.new("RGBA", (20, 20), (100, 100, 100, 255))
    image.paste((0, 0, 0, 0), (0, 0, 10, 20))
    pixels = read_image(_saved(tmp_path / name, image.convert(mode))).pixels
    assert pixels[:, :10].min() == 255
    assert set(np.unique(pixels[:, 10:])) == {100}


def test_half_transparency_is_mixed_with_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (20, 20), (0, 100, 255, 51))
    pixels = read_image(_saved(tmp_path / "a.webp", image, lossless=True)).pixels
    np.testing.assert_allclose(pixels[0, 0], np.array([0, 100, 255]) * 0.2 + 255 * 0.8, atol=1)


def test_opaque_alpha_changes_nothing(tmp_path: Path) -> None:
    pixels = _noise()
    image = Image.fromarray(np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)]))
    np.testing.assert_array_equal(read_image(_saved(tmp_path / "a.png", image)).pixels, pixels)


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_a_transparent_colour_of_png_is_laid_over_white(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGB", (20, 20), "black")
    image.paste("red", (0, 0, 10, 20))
    image = image.convert(mode)
    key = image.getpixel((0, 0))
    pixels = read_image(_saved(tmp_path / "a.png", image, transparency=key)).pixels
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[0, 15].tolist() == [0, 0, 0]


def test_a_palette_with_degrees_of_transparency_raises_no_warning(tmp_path: Path) -> None:
    image = Image.fromarray(_noise()).quantize(4)
    pixels = read_image(_saved(tmp_path / "a.png", image, transparency=bytes([0, 0, 0, 1]))).pixels
    assert pixels.min() == 254


# --- sixteen bits ---


@pytest.mark.parametrize(("name", "dtype"), [("a.png", "<u2"), ("a.tif", "<u2"), ("b.tif", ">u2")])
def test_sixteen_bit_grey_spans_the_full_range(tmp_path: Path, name: str, dtype: str) -> None:
    grey = np.linspace(0, 65535, 20 * 24).round().astype(dtype).reshape(20, 24)
    picture = read_image(_saved(tmp_path / name, Image.fromarray(grey)))
    assert picture.bit_depth == 16
    np.testing.assert_array_equal(picture.pixels[:, :, 0], grey >> 8)
    assert np.abs(picture.pixels[:, :, 0] - grey / 257).max() < 1


def test_eight_bits_widened_to_sixteen_come_back(tmp_path: Path) -> None:
    grey = _noise(channels=1)
    picture = read_image(_saved(tmp_path / "a.png", Image.fromarray(grey.astype(np.uint16) * 257)))
    np.testing.assert_array_equal(picture.pixels[:, :, 0], grey)


def test_sixteen_bit_tiff_with_white_as_zero_is_turned_round(tmp_path: Path) -> None:
    grey = _noise(channels=1, dtype=np.uint16)
    path = _saved(tmp_path / "a.tif", Image.fromarray(65535 - grey), tiffinfo={262: 0})
    np.testing.assert_array_equal(read_image(path).pixels[:, :, 0], grey >> 8)


def _png_16(path: Path, values: np.ndarray) -> Path:
    """Write a 16-bit colour PNG, which Pillow cannot."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows, columns, channels = values.shape
    header = struct.pack(">IIBBBBB", columns, rows, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


def _tiff(path: Path, tags: dict[int, object], blocks: list[bytes], *, order: str = "<", big: bool = False) -> Path:
    """Write a TIFF of one directory, whose blocks are tiles if tag 322 is given, else strips."""
    start = 16 if big else 8
    content = b"".join(blocks)
    offsets = [start + sum(map(len, blocks[:number])) for number in range(len(blocks))]
    at, length = (324, 325) if 322 in tags else (273, 279)
    tags = tags | {at: tuple(offsets), length: tuple(map(len, blocks))}
    count, one, field = ("Q", "HHQ8s", 8) if big else ("H", "HHI4s", 4)
    directory = struct.pack(order + count, len(tags))
    for tag, value in sorted(tags.items()):
        if isinstance(value, str | bytes):
            kind, stored = (2, value.encode() + b"\0") if isinstance(value, str) else (7, value)
            number = len(stored)
        else:
            values = value if isinstance(value, tuple) else (value,)
            kind, number = (4 if tag in (at, length) else 3), len(values)
            stored = struct.pack(f"{order}{number}{'I' if kind == 4 else 'H'}", *values)
        if len(stored) > field:
            content, stored = content + stored, struct.pack(order + count.replace("H", "I"), start + len(content))
        directory += struct.pack(order + one, tag, kind, number, stored)
    where = start + len(content)
    magic = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "H", 43 if big else 42)
    head = magic + (struct.pack(order + "HHQ", 8, 0, where) if big else struct.pack(order + "I", where))
    path.write_bytes(head + content + directory + bytes(field))
    return path


def _layout(values: np.ndarray, colour: int, **more: object) -> dict[int, object]:
    """Give the tags that samples need; `colour` is the photometric interpretation."""
    rows, columns, channels = values.shape
    bits = (values.dtype.itemsize * 8,) * channels
    tags = {256: columns, 257: rows, 258: bits, 259: 1, 262: colour, 277: channels, 278: rows}
    return tags | {int(tag[1:]): value for tag, value in more.items()}


def _tiff_16(path: Path, values: np.ndarray, order: str) -> Path:
    """Write an uncompressed 16-bit RGB TIFF, which Pillow cannot."""
    return _tiff(path, _layout(values.astype(np.uint16), 2), [values.astype(f"{order}u2").tobytes()], order=order)


@pytest.mark.parametrize("write", [_png_16, lambda p, v: _tiff_16(p, v, "<"), lambda p, v: _tiff_16(p, v, ">")])
def test_sixteen_bit_colour_equals_sixteen_bit_grey(tmp_path: Path, write: Callable[[Path, np.ndarray], Path]) -> None:
    values = _noise(dtype=np.uint16)
    suffix = ".png" if write is _png_16 else ".tif"
    picture = read_image(write(tmp_path / f"a{suffix}", values))
    assert picture.bit_depth == 16
    np.testing.assert_array_equal(picture.pixels, values >> 8)


def test_sixteen_bit_transparency_is_laid_over_white(tmp_path: Path) -> None:
    values = np.full((20, 20, 4), 25700, np.uint16)
    values[:, :, 3] = 65535
    values[:, :10, 3] = 0
    picture = read_image(_png_16(tmp_path / "a.png", values))
    assert picture.bit_depth == 16
    assert set(np.unique(picture.pixels[:, :10])) == {255}
    assert set(np.unique(picture.pixels[:, 10:])) == {100}


def test_a_transparent_colour_of_sixteen_bits_is_compared_whole(tmp_path: Path) -> None:
    values = np.full((20, 20, 3), 0x6420, np.uint16)
    values[:, :10] = 0x6421
    path = _png_16(tmp_path / "a.png", values)
    content = path.read_bytes()
    key = struct.pack(">3H", 0x6421, 0x6421, 0x6421)
    chunk = struct.pack(">I", 6) + b"tRNS" + key + struct.pack(">I", zlib.crc32(b"tRNS" + key))
    at = content.index(b"IDAT") - 4
    path.write_bytes(content[:at] + chunk + content[at:])
    pixels = read_image(path).pixels
    assert set(np.unique(pixels[:, :10])) == {255}
    assert set(np.unique(pixels[:, 10:])) == {0x64}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize(
    ("channels", "more"), [(3, {}), (4, {"t338": 1}), (4, {"t338": 2}), (4, {"t338": 2, "t274": 6, "t317": 2})]
)
def test_strips_decoded_in_groups_give_the_same_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, channels: int, bits: int, order: str, more: dict[str, int]
) -> None:
    values = _noise(channels=channels, dtype=np.uint16) >> (16 - bits)
    strips = [zlib.compress(values[row : row + 3].astype(f"{order}u2").tobytes()) for row in range(0, 20, 3)]
    layout = _layout(values, 2, **more) | {259: 8, 278: 3}
    path = _tiff(tmp_path / "a.tif", layout, strips, order=order)
    whole = read_image(path)
    groups: list[int] = []

    def counted(*arguments: object) -> None:
        groups.append(len(arguments[-1]))
        tiff_planes.write_tiff(*arguments)

    monkeypatch.setattr(tiff_strips, "write_tiff", counted)
    monkeypatch.setattr(tiff_strips, "_GROUP_BYTES", 2 * max(map(len, strips)))
    picture = read_image(path)
    np.testing.assert_array_equal(picture.pixels, whole.pixels)
    assert (picture.bit_depth, picture.notes) == (whole.bit_depth, whole.notes)
    assert groups[:4] == [2, 2, 2, 1]


def test_strips_cut_short_are_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = _noise(dtype=np.uint16)
    strips = [zlib.compress(values[row : row + 4].tobytes()) for row in range(0, 20, 4)]
    path = _tiff(tmp_path / "a.tif", _layout(values, 2) | {259: 8, 278: 4, 279: 0}, strips)
    content = path.read_bytes()
    place = content.index(struct.pack("<5I", *map(len, strips)))
    path.write_bytes(content[:place] + struct.pack("<I", 10**9) + content[place + 4 :])
    monkeypatch.setattr(tiff_strips, "_GROUP_BYTES", 100)
    with pytest.raises(ImageError, match="truncated or damaged"):
        read_image(path)


# --- separate planes ---


def _in_planes(path: Path, values: np.ndarray, colour: int, *, order: str, form: str, **more: object) -> Path:
    """Write each channel by itself, in strips, in tiles or deflated."""
    rows, columns, _ = values.shape
    tags = _layout(values, colour, t284=2, **more)
    planes = values.astype(values.dtype.newbyteorder(order)).transpose(2, 0, 1)
    if form == "tiles":
        tags = {tag: value for tag, value in tags.items() if tag != 278} | {322: 16, 323: 16}
        planes = np.pad(planes, ((0, 0), (0, -rows % 16), (0, -columns % 16)))
        blocks = [
            plane[row : row + 16, column : column + 16].tobytes()
            for plane in planes
            for row in range(0, planes.shape[1], 16)
            for column in range(0, planes.shape[2], 16)
        ]
    elif form == "strips":
        tags[278] = 7
        blocks = [plane[row : row + 7].tobytes() for plane in planes for row in range(0, rows, 7)]
    else:
        tags[259] = 8
        blocks = [zlib.compress(plane.tobytes()) for plane in planes]
    return _tiff(path, tags, blocks, order=order, big=form == "BigTIFF")


@pytest.mark.parametrize(
    ("form", "order"),
    [(form, order) for form in ("strips", "tiles", "deflated") for order in "<>"] + [("BigTIFF", "<")],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_planes_are_read_as_pixels_are(tmp_path: Path, form: str, order: str, dtype: type) -> None:
    values = _noise(30, 40, dtype=dtype)
    picture = read_image(_in_planes(tmp_path / "a.tif", values, 2, order=order, form=form))
    np.testing.assert_array_equal(picture.pixels, values >> (values.dtype.itemsize * 8 - 8))
    assert (picture.bit_depth, picture.notes) == (values.dtype.itemsize * 8, ())


@pytest.mark.parametrize("form", ["strips", "deflated"])
@pytest.mark.parametrize("extra", [1, 2])
@pytest.mark.parametrize(("dtype", "colour", "channels"), [(np.uint8, 2, 4), (np.uint16, 2, 4), (np.uint8, 1, 2)])
def test_a_plane_of_alpha_is_laid_over_white(
    tmp_path: Path, form: str, extra: int, dtype: type, colour: int, channels: int
) -> None:
    values = _noise(channels=4, dtype=dtype)[:, :, :channels]
    values[:, :, -1] = np.iinfo(dtype).max
    values[:, :10] = 0
    path = _in_planes(tmp_path / "a.tif", values, colour, order="<", form=form, t338=extra)
    expected = values[:, :, : channels - 1] >> (values.dtype.itemsize * 8 - 8)
    expected[:, :10] = 255
    np.testing.assert_array_equal(read_image(path).pixels, np.broadcast_to(expected, (20, 24, 3)))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_planes_of_ink_become_rgb(tmp_path: Path, dtype: type) -> None:
    values = np.zeros((20, 24, 4), dtype)
    values[:, :, 1:3] = np.iinfo(dtype).max
    picture = read_image(_in_planes(tmp_path / "a.tif", values, 5, order="<", form="strips"))
    assert picture.pixels.reshape(-1, 3).tolist() == [[255, 0, 0]] * 480


@pytest.mark.parametrize("orientation", range(1, 9))
def test_planes_are_turned_upright(tmp_path: Path, orientation: int) -> None:
    values = _noise(20, 30)
    exif = Image.Exif()
    exif[0x0112] = orientation
    whole = read_image(_saved(tmp_path / "a.png", Image.fromarray(values), exif=exif))
    planes = read_image(_in_planes(tmp_path / "a.tif", values, 2, order=">", form="strips", t274=orientation))
    np.testing.assert_array_equal(planes.pixels, whole.pixels)
    assert planes.stored_size == whole.stored_size == planes.pixels.shape[:2]


def test_jpeg_planes_share_their_tables(tmp_path: Path) -> None:
    smooth = Image.fromarray(_noise(4, 4)).resize((32, 32))
    bands = smooth.split()
    streams = [_saved(tmp_path / "b.jpg", band, streamtype=2, quality=95).read_bytes() for band in bands]
    tables = _saved(tmp_path / "b.jpg", bands[0], streamtype=1, quality=95).read_bytes()
    tags = _layout(np.asarray(smooth), 2, t284=2, t259=7, t347=tables)
    picture = read_image(_tiff(tmp_path / "a.tif", tags, streams))
    assert np.abs(picture.pixels.astype(int) - np.asarray(smooth)).max() < 10


@pytest.mark.parametrize("codec", [1, 8])
def test_truncated_planes_are_refused(tmp_path: Path, codec: int) -> None:
    planes = [plane.tobytes() for plane in _noise(30, 40, dtype=np.uint16).transpose(2, 0, 1)]
    if codec == 8:
        planes = [zlib.compress(plane) for plane in planes]
    tags = _layout(_noise(30, 40, dtype=np.uint16), 2, t284=2, t259=codec)
    _refused(_tiff(tmp_path / "a.tif", tags, [*planes[:2], planes[2][:-100]]), "got a truncated or damaged one")
    path = _tiff(tmp_path / "b.tif", tags, planes)
    content = path.read_bytes()
    last = struct.pack("<I", 8 + sum(map(len, planes[:2])))
    path.write_bytes(content.replace(last, struct.pack("<I", len(content) - 100)))
    _refused(path, "got a truncated or damaged one")


def test_planes_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    # A small file of many blocks, each of them all of it, would be held many times over.
    path = _tiff(tmp_path / "a.tif", _layout(_noise(), 2, t284=2), [_noise().tobytes()] * 3)
    content = path.read_bytes()
    lengths = struct.pack("<3I", *(1440,) * 3)
    path.write_bytes(content.replace(lengths, struct.pack("<3I", *(len(content),) * 3)))
    _refused(path, "must be a complete TIFF image, got a truncated or damaged one")


# --- fewer bits than are stored ---


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
@pytest.mark.parametrize("form", ["RGB.png", "RGBA.png", "RGB.tif", "planes.tif", "grey.tif", "grey.png"])
def test_few_bits_in_sixteen_are_read_by_their_range(tmp_path: Path, bits: int, form: str) -> None:
    values = np.random.default_rng(0).integers(0, 1 << bits, (20, 24, 3), np.uint16)
    values[0, 0] = (1 << bits) - 1
    expected = values >> (bits - 8)
    kind, suffix = form.split(".")
    path = tmp_path / f"a.{suffix}"
    if kind == "grey":
        _saved(path, Image.fromarray(values[:, :, 0]))
        expected = expected[:, :, :1]
    elif kind == "planes":
        _in_planes(path, values, 2, order=">", form="deflated")
    elif suffix == "tif":
        _tiff_16(path, values, ">")
    else:
        opaque = np.full((20, 24, 1), (1 << bits) - 1, np.uint16)
        _png_16(path, np.dstack([values, opaque]) if kind == "RGBA" else values)
    picture = read_image(path)
    np.testing.assert_array_equal(picture.pixels, np.broadcast_to(expected, (20, 24, 3)))
    assert (picture.bit_depth, picture.notes) == (bits, (f"{bits}_bits_in_16",))


def test_few_bits_with_full_alpha_are_read(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (20, 24, 4), np.uint16)
    values[:, :, 3] = 65535
    picture = read_image(_png_16(tmp_path / "a.png", values))
    np.testing.assert_array_equal(picture.pixels, values[:, :, :3] >> 4)
    assert picture.notes == (Note.BITS_12_IN_16,)


def test_few_bits_multiplied_by_alpha_are_read(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (20, 24, 4), np.uint16)
    values[:, :, 3] = 4095
    path = _tiff(tmp_path / "a.tif", _layout(values, 2, t338=1), [values.astype("<u2").tobytes()])
    np.testing.assert_array_equal(read_image(path).pixels, values[:, :, :3] >> 4)


@pytest.mark.parametrize("factor", [256, 257])
def test_a_dark_picture_widened_from_eight_bits_comes_back(tmp_path: Path, factor: int) -> None:
    values = np.random.default_rng(0).integers(0, 15, (20, 24, 3), np.uint16)
    picture = read_image(_png_16(tmp_path / "a.png", values * factor))
    np.testing.assert_array_equal(picture.pixels, values)
    assert (picture.bit_depth, picture.notes) == (16, ())


@pytest.mark.parametrize(
    ("top", "tags", "bits"),
    [
        (4000, {}, 12),
        (4000, {270: '<OME><Pixels SignificantBits="14"/></OME>'}, 14),
        (4000, {270: '<OME><Pixels SignificantBits="10"/></OME>'}, 12),
        (900, {281: (4095,) * 3}, 12),
        (900, {281: (3700,) * 3}, 12),
        (4000, {270: '<OME><Pixels SignificantBits="16"/></OME>'}, 12),  # which may only mean the container
        (16000, {270: '<OME><Pixels SignificantBits="16"/></OME>'}, 16),
        (16000, {281: (65535,) * 3}, 16),
        (16000, {}, 14),
        (17000, {281: (4095,) * 3}, 16),
    ],
)
def test_what_a_file_says_of_its_bits_is_weighed(tmp_path: Path, top: int, tags: dict[int, object], bits: int) -> None:
    values = np.random.default_rng(0).integers(0, top, (20, 24, 3), np.uint16)
    values[0, 0] = top
    path = _tiff(tmp_path / "a.tif", _layout(values, 2) | tags, [values.astype("<u2").tobytes()])
    picture = read_image(path)
    assert picture.bit_depth == bits
    np.testing.assert_array_equal(picture.pixels, values >> (bits - 8))


@pytest.mark.parametrize(("colour", "channels"), [(5, 4), (0, 1)])
def test_little_ink_is_a_bright_picture_and_no_small_range(tmp_path: Path, colour: int, channels: int) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (20, 24, channels), np.uint16)
    values[:, :, 3:] = 0
    path = _tiff(tmp_path / "a.tif", _layout(values, colour), [values.astype("<u2").tobytes()])
    picture = read_image(path)
    assert (picture.bit_depth, picture.notes) == (16, ())
    np.testing.assert_array_equal(picture.pixels, np.broadcast_to(255 - (values[:, :, :3] >> 8), (20, 24, 3)))


# --- an empty alpha channel ---


def _bmp_with_alpha(path: Path, values: np.ndarray) -> Path:
    """Write a BMP of version 5 with an alpha mask, which Pillow cannot."""
    rows, columns, _ = values.shape
    pixels = np.ascontiguousarray(values[::-1, :, [2, 1, 0, 3]]).tobytes()
    header = struct.pack("<IiiHHIIiiII", 124, columns, rows, 1, 32, 3, len(pixels), 0, 0, 0, 0)
    header += struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs" + bytes(64)
    path.write_bytes(b"BM" + struct.pack("<IHHI", 138 + len(pixels), 0, 0, 138) + header + pixels)
    return path


@pytest.mark.parametrize("form", ["a.png", "a.tif", "a.webp", "a.bmp", "premultiplied.tif", "16.png", "planes.tif"])
def test_an_empty_alpha_channel_is_left_out(tmp_path: Path, form: str) -> None:
    values = np.dstack([_noise(), np.zeros((20, 24, 1), np.uint8)])
    path = tmp_path / form
    if form == "a.bmp":
        _bmp_with_alpha(path, values)
    elif form == "premultiplied.tif":
        _tiff(path, _layout(values, 2, t338=1), [values.tobytes()])
    elif form == "planes.tif":
        _in_planes(path, values, 2, order="<", form="deflated", t338=1)
    elif form == "16.png":
        _png_16(path, values.astype(np.uint16) * 257)
    else:
        options = {"lossless": True, "exact": True} if form == "a.webp" else {}
        _saved(path, Image.fromarray(values), **options)
    picture = read_image(path)
    np.testing.assert_array_equal(picture.pixels, _noise())
    assert picture.notes == (Note.EMPTY_ALPHA,) == ("empty_alpha",)


@pytest.mark.parametrize("extra", [1, 2])
def test_an_empty_alpha_channel_of_grey_is_left_out(tmp_path: Path, extra: int) -> None:
    values = np.dstack([_noise(channels=1), np.zeros((20, 24), np.uint8)])
    picture = read_image(_tiff(tmp_path / "a.tif", _layout(values, 1, t338=extra), [values.tobytes()]))
    np.testing.assert_array_equal(picture.pixels, np.repeat(values[:, :, :1], 3, axis=2))
    assert picture.notes == (Note.EMPTY_ALPHA,)


@pytest.mark.parametrize(("mode", "name"), [("RGBA", "a.png"), ("LA", "a.png"), ("RGBA", "a.tif"), ("RGBA", "a.webp")])
def test_one_colour_under_an_empty_alpha_channel_is_refused(tmp_path: Path, mode: str, name: str) -> None:
    path = _saved(tmp_path / name, Image.new(mode, (20, 24)))
    _refused(path, "got an alpha channel that hides every pixel, over a single colour. Save it without transp")


def test_a_single_opaque_pixel_keeps_the_alpha_channel(tmp_path: Path) -> None:
    values = np.dstack([_noise(), np.zeros((20, 24, 1), np.uint8)])
    values[3, 4, 3] = 255
    picture = read_image(_saved(tmp_path / "a.png", Image.fromarray(values)))
    assert (picture.pixels == 255).all(axis=2).sum() >= 479
    np.testing.assert_array_equal(picture.pixels[3, 4], values[3, 4, :3])
    assert picture.notes == ()


# --- orientation ---


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(tmp_path: Path, name: str, orientation: int) -> None:
    stored = np.zeros((16, 32, 3), np.uint8)
    stored[:8, :16] = 255
    turned = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: np.rot90(stored, -1),
        7: stored.transpose(1, 0, 2)[::-1, ::-1],
        8: np.rot90(stored),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = read_image(_saved(tmp_path / name, Image.fromarray(stored), exif=exif)).pixels
    np.testing.assert_array_equal(pixels > 127, turned > 127)


def test_sixteen_bit_grey_is_turned_upright_too(tmp_path: Path) -> None:
    grey = _noise(16, 32, channels=1, dtype=np.uint16)
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = read_image(_saved(tmp_path / "a.png", Image.fromarray(grey), exif=exif)).pixels
    np.testing.assert_array_equal(pixels[:, :, 0], np.rot90(grey, -1) >> 8)


# --- what is refused, and the reason ---


def _refused(path: Path, reason: str) -> None:
    with pytest.raises(ImageError, match=reason) as caught:
        read_image(path)
    assert "\n" not in str(caught.value)
    assert str(path.parent) not in str(caught.value)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    _refused(tmp_path / "a.png", "must not be empty, got 0 bytes")


@pytest.mark.parametrize("name", ["a.bmp", "a.png", "a.jpg", "a.tif", "a.webp"])
@pytest.mark.parametrize("kept", [0.05, 0.5, 0.95])
def test_a_truncated_file_is_refused(tmp_path: Path, name: str, kept: float) -> None:
    path = _saved(tmp_path / name, Image.fromarray(_noise(200, 200)))
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    _refused(path, "must be a complete (BMP|PNG|JPEG|TIFF|WebP) image, got a truncated or damaged one")


@pytest.mark.parametrize("content", [b"a patient list, not an image\n", b"B", b"\0" * 100, b"RIFF1234WAVE"])
def test_what_is_no_image_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.bmp").write_bytes(content)
    _refused(tmp_path / "a.bmp", r"must be BMP, PNG, JPEG, TIFF or WebP, got an unknown format \(it begins with b")


@pytest.mark.parametrize(("pillow_name", "name"), [("GIF", "GIF"), ("JPEG2000", "JPEG 2000"), ("PDF", "PDF")])
def test_another_kind_of_image_is_named(tmp_path: Path, pillow_name: str, name: str) -> None:
    _saved(tmp_path / "a.png", Image.fromarray(_noise()), format=pillow_name)
    _refused(tmp_path / "a.png", f"got {name}. Save the picture as PNG")


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"\xff\xd8\xff\xf7", "JPEG-LS"),
        (b"\xff\x4f\xff\x51", "JPEG 2000"),
        (b"\xff\x0a", "JPEG XL"),
        (b"\0\0\0\x0cJXL ", "JPEG XL"),
        (b"\0\0\0\x18ftypheic", "HEIC, AVIF or a video"),
    ],
)
def test_a_kind_that_pillow_may_not_know_is_named(tmp_path: Path, start: bytes, name: str) -> None:
    (tmp_path / "a.jpg").write_bytes(start + bytes(100))
    _refused(tmp_path / "a.jpg", f"got {name}. Save the picture as PNG")


@pytest.mark.parametrize(
    ("pillow_name", "name", "reason"),
    [
        ("JPEG", "a.png", r"got JPEG in a name ending in '\.png'\. Rename it to end in \.jpg"),
        ("PNG", "a.jpg", r"got PNG in a name ending in '\.jpg'\. Rename it to end in \.png"),
        ("BMP", "a.tif", r"got BMP in a name ending in '\.tif'\. Rename it to end in \.bmp"),
        ("TIFF", "a.bmp", r"got TIFF in a name ending in '\.bmp'\. Rename it to end in \.tif"),
        ("WEBP", "a.dat", r"got WebP in a name ending in '\.dat'\. Rename it to end in \.webp"),
        ("PNG", "a", r"got PNG in a name without an extension\. Rename it to end in \.png"),
    ],
)
def test_a_renamed_file_is_refused(tmp_path: Path, pillow_name: str, name: str, reason: str) -> None:
    _refused(_saved(tmp_path / name, Image.fromarray(_noise()), format=pillow_name), reason)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif"])
def test_an_enormous_image_is_refused_without_decoding(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    if name == "a.png":
        header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
        crc = struct.pack(">I", zlib.crc32(b"IHDR" + header))
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + header + crc + b"\0\0\0\1IDAT")
    elif name == "a.bmp":
        header = struct.pack("<IiiHHIIiiII", 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0)
        path.write_bytes(b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header)
    else:
        _tiff(path, _layout(np.zeros((16, 16, 3), np.uint16), 2, t256=60_000, t257=60_000), [bytes(1000)])
    decoded: list[Image.Image] = []
    monkeypatch.setattr(ImageFile.ImageFile, "load", decoded.append)
    _refused(path, "must have at most 64,000,000 pixels, got 60000 x 60000. Split it")
    assert decoded == []


def test_the_limit_itself_is_read_and_one_row_more_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_PIXELS == 64_000_000
    monkeypatch.setattr("leukospike.images.reading.MAX_PIXELS", 20 * 24)
    assert read_image(_saved(tmp_path / "a.png", Image.fromarray(_noise()))).pixels.shape == (20, 24, 3)
    _refused(_saved(tmp_path / "b.png", Image.fromarray(_noise(21))), "at most 480 pixels, got 24 x 21")


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (15, 40), (40, 15)])
def test_a_tiny_image_is_refused(tmp_path: Path, rows: int, columns: int) -> None:
    path = _saved(tmp_path / "a.png", Image.fromarray(_noise(rows, columns)))
    _refused(path, f"must be at least 16 x 16 pixels, got {columns} x {rows}")


def test_sixteen_by_sixteen_is_large_enough(tmp_path: Path) -> None:
    assert read_image(_saved(tmp_path / "a.png", Image.fromarray(_noise(16, 16)))).pixels.shape == (16, 16, 3)


def test_a_mode_without_a_known_range_is_refused(tmp_path: Path) -> None:
    _refused(_saved(tmp_path / "a.tif", Image.new("LAB", (20, 20))), "got mode LAB. Save it as 8-bit RGB")


def test_twelve_bits_are_refused(tmp_path: Path) -> None:
    content = bytearray(_saved(tmp_path / "a.tif", Image.fromarray(_noise(channels=1, dtype=np.uint16))).read_bytes())
    at = content.index(struct.pack("<HHI", 258, 3, 1)) + 8
    content[at : at + 2] = struct.pack("<H", 12)
    (tmp_path / "a.tif").write_bytes(content)
    _refused(tmp_path / "a.tif", "must have 8 or 16 bits per channel, got 12. Save it as PNG")


@pytest.mark.parametrize(
    ("mode", "numbers"), [("I", "signed values of 32 bits"), ("F", "floating-point values of 32 bits")]
)
def test_numbers_without_a_known_range_are_refused(tmp_path: Path, mode: str, numbers: str) -> None:
    _refused(
        _saved(tmp_path / "a.tif", Image.new(mode, (20, 20))), f"unsigned integers .*got {numbers}. Save it as 8-bit"
    )


@pytest.mark.parametrize(
    ("dtype", "kind", "numbers"),
    [
        ("f4", 3, "floating-point values of 32"),
        ("f2", 3, "floating-point values of 16"),
        ("i2", 2, "signed values of 16"),
    ],
)
def test_colours_of_other_numbers_are_refused(tmp_path: Path, dtype: str, kind: int, numbers: str) -> None:
    values = np.ones((20, 20, 3), dtype)
    path = _tiff(tmp_path / "a.tif", _layout(values, 2, t339=(kind,) * 3), [values.tobytes()])
    _refused(path, f"unsigned integers .*got {numbers} bits. Save it as 8-bit PNG")


def test_signed_bytes_are_not_taken_for_unsigned_ones(tmp_path: Path) -> None:
    values = np.ones((20, 20, 1), np.int8)
    _refused(_tiff(tmp_path / "a.tif", _layout(values, 1, t339=2), [values.tobytes()]), "got signed values of 8 bits")


@pytest.mark.parametrize(
    ("codec", "name"),
    [
        (34712, "JPEG 2000"),
        (33003, "JPEG 2000"),
        (34887, "LERC"),
        (50001, "WebP"),
        (50002, "JPEG XL"),
        (32809, "ThunderScan"),
        (65000, "a codec"),
    ],
)
def test_a_codec_that_is_not_read_is_named(tmp_path: Path, codec: int, name: str) -> None:
    path = _tiff(tmp_path / "a.tif", _layout(_noise(), 2, t259=codec), [b"coded in some way"])
    _refused(
        path, rf"must be uncompressed or compressed with LZW.*, got {name} \(compression {codec}\)\. Save it as PNG"
    )


@pytest.mark.parametrize(("codec", "pillow_name"), [(34925, "lzma"), (50000, "zstd")])
def test_a_codec_is_named_if_libtiff_was_built_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: int, pillow_name: str
) -> None:
    path = _saved(tmp_path / "a.tif", Image.fromarray(_noise()), compression=pillow_name)
    np.testing.assert_array_equal(read_image(path).pixels, _noise())
    monkeypatch.setattr("leukospike.images.tiff_layout._can_decode", lambda _: False)
    _refused(path, rf"\(compression {codec}\)\. Save it as PNG")


def test_big_tiff_in_big_endian_order_is_named(tmp_path: Path) -> None:
    path = _tiff(tmp_path / "a.tif", _layout(_noise(), 2), [_noise().tobytes()], order=">", big=True)
    _refused(path, "got big-endian BigTIFF. Save it as PNG")


@pytest.mark.parametrize(
    ("colour", "dtype", "channels", "planar", "layout"),
    [
        (1, np.uint16, 2, 1, "grey of 2 x 16 bits"),
        (32803, np.uint16, 1, 1, "raw camera of 1 x 16 bits"),
        (7, np.uint8, 1, 1, "photometric 7 of 1 x 8 bits"),
        (2, np.uint16, 6, 2, "RGB of 6 x 16 bits in separate planes"),
    ],
)
def test_a_layout_that_is_not_read_is_described(
    tmp_path: Path, colour: int, dtype: type, channels: int, planar: int, layout: str
) -> None:
    values = np.ones((20, 20, channels), dtype)
    path = _tiff(tmp_path / "a.tif", _layout(values, colour, t284=planar), [values.tobytes()])
    _refused(path, f"must be TIFF in a supported layout, got {layout}. Save it as 8-bit PNG")


def test_planes_of_ycbcr_are_refused(tmp_path: Path) -> None:
    planes = [plane.tobytes() for plane in _noise().transpose(2, 0, 1)]
    path = _tiff(tmp_path / "a.tif", _layout(_noise(), 6, t284=2, t530=(1, 1)), planes)
    _refused(
        path, "with separate planes must be grey, RGB or CMYK of 8 or 16 bits, got YCbCr of 8. Save it as 8-bit PNG"
    )


def test_a_jpeg_of_twelve_bits_is_named(tmp_path: Path) -> None:
    path = _saved(tmp_path / "a.jpg", Image.fromarray(_noise()))
    content = bytearray(path.read_bytes())
    content[content.index(b"\xff\xc0") + 4] = 12
    path.write_bytes(content)
    _refused(path, "must have 8 bits per channel, got 12. Save it as PNG")


def test_a_form_of_bmp_that_is_not_read_is_named(tmp_path: Path) -> None:
    path = _saved(tmp_path / "a.bmp", Image.fromarray(_noise()))
    content = bytearray(path.read_bytes())
    content[30] = 4  # a JPEG inside
    path.write_bytes(content)
    _refused(path, r"must be BMP in a supported form, got another form \(Unsupported BMP.*\)\. Save it as PNG")


@pytest.mark.parametrize(("name", "pages"), [("a.tif", "several"), ("a.webp", "2"), ("a.png", "2")])
def test_several_pages_are_refused(tmp_path: Path, name: str, pages: str) -> None:
    first, second = Image.new("RGB", (20, 20), "red"), Image.new("RGB", (20, 20), "blue")
    path = _saved(tmp_path / name, first, save_all=True, append_images=[second])
    _refused(path, rf"must be a single page, got {pages}\. Save")


@pytest.mark.parametrize(
    ("tags", "pages"),
    [
        ({270: "ImageJ=1.11a\nimages=3\nchannels=3\nhyperstack=true\nmode=grayscale\n"}, 3),
        ({270: "ImageJ=1.54f\nimages=12\nslices=4\nframes=3\n"}, 12),
        ({270: "ImageJ=1.54f\nslices=4\nframes=3\n"}, 12),
        ({270: '<?xml version="1.0"?><OME><Image><Pixels SizeC="5" SizeT="1" SizeZ="1"/></Image></OME>'}, 5),
        ({270: '<OME:OME><OME:Image><OME:Pixels ID="a" SizeC="1" SizeT="2" SizeZ="7"/></OME:Image></OME:OME>'}, 14),
        ({270: '<OME><Image><Pixels SizeC="1"></Pixels></Image><Image><Pixels SizeC="1"/></Image></OME>'}, 2),
        ({270: '{"shape": [4, 20, 24], "truncated": true}'}, 4),
        ({32997: 6}, 6),
        ({33629: tuple(range(12))}, 12),
    ],
)
def test_planes_behind_a_single_directory_are_several_pages(
    tmp_path: Path, tags: dict[int, object], pages: int
) -> None:
    grey = _noise(channels=1)[:, :, np.newaxis]
    path = _tiff(tmp_path / "a.tif", _layout(grey, 1) | tags, [grey.tobytes()])
    _refused(path, rf"must be a single page, got {pages}\. Save the page you need as a separate PNG")


@pytest.mark.parametrize(
    "note",
    [
        "ImageJ=1.54f\nimages=1\n",
        "ImageJ=1.54f\nunit=micron\n",
        '<OME><Image><Pixels SizeC="3" SizeT="1" SizeZ="1"/></Image></OME>',
        '{"shape": [20, 24, 3]}',
        "images=3",
    ],
)
def test_a_note_of_one_plane_changes_nothing(tmp_path: Path, note: str) -> None:
    path = _tiff(tmp_path / "a.tif", _layout(_noise(), 2, t270=note), [_noise().tobytes()])
    np.testing.assert_array_equal(read_image(path).pixels, _noise())


@pytest.mark.parametrize("planar", [1, 2])
def test_several_greys_are_several_pages(tmp_path: Path, planar: int) -> None:
    # Pillow gives the first alone.
    values = _noise(channels=3)[:, :, :2]
    blocks = [values.tobytes()] if planar == 1 else [zlib.compress(values[:, :, k].tobytes()) for k in (0, 1)]
    tags = _layout(values, 1, t284=planar, t259=1 if planar == 1 else 8, t338=0)
    _refused(_tiff(tmp_path / "a.tif", tags, blocks), "must be a single page, got 2")


def test_pages_of_a_tiff_are_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Twenty pages, each with a directory of its own; only the first is opened.
    pages = [Image.new("L", (20, 20), grey) for grey in range(20)]
    path = _saved(tmp_path / "a.tif", pages[0], save_all=True, append_images=pages[1:])
    opened: list[int] = []
    seek = TiffImageFile._seek
    monkeypatch.setattr(TiffImageFile, "_seek", lambda image, page: (opened.append(page), seek(image, page)))
    _refused(path, "must be a single page, got several")
    assert opened == [0]


def _tiff_of_one_block(path: Path, sides: list[tuple[int, int, int]], *, side: int = 32, big: bool = False) -> Path:
    """Write a grey TIFF whose only tile (if tag 322 is given) or strip is zeros, deflated."""
    block = zlib.compress(bytes(2048 * 2064))
    at, length = (324, 325) if 322 in {tag for tag, _, _ in sides} else (273, 279)
    entries = [(256, 3, side), (257, 3, side), (258, 3, 8), (259, 3, 8), (262, 3, 1), (277, 3, 1), *sides]
    entries = sorted([*entries, (at, 4, 0), (length, 4, len(block))], key=lambda entry: entry[0])
    head, count, one, end = (b"II+\0\x08\0\0\0", "<Q", "<HHQQ", "<Q") if big else (b"II*\0", "<H", "<HHII", "<I")
    start = len(head) + struct.calcsize(end)
    data = start + struct.calcsize(count) + len(entries) * struct.calcsize(one) + struct.calcsize(end)
    folder = b"".join(struct.pack(one, tag, kind, 1, data if tag == at else value) for tag, kind, value in entries)
    content = head + struct.pack(end, start) + struct.pack(count, len(entries)) + folder + struct.pack(end, 0) + block
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("sides", "big"),
    [
        ([(322, 3, 2048), (323, 3, 2064)], False),
        ([(322, 4, 2048), (323, 4, 2064)], False),
        ([(322, 9, 2048), (323, 9, 2064)], False),
        ([(322, 16, 2048), (323, 16, 2064)], True),
        ([(322, 17, 2048), (323, 17, 2064)], True),  # a type that Pillow does not know
        ([(322, 4, 2048), (322, 4, 32), (323, 4, 2064), (323, 4, 32)], False),  # of which Pillow takes the last
        ([(322, 4, 32), (322, 4, 2048), (323, 4, 32), (323, 4, 2064)], False),
    ],
)
def test_a_tile_far_larger_than_its_image_is_refused_without_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sides: list[tuple[int, int, int]], big: bool
) -> None:
    path = _tiff_of_one_block(tmp_path / "a.tif", sides, big=big)
    decoded: list[Image.Image] = []
    monkeypatch.setattr(TiffImageFile, "load", decoded.append)
    _refused(
        path, "must have tiles no larger than about its own size, got tiles of 2048 x 2064 for an image of 32 x 32"
    )
    assert decoded == []


@pytest.mark.parametrize("sides", [[(322, 3, 2048), (323, 3, 2048)], [(278, 4, 2**32 - 1)], [(278, 4, 10**6)], []])
def test_a_tile_or_strip_that_reaches_beyond_its_image_is_read(
    tmp_path: Path, sides: list[tuple[int, int, int]]
) -> None:
    assert not read_image(_tiff_of_one_block(tmp_path / "a.tif", sides)).pixels.any()


def test_a_single_tile_may_hold_a_large_image(tmp_path: Path) -> None:
    path = _tiff_of_one_block(tmp_path / "a.tif", [(322, 3, 2048), (323, 3, 2064)], side=2048)
    assert read_image(path).pixels.shape == (2048, 2048, 3)


def _scans(path: Path, *, more: int) -> Path:
    """Write a progressive JPEG with its last scan repeated."""
    _saved(path, Image.fromarray(_noise(40, 40)), progressive=True)
    content = path.read_bytes()
    last = content[content.rindex(b"\xff\xda") : -2]
    path.write_bytes(content[:-2] + last * more + b"\xff\xd9")
    return path


def test_a_jpeg_of_many_scans_is_refused(tmp_path: Path) -> None:
    scans = _scans(tmp_path / "a.jpg", more=0).read_bytes().count(b"\xff\xda")
    assert scans > 1
    read_image(_scans(tmp_path / "a.jpg", more=MAX_SCANS - scans))
    _refused(_scans(tmp_path / "a.jpg", more=MAX_SCANS - scans + 1), "must have at most 100 JPEG scans, got more. Save")


def test_what_only_looks_like_a_scan_is_not_counted(tmp_path: Path) -> None:
    # In a note before the picture, and in the film that a telephone appends.
    fake = b"\xff\xda\0\x02" * 1000
    path = _saved(tmp_path / "a.jpg", Image.fromarray(_noise()), comment=fake)
    path.write_bytes(path.read_bytes() + fake)
    assert read_image(path).pixels.shape == (20, 24, 3)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    _refused(tmp_path / "none.png", "must be readable, got 'No such file or directory'")
    _refused(tmp_path, "must be readable, got 'Is a directory'")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read everything")
def test_a_locked_file_is_refused(tmp_path: Path) -> None:
    path = _saved(tmp_path / "a.png", Image.fromarray(_noise()))
    path.chmod(0)
    _refused(path, "must be readable, got 'Permission denied'")


def test_permission_denied_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", deny)
    _refused(tmp_path / "a.png", "must be readable, got 'Permission denied'. Check")


# --- threads ---


def test_many_threads_read_what_one_reads(tmp_path: Path) -> None:
    paths = []
    for number, suffix in enumerate(sorted(IMAGE_SUFFIXES) * 3):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 30, 3), np.uint8)
        paths.append(_saved(tmp_path / f"{number}{suffix}", Image.fromarray(pixels)))
    alone = [pixel_digest(read_image(path).pixels) for path in paths]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda path: pixel_digest(read_image(path).pixels), paths * 10))
    assert together == alone * 10


# --- grey, digest, writing ---


def test_luma_is_pillows_for_every_mixture() -> None:
    levels = np.arange(0, 256, 5, dtype=np.uint8)
    pixels = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, levels.size, 3)
    grey = luma(pixels)
    assert grey.dtype == np.float32
    # The formula of Pillow's mode L: weights in 1/65536, rounded half up.
    expected = (pixels.astype(np.int64) @ np.array([19595, 38470, 7471]) + 32768) >> 16
    np.testing.assert_array_equal(grey, expected.astype(np.float32) / np.float32(255))


def test_luma_of_a_view_is_the_view_of_luma() -> None:
    pixels = _noise()
    np.testing.assert_array_equal(luma(pixels[::2, ::-1]), luma(pixels)[::2, ::-1])


def test_digest_tells_pixels_and_shapes_apart() -> None:
    pixels = _noise(20, 24)
    other = pixels.copy()
    other[3, 4, 1] ^= 1
    assert pixel_digest(pixels) == pixel_digest(np.asfortranarray(pixels))
    assert len({pixel_digest(p) for p in (pixels, other, pixels.reshape(24, 20, 3), pixels.reshape(10, 48, 3))}) == 4


def test_digest_is_the_same_in_every_release() -> None:
    # By hand: printf '1 2 \000\001\002\003\004\005' | sha256sum
    digest = pixel_digest(np.arange(6, dtype=np.uint8).reshape(1, 2, 3))
    assert digest == "5fc2fbc30e7cf19f09dafbc1586fde4d133009eff347f2815a5d483150e90262"


def test_same_pixels_in_another_format_have_the_same_digest(tmp_path: Path) -> None:
    image = Image.fromarray(_noise())
    paths = [_saved(tmp_path / name, image) for name in ("a.bmp", "a.png", "a.tif")]
    paths.append(_saved(tmp_path / "a.webp", image, lossless=True))
    assert len({pixel_digest(read_image(path).pixels) for path in paths}) == 1


def test_png_in_memory_holds_what_a_file_holds(tmp_path: Path) -> None:
    for name, about in (("a", {}), ("b", {"generated": True, "um_per_px": 0.1})):
        write_png(tmp_path / f"{name}.png", _noise(), **about)
        (tmp_path / f"{name}-2.png").write_bytes(encode_png(_noise(), **about))
        one, other = read_image(tmp_path / f"{name}.png"), read_image(tmp_path / f"{name}-2.png")
        np.testing.assert_array_equal(one.pixels, other.pixels)
        assert (one.generated, one.um_per_px) == (other.generated, other.um_per_px)
    assert encode_png(_noise()) == encode_png(_noise())


def test_generated_pictures_say_so(tmp_path: Path) -> None:
    write_png(tmp_path / "new" / "a.png", _noise(), generated=True)
    write_png(tmp_path / "b.png", _noise())
    assert read_image(tmp_path / "new" / "a.png").generated
    assert not read_image(tmp_path / "b.png").generated
    np.testing.assert_array_equal(read_image(tmp_path / "b.png").pixels, _noise())


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="No space left"):
        write_png(tmp_path / "a.png", _noise())
    assert list(tmp_path.iterdir()) == []


# --- pixel size ---


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {"dpi": (254_000, 254_000)}),
        ("a.bmp", {"dpi": (254_000, 254_000)}),
        ("a.tif", {"dpi": (254_000, 254_000)}),
        ("a.tif", {"resolution": 100_000, "resolution_unit": 3}),
        ("a.tif", {"resolution": 10, "resolution_unit": 1, "description": "ImageJ=1.54f\nunit=micron\n"}),
        ("a.tif", {"resolution": 10, "resolution_unit": 1, "description": "ImageJ=1.54f\nunit=\\u00B5m\n"}),
    ],
)
def test_pixel_size_is_read_where_the_file_states_it(tmp_path: Path, name: str, options: dict[str, object]) -> None:
    picture = read_image(_saved(tmp_path / name, Image.fromarray(_noise()), **options))
    assert picture.um_per_px == pytest.approx(0.1, rel=1e-3)


def test_pixel_size_of_a_jpeg_is_read(tmp_path: Path) -> None:
    picture = read_image(_saved(tmp_path / "a.jpg", Image.fromarray(_noise()), dpi=(50_800, 50_800)))
    assert picture.um_per_px == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {}),
        ("a.webp", {}),
        ("a.png", {"dpi": (72, 72)}),
        ("a.jpg", {"dpi": (300, 300)}),
        ("a.tif", {"dpi": (2_540_000, 2_540_000)}),
        ("a.tif", {"dpi": (254_000, 127_000)}),
        ("a.tif", {"resolution": 10, "resolution_unit": 1}),
        ("a.tif", {"resolution": 10, "resolution_unit": 1, "description": "ImageJ=1.54f\nunit=inch\n"}),
        ("a.tif", {"resolution": 0, "resolution_unit": 2}),
    ],
)
def test_no_or_an_impossible_pixel_size_is_none(tmp_path: Path, name: str, options: dict[str, object]) -> None:
    assert read_image(_saved(tmp_path / name, Image.fromarray(_noise()), **options)).um_per_px is None


def test_a_picture_can_be_sent_to_another_process(tmp_path: Path) -> None:
    _tiff_16(tmp_path / "a.tif", _noise(dtype=np.uint16) >> 4, "<")
    picture = read_image(tmp_path / "a.tif")
    again = pickle.loads(pickle.dumps(picture))
    np.testing.assert_array_equal(again.pixels, picture.pixels)
    assert (again.notes, again.bit_depth, again.stored_size) == (picture.notes, 12, picture.stored_size)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L"])
def test_a_picture_of_several_bands_is_read_as_pillow_reads_it(tmp_path: Path, mode: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1100, 1000, 3), np.uint8)
    path = _saved(tmp_path / "a.png", Image.fromarray(pixels).convert(mode))
    np.testing.assert_array_equal(read_image(path).pixels, np.asarray(Image.open(path).convert("RGB")))
