"""What holds for every image, and for every way to damage one."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from leukospike.errors import ImageError
from leukospike.images import luma, pixel_digest, read_image, write_png

PICTURES = arrays.arrays(np.uint8, st.tuples(st.integers(16, 24), st.integers(16, 24), st.just(3)))
SAME_FOLDER = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


@SAME_FOLDER
@given(pixels=PICTURES, generated=st.booleans())
def test_what_is_written_is_read(tmp_path: Path, pixels: np.ndarray, generated: bool) -> None:
    write_png(tmp_path / "a.png", pixels, generated=generated)
    picture = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(picture.pixels, pixels)
    assert picture.generated == generated


@settings(deadline=None)
@given(pixels=PICTURES)
def test_luma_is_pillows_mode_l(pixels: np.ndarray) -> None:
    expected = np.asarray(Image.fromarray(pixels).convert("RGBA").convert("L"), np.float32) / np.float32(255)
    np.testing.assert_array_equal(luma(pixels), expected)


@settings(deadline=None)
@given(first=PICTURES, second=PICTURES)
def test_digests_are_equal_exactly_for_equal_pixels(first: np.ndarray, second: np.ndarray) -> None:
    assert (pixel_digest(first) == pixel_digest(second)) == np.array_equal(first, second)
    assert pixel_digest(first) == pixel_digest(first.copy())


def _planes_of_sixteen_bits(pixels: np.ndarray) -> bytearray:
    plane, tags = pixels[:, :, 0].size * 2, {256: 20, 257: 20, 258: 16, 259: 1, 262: 2, 277: 3, 278: 20, 284: 2}
    blocks_at = 8 + 2 + (len(tags) + 2) * 12 + 4
    arrays_at = blocks_at + 3 * plane
    directory = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in tags.items() if tag < 273)
    directory += struct.pack("<HHII", 273, 4, 3, arrays_at)
    directory += b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in tags.items() if 273 < tag < 279)
    directory += struct.pack("<HHIIHHII", 279, 4, 3, arrays_at + 12, 284, 3, 1, 2)
    content = b"II*\0" + struct.pack("<IH", 8, len(tags) + 2) + directory + bytes(4)
    content += pixels.transpose(2, 0, 1).astype("<u2").tobytes()
    return bytearray(content + struct.pack("<6I", *range(blocks_at, arrays_at, plane), *(plane,) * 3))


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [
        ("BMP", ".bmp"),
        ("PNG", ".png"),
        ("JPEG", ".jpg"),
        ("TIFF", ".tif"),
        ("TIFF-LZW", ".tif"),
        ("TIFF-PLANES", ".tif"),
        ("WEBP", ".webp"),
    ],
)
@SAME_FOLDER
@given(data=st.data())
def test_damage_gives_a_picture_or_one_line(tmp_path: Path, kind: str, suffix: str, data: st.DataObject) -> None:
    whole = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    options = {"compression": "tiff_lzw"} if kind == "TIFF-LZW" else {}
    Image.fromarray(pixels).save(whole, kind.partition("-")[0], **options)
    content = bytearray(whole.getvalue())
    if kind == "TIFF-PLANES":
        content = _planes_of_sixteen_bits(pixels)
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[position] = data.draw(st.integers(0, 255))
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        pixels = read_image(path).pixels
    except ImageError as error:
        reason = str(error)
        pixels = None
    assert pixels is not None or ("\n" not in reason and ", got " in reason)
