"""Reading the largest image: 64 megapixels of 16 bits a channel with alpha, of which 12 bits are used, in memory."""

import struct
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks import measure, tables
from leukospike.images import read_image

SIDE = 8000
AIM_MB = 600
_ROWS = 16  # of noise, repeated down the picture


def run() -> None:
    """Measure each range of values in a process of its own, and print and save the table."""
    results = {
        f"{form}, {bits} of 16 bits used": measure.apart("benchmarks.large_image:case", form=form, bits=bits)
        for form in _WRITERS
        for bits in (16, 12)
    }
    rows = [
        {
            "case": name,
            "seconds": f"{result['seconds']:.1f}",
            "libraries MB": f"{result['baseline_mb']:,.0f}",
            "peak MB": f"{result['peak_mb']:,.0f}",
        }
        for name, result in results.items()
    ]
    notes = (
        f"{SIDE} x {SIDE}, RGBA, deflated; the TIFF in strips of {_ROWS} rows.",
        f"Peak of the process, with its libraries: one that only reads images loads no PyTorch. Aim {AIM_MB} MB.",
    )
    print(tables.table("Largest image", rows, notes=notes))
    tables.save("large-image", {"aim_mb": AIM_MB, "cases": results})


def case(form: str, bits: int) -> dict[str, float]:
    """Read one generated image."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"large.{form.lower()}"
        _WRITERS[form](path, bits)
        start = time.perf_counter()
        read_image(path)
        return {"seconds": time.perf_counter() - start}


def _noise(bits: int) -> np.ndarray:
    """Draw some rows of noise, opaque."""
    values = np.random.default_rng(0).integers(0, 1 << bits, (_ROWS, SIDE, 4)).astype(">u2")
    values[:, :, 3] = 65535
    return values


def _write_png(path: Path, bits: int) -> None:
    """Write noise piece by piece, in less memory than reading it takes."""
    lines = b"".join(b"\0" + row.tobytes() for row in _noise(bits))
    packer = zlib.compressobj(1)
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        _write_chunk(file.write, b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 16, 6, 0, 0, 0))
        for _ in range(SIDE // _ROWS):
            _write_chunk(file.write, b"IDAT", packer.compress(lines))
        _write_chunk(file.write, b"IDAT", packer.flush())
        _write_chunk(file.write, b"IEND", b"")


def _write_chunk(write: Callable[[bytes], object], name: bytes, content: bytes) -> None:
    """Write one chunk of a PNG."""
    write(struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content)))


def _write_tiff(path: Path, bits: int) -> None:
    """Write the same noise, strip by strip."""
    strip, n = zlib.compress(_noise(bits).tobytes(), 1), SIDE // _ROWS
    strips = n * len(strip)
    places = struct.pack(f">{n}I", *range(8, 8 + strips, len(strip)))
    lengths = struct.pack(f">{n}I", *[len(strip)] * n)
    after = 8 + strips
    bits_at, directory = after + 8 * n, after + 8 * n + 8
    entries = (
        (256, 4, 1, SIDE),
        (257, 4, 1, SIDE),
        (258, 3, 4, bits_at),
        (259, 4, 1, 8),  # deflated
        (262, 4, 1, 2),  # RGB
        (273, 4, n, after),
        (277, 4, 1, 4),
        (278, 4, 1, _ROWS),
        (279, 4, n, after + 4 * n),
        (338, 4, 1, 2),  # alpha
    )
    with path.open("wb") as file:
        file.write(b"MM" + struct.pack(">HI", 42, directory))
        for _ in range(n):
            file.write(strip)
        file.write(places + lengths + struct.pack(">4H", *[16] * 4) + struct.pack(">H", len(entries)))
        file.write(b"".join(struct.pack(">HHII", *entry) for entry in entries) + bytes(4))


_WRITERS = {"PNG": _write_png, "TIFF": _write_tiff}
