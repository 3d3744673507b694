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
    ranges = {"all 16 bits used": 16, "12 of 16 bits used": 12}
    results = {name: measure.apart("benchmarks.large_image:case", bits=bits) for name, bits in ranges.items()}
    rows = [
        {"case": name, "seconds": f"{result['seconds']:.1f}", "peak MB": f"{result['peak_mb']:,.0f}"}
        for name, result in results.items()
    ]
    notes = (f"PNG of {SIDE} x {SIDE}, RGBA. Peak of the process, with libraries; aim {AIM_MB} MB.",)
    print(tables.table("Largest image", rows, notes=notes))
    tables.save("large-image", {"aim_mb": AIM_MB, "cases": results})


def case(bits: int) -> dict[str, float]:
    """Read one generated image."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.png"
        _write(path, bits)
        start = time.perf_counter()
        read_image(path)
        return {"seconds": time.perf_counter() - start}


def _write(path: Path, bits: int) -> None:
    """Write noise piece by piece, in less memory than reading it takes."""
    values = np.random.default_rng(0).integers(0, 1 << bits, (_ROWS, SIDE, 4)).astype(">u2")
    values[:, :, 3] = 65535
    lines = b"".join(b"\0" + row.tobytes() for row in values)
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
