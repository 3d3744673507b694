"""The list of images that could not be used."""

from pathlib import Path

from leukospike.failures import Failure, read_failures, write_failures


def test_written_failures_are_read_again(tmp_path: Path):
    failures = (Failure("a/b.png", 'truncated, after "IDAT"'), Failure("zelle, groß.bmp", "empty file"))
    write_failures(tmp_path / "failures.csv", failures)
    assert read_failures(tmp_path) == failures
    assert (tmp_path / "failures.csv").read_text(encoding="utf-8").splitlines()[0] == "image,reason"


def test_no_file_no_failures(tmp_path: Path):
    assert read_failures(tmp_path) == ()
