"""Known copies are found, other pictures are not paired, and each kind is named."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from leukospike.auditing import alignment, matches
from leukospike.auditing.alignment import align, view_matrix, whole_map
from leukospike.auditing.fingerprints import Fingerprint, fingerprint, turned
from leukospike.auditing.matches import Kind, find_matches
from leukospike.smears import CellKind, draw_field, subject_style
from research.audit import drawn_cells


def _look(pixels: np.ndarray) -> Fingerprint:
    return fingerprint(pixels, size=pixels.shape[:2], generated=False)


def _never(_first: int, _second: int) -> bool:
    return False


def _texture(seed: int, shape: tuple[int, int] = (240, 300)) -> np.ndarray:
    """Draw grey clouds with structure at several scales."""
    rng = np.random.default_rng(seed)
    clouds = sum(scale * ndimage.gaussian_filter(rng.normal(size=shape), scale) for scale in (2, 4, 8, 16))
    grey = 128 + 40 * clouds / np.std(clouds)
    return np.repeat(np.clip(grey, 20, 255).astype(np.uint8)[:, :, None], 3, axis=2)


@pytest.fixture(scope="module")
def cells() -> list[np.ndarray]:
    return drawn_cells(12, seed=3)


class TestViews:
    @pytest.mark.parametrize("view", range(8))
    def test_hash_of_a_turned_picture_is_the_hash_of_that_view(self, view: int, cells: list[np.ndarray]) -> None:
        original = _look(cells[0])
        channels = [turned(cells[0][:, :, channel], view) for channel in range(3)]
        other = _look(np.ascontiguousarray(np.stack(channels, axis=2)))
        assert original.hashes is not None
        assert other.hashes is not None
        differing = np.bitwise_count(original.hashes[view] ^ other.hashes[0]).sum()
        # Of 192; coefficients next to zero may turn, and different pictures differ in about half.
        assert differing <= 12

    @pytest.mark.parametrize("view", range(8))
    def test_the_matrix_is_what_turned_does_to_places(self, view: int) -> None:
        picture = np.arange(12).reshape(3, 4)
        result = turned(picture, view)
        centre, new_centre = (np.array(picture.shape) - 1) / 2, (np.array(result.shape) - 1) / 2
        for row, column in np.ndindex(*picture.shape):
            at = view_matrix(view) @ (np.array([row, column]) - centre) + new_centre
            assert result[tuple(np.rint(at).astype(int))] == picture[row, column]

    @pytest.mark.parametrize("view", range(1, 8))
    def test_the_view_of_a_pair_turns_the_second_into_the_first(self, view: int) -> None:
        original = _texture(1)
        second = np.stack([turned(original[:, :, channel], view) for channel in range(3)], axis=2)
        (pair,) = find_matches([_look(original), _look(np.ascontiguousarray(second))], same_pixels=_never).pairs
        assert pair.kind is Kind.COPY
        assert (turned(second[:, :, 0], pair.view) == original[:, :, 0]).all()


class TestKinds:
    def test_equal_pixels(self) -> None:
        same = [_look(_texture(1)), _look(_texture(2)), _look(_texture(1))]
        (pair,) = find_matches(same, same_pixels=lambda a, b: (a, b) == (0, 2)).pairs
        assert (pair.first, pair.second, pair.kind) == (0, 2, Kind.IDENTICAL)

    def test_equal_small_pictures_of_other_pixels_are_a_copy(self) -> None:
        (pair,) = find_matches([_look(_texture(1)), _look(_texture(1))], same_pixels=_never).pairs
        assert pair.kind is Kind.COPY

    def test_a_crop_is_part_of_its_picture(self) -> None:
        whole = _texture(1)
        (pair,) = find_matches([_look(whole), _look(whole[20:200, 30:250])], same_pixels=_never).pairs
        assert pair.kind is Kind.CROP
        assert pair.shares[0] == pytest.approx(180 * 220 / (240 * 300), abs=0.05)
        assert pair.shares[1] > 0.95

    def test_fields_that_overlap(self) -> None:
        wide = _texture(1, (400, 800))
        (pair,) = find_matches([_look(wide[:, :500]), _look(wide[:, 250:750])], same_pixels=_never).pairs
        assert pair.kind is Kind.OVERLAP
        assert pair.shares == pytest.approx((0.5, 0.5), abs=0.06)

    def test_different_clouds_are_no_pair(self) -> None:
        assert find_matches([_look(_texture(seed)) for seed in range(20)], same_pixels=_never).pairs == ()

    def test_masks_and_empty_pictures_are_compared_for_equality_alone(self) -> None:
        mask = np.zeros((100, 100, 3), np.uint8)
        mask[30:70, 30:70] = 255
        moved = np.roll(mask, 1, axis=0)
        looked = [_look(mask), _look(mask), _look(moved), _look(np.full_like(mask, 200))]
        assert all(picture.hashes is None for picture in looked)
        (pair,) = find_matches(looked, same_pixels=lambda _a, _b: True).pairs
        assert (pair.first, pair.second, pair.kind) == (0, 1, Kind.IDENTICAL)

    def test_nothing_and_one_picture_have_no_pairs(self) -> None:
        assert find_matches([], same_pixels=_never).pairs == ()
        assert find_matches([_look(_texture(1))], same_pixels=_never).pairs == ()


def test_small_crops_are_found_in_the_field_they_are_from() -> None:
    fields = [
        draw_field(
            [CellKind.LYMPHOBLAST, CellKind.LYMPHOCYTE],
            subject_style(np.random.default_rng(seed)),
            np.random.default_rng(seed),
        )
        for seed in range(4)
    ]
    boxes = [next(box for box in field.boxes if box.label == "WBC") for field in fields]
    crops = [
        field.pixels[max(0, box.top - 15) : box.bottom + 15, max(0, box.left - 15) : box.right + 15]
        for field, box in zip(fields, boxes, strict=True)
    ]
    matches = find_matches([_look(picture) for picture in [*(f.pixels for f in fields), *crops]], same_pixels=_never)
    assert matches.searched_fields
    found = {(pair.first, pair.second) for pair in matches.pairs}
    assert found == {(place, place + 4) for place in range(4)}
    assert {pair.kind for pair in matches.pairs} == {Kind.CROP}


def test_alignment_finds_a_shift_that_the_rough_map_misses() -> None:
    wide = _texture(1, (300, 340))
    first, second = _look(wide[:, :300]), _look(wide[4:304, 3:303])
    found = align(first, second, whole_map(first, second, 0))
    assert found is not None
    assert found.agreement > 0.9
    # Half of the shift, since the small picture is half as large.
    assert found.matrix[:, 2] + found.matrix[:, :2] @ [75, 75] - 75 == pytest.approx([-2, -1.5], abs=0.3)


def test_jpeg_of_another_format_reads_reduced_to_the_same_small_picture() -> None:
    buffer = io.BytesIO()
    Image.fromarray(_texture(5, (600, 800))).save(buffer, "JPEG", quality=90)
    with Image.open(buffer) as image:
        image.draft(None, (400, 300))
        reduced = np.asarray(image.convert("RGB"))
    assert reduced.shape == (300, 400, 3)
    whole, small = _look(_texture(5, (600, 800))), fingerprint(reduced, size=(600, 800), generated=False)
    (pair,) = find_matches([whole, small], same_pixels=_never).pairs
    assert pair.agreement > 0.95


def test_likest_patches_are_those_of_the_whole_table(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(60, 3)).astype(np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    owner = np.sort(rng.integers(0, 9, 60))
    likeness = np.where(owner[:, None] != owner[None], values @ values.T, -1)
    expected = [
        (place, other)
        for place in range(60)
        for other in np.argsort(-likeness[place], kind="stable")[:4]
        if likeness[place, other] >= 0.75
    ]
    for tile in ((512, 2048), (7, 5), (5, 64)):
        monkeypatch.setattr(matches, "_TILE", tile)
        ours, theirs = matches._likest(values, owner, lambda *_: None)
        assert list(zip(ours.tolist(), theirs.tolist(), strict=True)) == expected


def test_band_of_two_pictures_is_that_of_each() -> None:
    """Held against the equation, one smoothing after the other."""
    pictures = np.stack([_texture(seed, (72, 60))[:, :, 0].astype(np.float32) for seed in (1, 2)])
    inside = np.hypot(*np.ogrid[-36:36, -30:30]) < 28
    weight = inside.astype(np.float32)

    def smooth(values: np.ndarray, sigma: float) -> np.ndarray:
        return ndimage.gaussian_filter(values, sigma, truncate=3)

    for picture, found in zip(pictures, alignment._bands(pictures, inside), strict=True):
        fine, coarse = (smooth(picture * weight, sigma) / smooth(weight, sigma).clip(1e-2) for sigma in (0.9, 3.5))
        band = (fine - coarse) * weight
        local = np.sqrt(smooth(band**2, 3.5) / smooth(weight, 3.5).clip(1e-2))
        least = 0.2 * np.sqrt((band**2).sum() / weight.sum())
        np.testing.assert_allclose(found, band / np.maximum(local, least), rtol=1e-5, atol=1e-6)
