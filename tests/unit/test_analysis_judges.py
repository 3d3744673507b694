"""Analysing with the classifier of the package: which cells are cut out, matched, flagged, and what subjects get."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from leukospike.analysis.analyze import analyze, analyze_images
from leukospike.analysis.flags import OUTLIER
from leukospike.analysis.judges import CropView, Judgements, PackageJudge, load_classifier
from leukospike.analysis.reading import CellSize, ReadCell, ReadImage
from leukospike.analysis.result import Analysis
from leukospike.analysis.tables import POSTERIOR_COLUMNS
from leukospike.classification.classifier import default_classifier
from leukospike.classification.explanation import default_explainer, read_explanations
from leukospike.classification.source import SHARES, diameter_of
from leukospike.confidence import score_subjects
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
    view = CropView()
    seen = view.see(picture)
    cell = ReadCell(view.is_blank(seen), (), size, None)
    nothing = np.zeros((1, 64, 64, 3), np.uint8)
    return ReadImage(
        Kind.CELL, (cell,), seen[None], nothing, is_generated=False, scaled_by="", facts=None, overlay=None
    )


def test_cells_have_a_set_and_a_distance(tmp_path: Path):
    table = _analysis(tmp_path / "in", tmp_path / "out", {"P1/a.png": _picture(), "P2/b.png": _picture(seed=1)}).cells
    assert list(table.columns)[:7] == ["image", "subject", "probability", "decision", "set", "distance", "flags"]
    assert table["probability"].between(0, 1).all()
    assert set(table["set"]) <= {"", "normal", "leukemic", "normal leukemic"}


def test_a_picture_as_c_nmc_has_them_is_judged_as_it_is(tmp_path: Path):
    alone = _analysis(tmp_path / "1", tmp_path / "out1", {"a.png": _picture()}).cells
    beside = _analysis(
        tmp_path / "2", tmp_path / "out2", {"a.png": _picture(), "b.png": _picture(radius=140, light=1.2)}
    ).cells
    assert alone["probability"][0] == pytest.approx(beside["probability"][0], abs=1e-6)


def test_light_and_magnification_of_a_whole_laboratory_change_little(tmp_path: Path):
    def laboratory(light: float, zoom: float) -> dict[str, np.ndarray]:
        sizes = (50, 55, 60, 65, 70, 75)
        return {
            f"{place}.png": _picture(
                radius=round(size * zoom), seed=place, light=light, background=230, side=round(300 * zoom)
            )
            for place, size in enumerate(sizes)
        }

    first = _analysis(tmp_path / "1", tmp_path / "out1", laboratory(1.0, 1.0)).cells["probability"]
    second = _analysis(tmp_path / "2", tmp_path / "out2", laboratory(0.85, 1.3)).cells["probability"]
    assert np.abs(first - second).max() < 0.2
    assert first.iloc[0] < first.iloc[-1]  # larger ones stay the more suspicious


def test_nothing_to_cut_out_is_no_probability(tmp_path: Path):
    glass = np.full((200, 200, 3), 230, np.uint8)
    glass[::2] = 220
    analysis = _analysis(
        tmp_path / "in", tmp_path / "out", {"P1/a.png": glass, "P1/b.png": np.zeros((SIDE, SIDE, 3), np.uint8)}
    )
    assert analysis.cells["probability"].isna().all()
    assert analysis.cells["set"].isna().all()
    assert len(analysis.subjects) == 0


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
    assert len(analysis.subjects) == 0


def test_only_counted_cells_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    judge = PackageJudge.judge
    outlier = np.array([False, True, False])
    monkeypatch.setattr(PackageJudge, "judge", lambda itself, images: replace(judge(itself, images), outlier=outlier))
    pictures = {f"{n}.png": _picture(seed=n) for n in range(3)}
    analysis = _analysis(tmp_path / "in", tmp_path / "out", pictures, explainer=default_explainer())
    assert analysis.cells["flags"].tolist() == ["", "outlier", ""]
    assert {explanation.image for explanation in read_explanations(tmp_path / "out")} == {"0.png", "2.png"}


def test_image_without_a_cell_is_counted_neither_as_given_nor_as_moved(tmp_path: Path):
    glass = np.full((200, 200, 3), 230, np.uint8)
    pictures = {"a.png": _picture(), "b.png": _picture(background=230, side=300), "glass.png": glass}
    notices = _analysis(tmp_path / "in", tmp_path / "out", pictures).notices
    said = {notice.code: notice.text for notice in notices}
    assert said["as_given"].startswith("Scored as they are, because they already look like C-NMC's: 1 image.")
    assert said["moved_together"].startswith("1 cell was cut out and adjusted")
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["model"]["moved"] == 1


def test_prevalence_moves_the_posterior_of_subjects_and_nothing_else(tmp_path: Path):
    pictures = {f"P1/{n}.png": _picture(radius=90 + 5 * n, seed=n) for n in range(4)}
    even = _analysis(tmp_path / "1", tmp_path / "out1", pictures)
    rare = _analysis(tmp_path / "2", tmp_path / "out2", pictures, prevalence=0.01)
    pd.testing.assert_series_equal(even.cells["probability"], rare.cells["probability"])
    if len(even.subjects):
        assert set(POSTERIOR_COLUMNS) <= set(even.subjects.columns)
        assert rare.subjects["posterior"][0] < even.subjects["posterior"][0]


def _judged_discs(sizes: list[CellSize]) -> tuple[Judgements, np.ndarray]:
    """Judge as many equal discs of such sizes, and return the diameters at which they are judged."""
    rows, columns = np.mgrid[:450, :450] - 225
    disc = np.where((np.hypot(rows, columns) < 100)[..., None], [120, 80, 160], 0).astype(np.uint8)
    disc[::3] = np.where(disc[::3] > 0, disc[::3] + 20, 0)  # an even disc has no spread of colours
    images = [_image(disc, size) for size in sizes]
    judgements = PackageJudge(default_classifier()).judge(images)
    move = judgements.move
    assert move is not None
    judged = [move.apply(image.seen[0], place) for place, image in enumerate(images)]
    return judgements, np.array([diameter_of(crop) for crop in judged])


def test_pixels_are_no_measure_beside_micrometres():
    given = PixelSize(0.1, "given")
    in_um = [CellSize(diameter, given, (400, 400)) for diameter in (100.0, 120.0, 140.0)]
    in_px = [CellSize(diameter, None, (900, 900)) for diameter in (300.0, 360.0, 420.0)]
    said, alone = _judged_discs(in_um)
    assert not said.knows_some_pixel_sizes
    said, mixed = _judged_discs(in_um + in_px)
    np.testing.assert_allclose(mixed, np.tile(alone, 2), rtol=0.02)
    assert alone[0] < alone[1] < alone[2]
    assert said.knows_some_pixel_sizes


def test_cells_keep_their_sizes_where_red_cells_tell_little_of_the_pixel():
    frame = (480, 640)
    sizes = [PixelSize(um_per_px, "red cells", red_cells=n) for um_per_px, n in ((0.075, 9), (0.060, 3), (0.076, 8))]
    _, shown = _judged_discs([CellSize(120.0, size, frame) for size in (*sizes, None)])
    np.testing.assert_allclose(shown, shown[0], rtol=0.01)


def test_cells_all_of_one_kind_tell_little_of_their_subject():
    judge = PackageJudge(default_classifier())
    images = [_image(_picture(radius=100, seed=seed), CellSize(60.0, None, (300, 300))) for seed in range(12)]
    ways, subject = judge.judge(images).ways, np.repeat("P1", 12)
    over_all, as_blasts = (
        score_subjects(judge.subject_model, rows, subject, prevalence=0.02)[0].posterior for rows in (ways, ways[-1:])
    )
    assert over_all < as_blasts


def test_ways_of_judging_move_foreign_cells_and_no_others():
    foreign = [_image(_picture(radius=radius), CellSize(float(radius), None, (300, 300))) for radius in (80, 90, 100)]
    ways = PackageJudge(default_classifier()).judge([_image(_picture(), None), *foreign]).ways
    assert ways.shape == (len(SHARES), 4)
    assert np.ptp(ways[:, 0]) == 0
    assert (np.ptp(ways[:, 1:], axis=0) > 0).all()
    # As if all were blasts, all are shown larger, and look the more like blasts.
    assert (ways[-1, 1:] > ways[0, 1:]).all()


def test_cells_that_are_all_rim_are_judged_and_flagged():
    rows, columns = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    away = np.hypot(rows, columns)
    ring = np.where(((away > 100) & (away < 112))[..., None], [100, 50, 120], 0).astype(np.uint8)
    judgements = PackageJudge(default_classifier()).judge([_image(ring, CellSize(80.0, None, (300, 300)))])
    assert np.isfinite(judgements.ways).all()
    assert judgements.outlier.all()


def test_unknown_choices_are_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"^load_classifier: `runtime` must be one of torch, onnx, got tensorflow"):
        load_classifier(runtime="tensorflow")
    Image.fromarray(_picture()).save(tmp_path / "a.png")
    with pytest.raises(ConfigError, match=r"^analyze: `kind` must be one of auto, cell, field, got cells\. Correct"):
        analyze(tmp_path, kind="cells")
