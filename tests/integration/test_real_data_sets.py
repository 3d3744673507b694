"""The readers on public images."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leukospike.datasets import check_dataset, read_dataset
from leukospike.errors import DataError
from leukospike.images import luma, pixel_digest, read_image

pytestmark = pytest.mark.data


def test_cnmc_has_the_published_counts(real_data: Path) -> None:
    dataset = read_dataset(real_data / "c-nmc")
    assert Counter(record.label for record in dataset.records) == {1: 3725, 0: 2231}
    subjects = {(record.label, record.subject) for record in dataset.records}
    assert Counter(label for label, _ in subjects) == {1: 27, 0: 11}
    assert len({subject for _, subject in subjects}) == 38
    assert {record.partition for record in dataset.records} == {"fold_0", "fold_1", "fold_2"}
    dataset.require_subjects("test")
    dataset.require_labels("test")


def test_cnmc_writes_no_subject_in_both_cases(real_data: Path) -> None:
    raw = {record.path.stem.split("_")[1] for record in read_dataset(real_data / "c-nmc").records}
    assert {name for name in raw if name != name.upper()} == {"h3"}
    assert len({name.upper() for name in raw}) == len(raw)


def test_lossless_webp_holds_the_pixels_of_the_bmp(real_data: Path) -> None:
    records = read_dataset(real_data / "c-nmc-original-format").records
    assert len(records) == 16
    for record in records:
        webp = (real_data / "c-nmc" / record.image).with_suffix(".webp")
        assert pixel_digest(read_image(record.path).pixels) == pixel_digest(read_image(webp).pixels)


def test_luma_of_a_cell_is_pillows(real_data: Path) -> None:
    record = read_dataset(real_data / "c-nmc-original-format").records[0]
    with Image.open(record.path) as image:
        expected = np.asarray(image.convert("L"), np.float32) / np.float32(255)
    np.testing.assert_array_equal(luma(read_image(record.path).pixels), expected)


def test_cnmc_files_the_same_cells_under_two_subjects(real_data: Path) -> None:
    # Three of the seven; the slow test below opens everything.
    pairs = [
        ("fold_1/all/UID_51_153_2_all.webp", "fold_2/all/UID_78_31_2_all.webp"),
        ("fold_1/all/UID_51_1_3_all.webp", "fold_2/all/UID_75_1_3_all.webp"),
        ("fold_1/hem/UID_H10_23_1_hem.webp", "fold_2/hem/UID_h3_23_1_hem.webp"),
    ]
    for first, second in pairs:
        digests = {pixel_digest(read_image(real_data / "c-nmc" / name).pixels) for name in (first, second)}
        assert len(digests) == 1


@pytest.mark.slow
def test_check_of_all_of_cnmc(real_data: Path) -> None:
    check = check_dataset(read_dataset(real_data / "c-nmc"))
    assert check.failures == ()
    assert check.sizes == {(450, 450): 5956}
    assert len(check.duplicates) == 12
    assert len(check.cross_subject_duplicates) == 7
    assert check.contradicting_duplicates == ()
    crossing = {frozenset(r.subject for r in group) for group in check.cross_subject_duplicates}
    assert crossing == {frozenset({"51", "75"}), frozenset({"51", "78"}), frozenset({"H10", "H3"})}


@pytest.mark.parametrize("folder", ["pbc", "bccd", "wbc-seg", "."])
def test_folders_of_other_kinds_are_refused_with_advice(real_data: Path, folder: str) -> None:
    with pytest.raises(DataError, match=r"manifest\.csv"):
        read_dataset(real_data / folder)
