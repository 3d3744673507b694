"""Analysing with the classifier of the package: what cells are judged by, flags, and what subjects get."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from leukospike.analysis.analyze import analyze, analyze_images
from leukospike.analysis.flags import OUTLIER
from leukospike.analysis.judges import FineView, PackageJudge, load_classifier
from leukospike.analysis.reading import CellSize, ReadCell, ReadImage
from leukospike.analysis.result import Analysis
from leukospike.analysis.tables import KIND_COLUMNS
from leukospike.classification.classifier import Classifier, Judgement, default_classifier
from leukospike.classification.explanation import default_explainer, read_explanations
from leukospike.classification.kinds import KINDS
from leukospike.datasets import collect_images
from leukospike.errors import ConfigError
from leukospike.segmentation.class_maps import Reading
from leukospike.segmentation.methods import SegmentationMethod
from leukospike.segmentation.scale import PixelSize
from leukospike.settings import Kind

SIDE = 450


def _picture(
    *, radius: int = 100, seed: int = 0, light: float = 1.0, background: int = 0, side: int = SIDE
) -> np.ndarray:
    """Draw a cell with a nucleus, on black or on glass."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side] - side / 2
    away = np.hypot(rows, columns * 1.05)
    picture = np.full((side, side, 3), background, np.float64)
    for share, colour in ((1.0, (100, 50, 120)), (0.8, (70, 25, 95))):
        inside = away < radius * share
        picture[inside] = np.array(colour) + rng.normal(0, 6, (int(inside.sum()), 3))
    return np.clip(picture * light, 1 if background else 0, 255).astype(np.uint8)


def _analysis(
    folder: Path, out: Path, pictures: dict[str, np.ndarray], *, with_cells: bool = True, **options
) -> Analysis:
    """Write pictures and analyse them; a stand-in for the segmenter finds what is darker than glass."""
    for name, pixels in pictures.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name)
    out.mkdir()

    def segmenter(pixels, *_):
        return Reading(np.where((pixels.max(axis=2) < 150) & (pixels.max(axis=2) > 4), 2, 0).astype(np.uint8))

    method = SegmentationMethod("threshold", segmenter, "0") if with_cells else None
    return analyze_images(collect_images([folder]), PackageJudge(default_classifier()), out, method=method, **options)


def _image(picture: np.ndarray, size: CellSize | None) -> ReadImage:
    """Take a picture as if it had been cut out of an image, in which the cell had a size."""
    view = FineView()
    seen = view.see(picture)
    cell = ReadCell(view.is_blank(seen), (), size, None)
    nothing = np.zeros((1, 64, 64, 3), np.uint8)
    return ReadImage(
        Kind.CELL, (cell,), seen[None], nothing, is_generated=False, scaled_by="", facts=None, overlay=None
    )


def test_a_picture_as_c_nmc_has_them_is_judged_as_it_is(tmp_path: Path):
    alone = _analysis(tmp_path / "1", tmp_path / "out1", {"a.png": _picture()}).cells
    beside = _analysis(
        tmp_path / "2", tmp_path / "out2", {"a.png": _picture(), "b.png": _picture(radius=140, light=1.2)}
    ).cells
    assert alone["probability"][0] == pytest.approx(beside["probability"][0], abs=1e-6)


def test_nothing_to_cut_out_is_no_probability(tmp_path: Path):
    glass = np.random.default_rng(0).integers(160, 256, (200, 200, 3), dtype=np.uint8)
    pictures = {"P1/a.png": glass, "P1/b.png": np.zeros((SIDE, SIDE, 3), np.uint8)}
    analysis = _analysis(tmp_path / "in", tmp_path / "out", pictures, kind=Kind.CELL)
    assert analysis.cells["flags"].tolist() == ["not_a_smear no_cell", "blank"]
    assert analysis.cells["probability"].isna().all()
    assert analysis.cells[["kind", "set", "distance", "p_lymphoblast"]].isna().all(axis=None)
    assert analysis.subjects[["cells", "counted"]].to_numpy().tolist() == [[2, 0]]
    assert analysis.subjects["decision"].tolist() == ["not enough"]
    assert analysis.subjects["reason"].tolist() == ["0 cells counted; at least 20 are needed."]


def _noise() -> np.ndarray:
    """Draw what is no cell, though it is purple and on black."""
    noise = np.random.default_rng(0).uniform(5, 256, (SIDE, SIDE, 3)) * np.array([0.7, 0.4, 1.0])
    noise = noise.clip(5, 255).astype(np.uint8)
    noise[:60] = noise[-60:] = 0
    noise[:, :60] = noise[:, -60:] = 0
    return noise


def test_outliers_take_no_part_in_subjects(tmp_path: Path):
    analysis = _analysis(tmp_path / "in", tmp_path / "out", {"P1/noise.png": _noise()}, with_cells=False)
    assert OUTLIER in analysis.cells["flags"][0].split()
    assert analysis.subjects[["cells", "counted", "outlier"]].to_numpy().tolist() == [[1, 0, 1]]
    assert analysis.subjects["posterior"].isna().all()
    assert analysis.subjects["decision"].tolist() == ["unfamiliar"]


def test_only_counted_cells_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    judge = PackageJudge.judge
    outlier = np.array([False, True, False])
    monkeypatch.setattr(PackageJudge, "judge", lambda itself, images: replace(judge(itself, images), outlier=outlier))
    pictures = {f"{n}.png": _picture(seed=n) for n in range(3)}
    analysis = _analysis(tmp_path / "in", tmp_path / "out", pictures, explainer=default_explainer())
    assert analysis.cells["flags"].tolist() == ["", "outlier", ""]
    assert {explanation.image for explanation in read_explanations(tmp_path / "out")} == {"0.png", "2.png"}


def test_cells_have_kinds_a_set_and_a_distance(tmp_path: Path):
    table = _analysis(tmp_path / "in", tmp_path / "out", {"P1/a.png": _picture(), "P2/b.png": _picture(seed=1)}).cells
    named, shares = ("kind", "kind_probability"), tuple(kind.column for kind in KINDS)
    assert (*named, *shares) == KIND_COLUMNS
    own = [*named, "set", "distance", *shares, "flags"]
    assert list(table.columns)[: 4 + len(own)] == ["image", "subject", "probability", "decision", *own]
    assert table["probability"].between(0, 1).all()
    of_kinds = table[list(shares)].to_numpy(np.float64)
    np.testing.assert_allclose(of_kinds.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(of_kinds[:, 0], table["probability"], atol=1e-6)
    assert table["kind"].tolist() == [KINDS[place].value for place in of_kinds.argmax(axis=1)]
    np.testing.assert_allclose(table["kind_probability"].to_numpy(np.float64), of_kinds.max(axis=1), atol=1e-6)
    assert all(kind in own.split(", ") for kind, own in zip(table["kind"], table["set"], strict=True))


def test_only_pictures_cut_out_on_black_are_said_to_be_as_given(tmp_path: Path):
    glass = np.full((200, 200, 3), 230, np.uint8)
    pictures = {"a.png": _picture(), "b.png": _picture(background=230, side=300), "glass.png": glass}
    notices = _analysis(tmp_path / "in", tmp_path / "out", pictures).notices
    said = {notice.code: notice.text for notice in notices}
    assert said["as_given"].startswith("Already cut out on black, as C-NMC's are: 1 image.")


def test_prevalence_moves_the_posterior_of_subjects_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    judge = PackageJudge.judge

    def familiar(itself, images):
        found = judge(itself, images)
        kinds = np.full_like(found.kinds, 0.01)
        kinds[:, KINDS.index("lymphocyte")] = 0.9
        return replace(found, outlier=np.zeros(len(found.outlier), bool), kinds=kinds)

    monkeypatch.setattr(PackageJudge, "judge", familiar)
    pictures = {f"P1/{n}.png": _picture(radius=90 + 5 * n, seed=n) for n in range(4)}
    even = _analysis(tmp_path / "1", tmp_path / "out1", pictures)
    rare = _analysis(tmp_path / "2", tmp_path / "out2", pictures, prevalence=0.01)
    pd.testing.assert_frame_equal(even.cells, rare.cells)
    changed = ["posterior"]
    pd.testing.assert_frame_equal(even.subjects.drop(columns=changed), rare.subjects.drop(columns=changed))
    before, after = even.subjects["posterior"][0], rare.subjects["posterior"][0]
    assert after / (1 - after) == pytest.approx(before / (1 - before) / 99, rel=0.01)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[np.ndarray, np.ndarray]]:
    """Note what the classifier is told of cells: whether they came as given, and their diameters."""
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    judge = Classifier.judge

    def noted(itself, cells, *, given, diameter_um) -> Judgement:
        seen.append((given, diameter_um))
        return judge(itself, cells, given=given, diameter_um=diameter_um)

    monkeypatch.setattr(Classifier, "judge", noted)
    return seen


def _judge(sizes: list[CellSize | None]) -> None:
    PackageJudge(default_classifier()).judge([_image(_picture(), size) for size in sizes])


def test_diameters_are_known_where_the_pixel_size_is(told):
    given, stored = PixelSize(0.1, "given"), PixelSize(0.2, "metadata")
    frame = (400, 400)
    _judge([CellSize(120.0, given, frame), CellSize(50.0, stored, frame), CellSize(90.0, None, frame), None])
    [(given_so, diameters)] = told
    assert given_so.tolist() == [False, False, False, True]
    np.testing.assert_allclose(diameters, [12.0, 10.0, np.nan, np.nan])


def test_images_of_one_camera_share_the_pixel_size_of_their_red_cells(told):
    frame, other = (480, 640), (600, 800)
    sizes = [PixelSize(um_per_px, "red cells", red_cells=n) for um_per_px, n in ((0.075, 9), (0.060, 3), (0.076, 8))]
    _judge([CellSize(120.0, size, frame) for size in (*sizes, None)] + [CellSize(120.0, None, other)])
    [(_, diameters)] = told
    assert diameters[0] == pytest.approx(120 * 0.0755, rel=0.02)
    np.testing.assert_array_equal(diameters[:4], diameters[0])
    assert np.isnan(diameters[4])


def test_a_cell_that_was_not_found_has_no_diameter(told):
    frame = (400, 400)
    black = _image(np.zeros((SIDE, SIDE, 3), np.uint8), CellSize(0.0, PixelSize(0.1, "given"), frame))
    cell = _image(_picture(), CellSize(100.0, PixelSize(0.1, "given"), frame))
    found = PackageJudge(default_classifier()).judge([black, cell])
    np.testing.assert_allclose(told[0][1], [np.nan, 10.0])
    assert np.isfinite(found.probability).all()


def test_many_cells_are_judged_in_batches_in_their_order(told):
    images = [
        _image(_picture(radius=60 + n), CellSize(float(n + 1), PixelSize(0.1, "given"), (400, 400)) if n % 3 else None)
        for n in range(70)
    ]
    found = PackageJudge(default_classifier()).judge(images)
    assert [len(given) for given, _ in told] == [64, 6]
    np.testing.assert_array_equal(np.concatenate([given for given, _ in told]), np.arange(70) % 3 == 0)
    diameters = np.concatenate([diameters for _, diameters in told])
    np.testing.assert_allclose(diameters, np.where(np.arange(70) % 3, np.arange(1, 71) / 10, np.nan))
    assert found.n_as_given == 24
    for place in (0, 63, 64, 69):
        alone = PackageJudge(default_classifier()).judge([images[place]])
        np.testing.assert_allclose(found.kinds[place], alone.kinds[0], atol=2e-4)
        assert found.sets[place] == alone.sets[0]


def test_no_cells_are_no_judgements():
    nothing = replace(_image(_picture(), None), cells=(), seen=np.zeros(0))
    for images in ([], [nothing]):
        found = PackageJudge(default_classifier()).judge(images)
        assert found.kinds.shape == (0, len(KINDS))
        assert (len(found.probability), len(found.outlier), found.sets, len(found.distance)) == (0, 0, (), 0)


def test_cells_that_are_all_rim_are_judged_and_flagged():
    rows, columns = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    away = np.hypot(rows, columns)
    ring = np.where(((away > 100) & (away < 112))[..., None], [100, 50, 120], 0).astype(np.uint8)
    judgements = PackageJudge(default_classifier()).judge([_image(ring, CellSize(80.0, None, (300, 300)))])
    assert np.isfinite(judgements.probability).all()
    assert judgements.outlier.all()


def test_unknown_choices_are_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"^load_classifier: `runtime` must be one of torch, onnx, got tensorflow"):
        load_classifier(runtime="tensorflow")
    Image.fromarray(_picture()).save(tmp_path / "a.png")
    with pytest.raises(ConfigError, match=r"^analyze: `kind` must be one of auto, cell, field, got cells\. Correct"):
        analyze(tmp_path, kind="cells")
