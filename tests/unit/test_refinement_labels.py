"""Which kind a label means, and what of folders and manifests is read."""

import math
from pathlib import Path

import numpy as np
import pytest

from leukospike.classification.kinds import KINDS, CellKind
from leukospike.datasets.classes import ClassNames
from leukospike.errors import DataError
from leukospike.images import write_png
from leukospike.refinement.labels import KindNames, read_labelled

PIXELS = np.zeros((30, 30, 3), np.uint8)


def _manifest(folder: Path, text: str, *images: str) -> Path:
    for image in images:
        write_png(folder / image, PIXELS)
    table = folder / "manifest.csv"
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_text(text, encoding="utf-8")
    return table


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_its_names(kind: CellKind):
    words = KindNames(ClassNames.of(None, None))
    for word in (kind.value, kind.value.upper(), kind.value.replace(" ", "_"), f" {kind.value.title()}s "):
        if kind is not CellKind.NONE_OF_THESE or not word.endswith("s "):
            assert words.kind(word) is kind


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("blast", CellKind.LYMPHOBLAST),
        ("ALL", CellKind.LYMPHOBLAST),
        ("leukemic", CellKind.LYMPHOBLAST),
        ("positive", CellKind.LYMPHOBLAST),
        ("1", CellKind.LYMPHOBLAST),
        ("hem", CellKind.PRECURSOR),
        ("Hematogones", CellKind.PRECURSOR),
        ("lymphocytes", CellKind.LYMPHOCYTE),
        ("metamyelocyte", CellKind.IMMATURE_GRANULOCYTE),
        ("normal", None),
        ("negative", None),
        ("0", None),
        ("", None),
        ("macrophage", None),
    ],
)
def test_words_of_classes_are_kinds_where_they_name_one(word: str, kind: CellKind | None):
    assert KindNames(ClassNames.of(None, None)).kind(word) is kind


def test_the_user_says_what_normal_means():
    words = KindNames(ClassNames.of("pro-B", ["normal", "0"]))
    assert words.kind("Normal") is words.kind("0") is CellKind.PRECURSOR
    assert words.kind("PRO-B") is CellKind.LYMPHOBLAST


def test_folders_of_kinds(tmp_path: Path):
    for image in ("immature_granulocyte/P2/a.png", "Lymphocytes/P1/slide/b.png", "not one of these/P2/c.png"):
        write_png(tmp_path / image, PIXELS)
    found = read_labelled(tmp_path)
    assert [(cell.record.image, cell.kind, cell.record.subject) for cell in found.cells] == [
        ("Lymphocytes/P1/slide/b.png", CellKind.LYMPHOCYTE, "P1"),
        ("immature_granulocyte/P2/a.png", CellKind.IMMATURE_GRANULOCYTE, "P2"),
        ("not one of these/P2/c.png", CellKind.NONE_OF_THESE, "P2"),
    ]
    assert found.has_subjects
    assert found.notices == ()


def test_a_manifest_of_crops_gives_sizes_and_leaves_out_what_has_no_label(tmp_path: Path):
    table = _manifest(
        tmp_path,
        "path,label,subject,image,height,width,um_per_px\n"
        "a-1.png,monocyte,P1,a.png,100,144,0.1\na-2.png,,P1,a.png,90,90,0.1\nb-1.png,blast,P2,b.png,80,80,\n",
        "a-1.png",
        "b-1.png",
    )
    for data in (table, tmp_path):
        found = read_labelled(data)
        assert [(cell.kind, cell.source) for cell in found.cells] == [
            (CellKind.MONOCYTE, "a.png"),
            (CellKind.LYMPHOBLAST, "b.png"),
        ]
        assert found.cells[0].diameter_um == pytest.approx(12.0)
        assert math.isnan(found.cells[1].diameter_um)
        (notice,) = found.notices
        assert str(notice) == "1 cell has no label in manifest.csv, and was left out."


def test_images_count_as_subjects_only_if_none_is_known(tmp_path: Path):
    write_png(tmp_path / "monocyte" / "a.png", PIXELS)
    found = read_labelled(tmp_path)
    assert not found.has_subjects
    assert str(found.notices[0]).startswith("No subject is known: images count as subjects.")
    write_png(tmp_path / "monocyte" / "P1" / "b.png", PIXELS)
    with pytest.raises(
        DataError, match=r"every cell must have a subject, or none, got 1 of 2 without \(first monocyte/a"
    ):
        read_labelled(tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("path,label\na.png,macrophage\n", "manifest.csv line 2: label must be a kind of cell, got 'macrophage'."),
        ("path,label\na.png,normal\n", "line 2: label must be a kind of cell, got 'normal'. Name a kind: lymphoblast,"),
        ("path,label\n,blast\n", "line 2: path must name an image, got an empty field"),
        ("path,label\na.png,blast\n./a.png,blast\n", "line 3: path must be unique, got 'a.png' again after line 2"),
        ("path,label\nb.png,blast\n", "paths in manifest.csv must be relative to its folder, got none that exists"),
        ("path,label\na.png,\n", "must hold cells with a label, got none"),
    ],
)
def test_faulty_manifests(text: str, reason: str, tmp_path: Path):
    table = _manifest(tmp_path, text, "a.png")
    with pytest.raises(DataError) as caught:
        read_labelled(table)
    assert reason in str(caught.value)


def test_unknown_folders_and_missing_data(tmp_path: Path):
    write_png(tmp_path / "macrophage" / "a.png", PIXELS)
    with pytest.raises(DataError) as caught:
        read_labelled(tmp_path)
    assert "must be named for a kind of cell, got macrophage. Name a kind: " in str(caught.value)
    assert all(kind.value in str(caught.value) for kind in KINDS)
    with pytest.raises(DataError, match="data must be an existing folder or CSV manifest"):
        read_labelled(tmp_path / "none")
    with pytest.raises(
        DataError, match="`negative` must be the folder name or label of a class in the data, got 'norm'"
    ):
        read_labelled(tmp_path, negative="norm")
