"""Each layout as it is published, and what is said where one cannot be used."""

import errno
import os
import sys
from collections import Counter
from pathlib import Path

import pytest

from leukospike.datasets import DataSet, Record, read_dataset, read_datasets
from leukospike.datasets.cnmc import cnmc_subject
from leukospike.errors import DataError, SplitError


def _touch(root: Path, *names: str) -> Path:
    """Make empty files: no reader of a layout opens an image."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _refused(root: Path, reason: str) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        read_dataset(root)
    assert "\n" not in str(caught.value)


def _seen(dataset: DataSet) -> list[tuple[str, int | None, str | None, str]]:
    return [(record.image, record.label, record.subject, record.partition) for record in dataset.records]


# --- C-NMC ---

TRAINING = ("fold_0/all/UID_11_10_1_all.bmp", "fold_0/hem/UID_H12_1_1_hem.bmp", "fold_1/hem/UID_h12_1_2_hem.bmp")
LABELS = (
    "Patient_ID,new_names,labels\n"
    "UID_57_29_1_all.bmp,1.bmp,1\n"
    "UID_H57_22_1_hem.bmp,2.bmp,0\n"
    "UID_h58_6_13_hem.bmp,3.bmp,0\n"
)
LABELS_NAME = "C-NMC_test_prelim_phase_data_labels.csv"


def _archive(root: Path) -> Path:
    """Lay out all three parts as The Cancer Imaging Archive does."""
    _touch(root, *(f"C-NMC_training_data/{name}" for name in TRAINING))
    _touch(root, *(f"C-NMC_test_prelim_phase_data/{n}.bmp" for n in (1, 2, 3)))
    _touch(root, "C-NMC_test_final_phase_data/1.bmp", "C-NMC_test_final_phase_data/2.bmp")
    _write(root / LABELS_NAME, LABELS)
    return root


def _kaggle(root: Path) -> Path:
    """Lay out all three parts as Kaggle does."""
    above = root / "C-NMC_Leukemia"
    _touch(above / "training_data", *TRAINING)
    _touch(above / "validation_data/C-NMC_test_prelim_phase_data", "1.bmp", "2.bmp", "3.bmp")
    _touch(above / "testing_data/C-NMC_test_final_phase_data", "1.bmp", "2.bmp")
    _write(above / "validation_data" / LABELS_NAME, LABELS)
    return root


def test_cnmc_from_the_archive(tmp_path: Path) -> None:
    dataset = read_dataset(_archive(tmp_path))
    assert (dataset.name, dataset.layout, dataset.class_names) == ("C-NMC 2019", "c-nmc", ("hem", "all"))
    assert "10.7937/tcia.2019.dc64i46r" in dataset.credit
    assert _seen(dataset) == [
        ("C-NMC_test_final_phase_data/1.bmp", None, None, "final"),
        ("C-NMC_test_final_phase_data/2.bmp", None, None, "final"),
        ("C-NMC_test_prelim_phase_data/1.bmp", 1, "57", "preliminary"),
        ("C-NMC_test_prelim_phase_data/2.bmp", 0, "H57", "preliminary"),
        ("C-NMC_test_prelim_phase_data/3.bmp", 0, "H58", "preliminary"),
        ("C-NMC_training_data/fold_0/all/UID_11_10_1_all.bmp", 1, "11", "fold_0"),
        ("C-NMC_training_data/fold_0/hem/UID_H12_1_1_hem.bmp", 0, "H12", "fold_0"),
        ("C-NMC_training_data/fold_1/hem/UID_h12_1_2_hem.bmp", 0, "H12", "fold_1"),
    ]
    assert all(record.path == tmp_path / record.image for record in dataset.records)


def test_cnmc_from_kaggle_holds_the_same(tmp_path: Path) -> None:
    archive, kaggle = read_dataset(_archive(tmp_path / "a")), read_dataset(_kaggle(tmp_path / "k"))
    assert kaggle.layout == "c-nmc-kaggle"
    key = Counter((r.path.name, r.label, r.subject, r.partition) for r in archive.records)
    assert Counter((r.path.name, r.label, r.subject, r.partition) for r in kaggle.records) == key


@pytest.mark.parametrize(
    ("part", "layout", "partitions"),
    [
        ("C-NMC_Leukemia", "c-nmc-kaggle", {"fold_0", "fold_1", "preliminary", "final"}),
        ("C-NMC_Leukemia/training_data", "c-nmc-kaggle", {"fold_0", "fold_1"}),
        ("C-NMC_Leukemia/training_data/fold_0", "c-nmc", {"fold_0"}),
        ("C-NMC_Leukemia/validation_data", "c-nmc-kaggle", {"preliminary"}),
        ("C-NMC_Leukemia/validation_data/C-NMC_test_prelim_phase_data", "c-nmc", {"preliminary"}),
        ("C-NMC_Leukemia/testing_data", "c-nmc-kaggle", {"final"}),
    ],
)
def test_cnmc_from_any_level(tmp_path: Path, part: str, layout: str, partitions: set[str]) -> None:
    dataset = read_dataset(_kaggle(tmp_path) / part)
    assert dataset.layout == layout
    assert {record.partition for record in dataset.records} == partitions
    labelled = [record for record in dataset.records if record.partition != "final"]
    assert all(record.subject and record.label is not None for record in labelled)


def test_cnmc_from_inside_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(_archive(tmp_path) / "C-NMC_training_data" / "fold_0")
    assert {record.partition for record in read_dataset(Path()).records} == {"fold_0"}
    monkeypatch.chdir(tmp_path / "C-NMC_test_prelim_phase_data")
    assert {record.label for record in read_dataset(Path()).records} == {0, 1}


def test_cnmc_as_webp_with_folders_left_by_unpacking(tmp_path: Path) -> None:
    _touch(tmp_path, "fold_0/fold_0/all/UID_11_10_1_all.webp", "fold_1/hem/UID_H1_1_1_hem.webp")
    inner = "C-NMC_test_prelim_phase_data/C-NMC_test_prelim_phase_data"
    _touch(tmp_path, f"{inner}/1.webp")
    _write(tmp_path / "C-NMC_test_prelim_phase_data" / LABELS_NAME, LABELS)
    assert _seen(read_dataset(tmp_path)) == [
        (f"{inner}/1.webp", 1, "57", "preliminary"),
        ("fold_0/fold_0/all/UID_11_10_1_all.webp", 1, "11", "fold_0"),
        ("fold_1/hem/UID_H1_1_1_hem.webp", 0, "H1", "fold_1"),
    ]


def test_cnmc_ill_and_healthy_subjects_of_one_number_are_two(tmp_path: Path) -> None:
    _touch(tmp_path, "fold_0/all/UID_3_1_1_all.bmp", "fold_0/hem/UID_h3_1_1_hem.bmp")
    assert {record.subject for record in read_dataset(tmp_path).records} == {"3", "H3"}


def test_cnmc_training_part_has_every_subject_and_label(tmp_path: Path) -> None:
    dataset = read_dataset(_archive(tmp_path) / "C-NMC_training_data")
    assert dataset.no_subject_reason is None
    dataset.require_subjects("test")
    dataset.require_labels("test")


def test_cnmc_final_test_set_has_neither_and_can_be_left_out(tmp_path: Path) -> None:
    dataset = read_dataset(_archive(tmp_path))
    with pytest.raises(SplitError, match=r"^test: .* 2 of 8 without .*final test set.*the training data\.$"):
        dataset.require_subjects("test")
    with pytest.raises(DataError, match=r"^test: .* 2 of 8 without \(first C-NMC_test_final_phase_data/1\.bmp\)"):
        dataset.require_labels("test")
    labelled = dataset.labelled()
    assert len(labelled.records) == 6
    assert labelled.no_subject_reason is None
    labelled.require_subjects("test")
    labelled.require_labels("test")


def test_cnmc_preliminary_set_without_its_table_has_neither(tmp_path: Path) -> None:
    (_archive(tmp_path) / LABELS_NAME).unlink()
    dataset = read_dataset(tmp_path / "C-NMC_test_prelim_phase_data")
    assert {(record.label, record.subject) for record in dataset.records} == {(None, None)}
    with pytest.raises(SplitError, match=LABELS_NAME):
        dataset.require_subjects("test")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("UID_1_1_1_hem.bmp,4.bmp,1", r"labels\.csv line 5: labels must be 0 for a name ending in 'hem', got '1'"),
        ("patient 7,4.bmp,1", r"labels\.csv line 5: name must be UID_<subject>_.* got 'patient 7'"),
        ("UID_1_1_1_hem.bmp,4.bmp", r"labels\.csv line 5 must have 3 fields, got 2"),
    ],
)
def test_cnmc_bad_line_of_the_table_is_named(tmp_path: Path, line: str, reason: str) -> None:
    _write(_archive(tmp_path) / LABELS_NAME, LABELS + line + "\n")
    _refused(tmp_path, reason)


def test_cnmc_file_in_the_wrong_class_or_of_another_name_is_named(tmp_path: Path) -> None:
    _touch(tmp_path / "a", *TRAINING, "fold_0/all/UID_H1_1_1_hem.bmp")
    _refused(tmp_path / "a", r"UID_H1_1_1_hem\.bmp must be in the folder of its class 'hem', got 'all'")
    _touch(tmp_path / "b", *TRAINING, "fold_0/all/cell.bmp")
    _refused(tmp_path / "b", r"cell\.bmp: name must be UID_<subject>_<image>_<cell>_<all\|hem>, got 'cell'")


def test_what_file_managers_leave_is_ignored(tmp_path: Path) -> None:
    names = (
        "._UID_11_10_1_all.bmp",
        ".DS_Store",
        "Thumbs.db",
        "desktop.ini",
        "notes.txt",
        "__MACOSX/UID_1_1_1_all.bmp",
        "@eaDir/UID_1_1_1_all.bmp/SYNOPHOTO_THUMB_M.jpg",
    )
    _touch(tmp_path, *TRAINING, *(f"fold_0/all/{name}" for name in names), ".fold_2/all/UID_1_1_1_all.bmp")
    assert [record.image for record in read_dataset(tmp_path).records] == list(TRAINING)


# --- ALL-IDB ---


def _all_idb1(root: Path) -> Path:
    _touch(root, "im/Im001_1.jpg", "im/Im002_1.jpg", "im/Im003_0.jpg", "im/Im004_0.jpg", "im/Thumbs.db")
    _write(root / "xyc/Im001_1.xyc", "1046\t569\n\n20.5 30\r\n")
    _write(root / "xyc/Im002_1.xyc", "")
    _write(root / "xyc/Im003_0.xyc", " \n")
    return root


def test_all_idb1_with_the_places_of_its_blasts(tmp_path: Path) -> None:
    dataset = read_dataset(_all_idb1(tmp_path))
    assert (dataset.name, dataset.layout) == ("ALL-IDB1", "all-idb1")
    assert [(record.image, record.label, record.centroids) for record in dataset.records] == [
        ("im/Im001_1.jpg", 1, ((569.0, 1046.0), (30.0, 20.5))),
        ("im/Im002_1.jpg", 1, ()),
        ("im/Im003_0.jpg", 0, ()),
        ("im/Im004_0.jpg", 0, None),
    ]


@pytest.mark.parametrize("line", ["12", "a\tb", "1\t2\t3", "-1\t2", "nan\tinf", "1\t" + "9" * 400])
def test_all_idb1_bad_line_is_named(tmp_path: Path, line: str) -> None:
    _write(_all_idb1(tmp_path) / "xyc/Im001_1.xyc", f"1\t2\n{line}\n")
    _refused(tmp_path, r"Im001_1\.xyc line 2 must be column<TAB>row, got '")


@pytest.mark.parametrize("name", ["ALL_IDB2", "ALL-IDB2", "all_idb2", "."])
def test_all_idb2(tmp_path: Path, name: str) -> None:
    _touch(tmp_path / name, "img/Im001_1.tif", "img/Im260_0.tif")
    dataset = read_dataset(tmp_path)
    assert (dataset.name, dataset.layout, dataset.root) == ("ALL-IDB2", "all-idb2", tmp_path / name)
    assert _seen(dataset) == [("img/Im001_1.tif", 1, None, ""), ("img/Im260_0.tif", 0, None, "")]


def test_all_idb_refuses_a_split_by_subject_and_says_what_to_use(tmp_path: Path) -> None:
    dataset = read_dataset(_all_idb1(tmp_path))
    reason = r"^split: .* 4 of 4 without .* ALL-IDB does not publish patient ids.* use C-NMC .* the protocol paper"
    with pytest.raises(SplitError, match=reason):
        dataset.require_subjects("split")
    dataset.require_labels("split")


def test_all_idb_side_by_side_are_two(tmp_path: Path) -> None:
    _all_idb1(tmp_path / "ALL_IDB1")
    _touch(tmp_path, "ALL_IDB2/img/Im001_1.tif")
    assert [dataset.name for dataset in read_datasets(tmp_path)] == ["ALL-IDB1", "ALL-IDB2"]
    _refused(tmp_path, r"must hold a single data set, got ALL-IDB1 in .*ALL_IDB1 and ALL-IDB2 in .*ALL_IDB2\. Pass the")


def test_all_idb_file_of_another_name_is_named(tmp_path: Path) -> None:
    _touch(_all_idb1(tmp_path), "im/copy.jpg")
    _refused(tmp_path, r"copy\.jpg must be named ImNNN_0 or ImNNN_1, got 'copy'")


# --- class/subject folders ---


@pytest.mark.parametrize(
    ("normal", "leukemic"), [("hem", "all"), ("Normal", "Blasts"), ("0", "1"), ("healthy", "LEUKEMIA")]
)
def test_folders_of_class_and_subject(tmp_path: Path, normal: str, leukemic: str) -> None:
    _touch(tmp_path, f"{normal}/p1/a.png", f"{leukemic}/p2/slide 1/b.tif", f"{leukemic}/p2/readme.txt", "notes.txt")
    dataset = read_dataset(tmp_path)
    assert (dataset.name, dataset.layout) == (tmp_path.name, "folder")
    assert dataset.class_names == (normal, leukemic)
    assert sorted(_seen(dataset)) == sorted(
        [
            (f"{normal}/p1/a.png", 0, "p1", ""),
            (f"{leukemic}/p2/slide 1/b.tif", 1, "p2", ""),
        ]
    )
    assert dataset.no_subject_reason is None
    assert dataset.credit == ""


def test_images_directly_in_a_class_folder_have_no_subject(tmp_path: Path) -> None:
    dataset = read_dataset(_touch(tmp_path, "hem/p1/a.png", "all/b.png"))
    assert [record.subject for record in dataset.records] == [None, "p1"]
    with pytest.raises(SplitError, match=r"1 of 2 without \(first all/b\.png\).*move each to class/subject/"):
        dataset.require_subjects("split")


@pytest.mark.parametrize("names", [("hem", "all", "other"), ("all", "blast"), ("all", "unknown")])
def test_folders_that_are_not_two_known_classes_need_a_manifest(tmp_path: Path, names: tuple[str, ...]) -> None:
    _touch(tmp_path, *(f"{name}/p1/a.png" for name in names))
    _refused(
        tmp_path, r"must hold one normal and one leukemic class folder .* got .*\. Name the classes in a manifest\.csv"
    )


def test_one_class_only_is_read_but_does_not_train(tmp_path: Path) -> None:
    dataset = read_dataset(_touch(tmp_path, "hem/p1/a.png"))
    with pytest.raises(DataError, match=r"^train: images must include both classes, .* got only 'hem'\. Add images"):
        dataset.require_labels("train")


# --- manifests ---


def _manifest(root: Path, text: str) -> Path:
    _touch(root, "a.png", "b.png", "c.png")
    return _write(root / "manifest.csv", text)


def test_manifest_at_the_root_or_given_itself(tmp_path: Path) -> None:
    path = _manifest(tmp_path / "d", "path,label,subject,stain\na.png,1,p1,x\n./b.png,hem, p2 ,x\n\nc.png,,p1,\n")
    dataset = read_dataset(tmp_path / "d")
    assert (dataset.name, dataset.layout, dataset.class_names) == ("d", "manifest", ("hem", "leukemic"))
    assert _seen(dataset) == [("a.png", 1, "p1", ""), ("b.png", 0, "p2", ""), ("c.png", None, "p1", "")]
    assert read_dataset(path) == dataset


def test_manifest_as_a_spreadsheet_writes_it(tmp_path: Path) -> None:
    path = _manifest(tmp_path, "")
    path.write_bytes('\ufeffSubject,Label,Path\r\n"Müller, A",ALL,a.png\r\n'.encode())
    assert _seen(read_dataset(tmp_path)) == [("a.png", 1, "Müller, A", "")]


def test_manifest_overrules_other_layouts(tmp_path: Path) -> None:
    _touch(tmp_path, *TRAINING)
    _write(tmp_path / "manifest.csv", f"path,label\n{TRAINING[0]},1\n")
    assert read_dataset(tmp_path).layout == "manifest"


def test_manifest_may_point_outside_and_to_files_that_fail_later(tmp_path: Path) -> None:
    _touch(tmp_path, "images/a.png")
    absolute = (tmp_path / "images/a.png").as_posix()
    _write(tmp_path / "tables/my.csv", f"path,label,subject\n../images/a.png,1,p1\n{absolute},0,p1\ngone.png,0,p2\n")
    records = {record.image: record.path for record in read_dataset(tmp_path / "tables/my.csv").records}
    assert set(records) == {"../images/a.png", absolute, "gone.png"}
    assert records["../images/a.png"].is_file()
    assert records[absolute].is_file()


@pytest.mark.parametrize("text", ["path,label\na.png,1\nb.png,0\n", "path,label,subject\na.png,1,p1\nb.png,0,\n"])
def test_manifest_without_subjects_says_so(tmp_path: Path, text: str) -> None:
    dataset = read_dataset(_manifest(tmp_path, text))
    with pytest.raises(SplitError, match=r"Fill in the column subject of manifest\.csv"):
        dataset.require_subjects("split")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "path,label\na.png,1\na.png,0\n",
            r"manifest\.csv line 3: path must be unique, got 'a\.png' again after line 2",
        ),
        ("path,label\na.png,1\n./a.png,1\n", r"line 3: path must be unique, got 'a\.png' again after line 2"),
        ("path,label\na.png,1\nb.png,2\n", r"line 3: label must be 1 \(leukemic\), 0 \(normal\) or empty, got '2'"),
        ("path,label\n\na.png,yes\n", r"line 3: label must be .* got 'yes'"),
        ("path,label\n,1\n", r"line 2: path must name an image, got an empty field"),
        ("path,label\na.png,1,p1\n", r"line 2 must have 2 fields, got 3"),
        ("path;label\na.png;1\n", r"must begin with the columns path,label, .* got 'path;label'"),
        ("path,label,label\na.png,1,1\n", r"must begin with the columns path,label, each once"),
        ("", r"must begin with the columns path,label, .* got 'an empty table'"),
        ("path,label\n", r"must hold images, got none \(manifest\)"),
        ("path,label\nx/a.png,1\n", r"relative to its folder, got none that exists there \(first 'x/a\.png'\)"),
        ('path,label\n"a.png,1\n', r"must be a CSV table in UTF-8, got one that is not"),
    ],
)
def test_manifest_that_cannot_be_used_names_the_line(tmp_path: Path, text: str, reason: str) -> None:
    _refused(_manifest(tmp_path, text), reason)


def test_manifest_of_another_encoding_is_refused(tmp_path: Path) -> None:
    path = _manifest(tmp_path, "")
    path.write_bytes("path,label,subject\na.png,1,Müller\n".encode("latin-1"))
    _refused(path, "must be a CSV table in UTF-8")


# --- neither ---


def test_what_is_no_data_set_is_explained(tmp_path: Path) -> None:
    _refused(tmp_path / "none", r"must be an existing folder or CSV manifest, got .*none\. Check the path")
    _refused(tmp_path, r"must have a known layout, got nothing\. Arrange it as C-NMC .* manifest\.csv")
    _touch(tmp_path, "pictures/a.png")
    _refused(tmp_path, r"must have a known layout, got pictures\. Arrange it")
    _refused(tmp_path / "pictures/a.png", r"must be a folder or a CSV manifest, got the file .*a\.png")


def test_a_layout_without_images_is_refused(tmp_path: Path) -> None:
    _touch(tmp_path, "hem/p1/notes.txt", "all/p1/notes.txt")
    _refused(tmp_path, r"must hold images, got none \(folder\)")


def test_a_locked_folder_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", deny)
    _refused(tmp_path, r"must be readable, got 'Permission denied' for .*\. Check its permissions")


def test_no_images_left_do_not_train() -> None:
    record = Record(path=Path("a.png"), image="a.png", label=None, subject=None)
    dataset = DataSet(
        name="", layout="manifest", root=Path(), records=(record,), class_names=("normal", "leukemic"),
        no_subject_reason="None known.", credit="",
    )  # fmt: skip
    with pytest.raises(DataError, match="got no images"):
        dataset.labelled().require_labels("train")


def test_manifest_with_a_nul_byte_is_refused(tmp_path: Path) -> None:
    _touch(tmp_path, "a.png")
    _write(tmp_path / "manifest.csv", "path,label\na.png,1\nb\0.png,0\n")
    _refused(tmp_path, r"manifest\.csv line 3 must be text, got a NUL byte\. Correct it")


# --- links, and folders that cannot be entered ---


@pytest.mark.skipif(os.name != "posix", reason="links as POSIX has them")
def test_each_real_folder_is_listed_once_whatever_links_lead_to_it(tmp_path: Path) -> None:
    data, far = tmp_path / "data", tmp_path / "far"
    _touch(data, "all/P1/a.png", "hem/P2/b.png", "notes.txt")
    _touch(far, "P3/c.png")
    for link, target in (
        ("all/P1/up", data / "all"),
        ("all/P1/again", data / "all" / "P1"),
        ("all/top", data),
        ("all/A first", data / "hem" / "P2"),
        ("hem/P0", far / "P3"),
        ("hem/P9", far / "P3"),
        ("hem/round", data / "hem" / "round"),
    ):
        (data / link).symlink_to(target)
    seen = [(record.image, record.subject) for record in read_dataset(data).records]
    assert seen == [("all/P1/a.png", "P1"), ("hem/P0/c.png", "P0"), ("hem/P2/b.png", "P2")]


def test_folder_that_cannot_be_listed_stands_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _touch(tmp_path, "all/P1/a.png", "all/P3/c.png", "hem/P2/b.png")
    listing = Path.iterdir

    def iterdir(folder: Path):  # not with chmod, which does not hold for the system's administrator
        if folder.name == closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return listing(folder)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    closed = "P3"
    seen = [(record.image, record.subject) for record in read_dataset(tmp_path).records]
    assert seen == [("all/P1/a.png", "P1"), ("all/P3", "P3"), ("hem/P2/b.png", "P2")]
    closed = "hem"
    _refused(tmp_path, r"data must be readable, got 'Permission denied' for .*hem\. Check its permissions")


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text on this system")
def test_names_that_are_no_text_are_spelled_everywhere(tmp_path: Path) -> None:
    folder = tmp_path / "d\udcfc"
    _touch(folder, "fold_0/all/UID_1\udcfc_1_1_all.bmp", "fold_0/hem/UID_H2_1_1_hem.bmp")
    assert [record.subject for record in read_dataset(folder).records] == ["1\\udcfc", "H2"]
    _touch(tmp_path / "p\udcfc", "all/P1/a.png", "hem/P2/b.png")
    assert read_dataset(tmp_path / "p\udcfc").name == "p\\udcfc"
    assert cnmc_subject("UID_1\udcfc_1_1_all") == "1\\udcfc"
