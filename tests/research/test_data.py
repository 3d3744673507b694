"""Loading the public sets' layouts, and folds that keep near copies together."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from leukospike.errors import DataError, SplitError
from research.segmentation.data import (
    CELLS_PER_SUBJECT,
    RED_CELL_PX,
    AnnotatedImage,
    folds,
    groups,
    load,
    load_all_pbc,
)


def texture(seed: int, shape: tuple[int, int] = (120, 120)) -> np.ndarray:
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(*shape, 3)), (3, 3, 0))
    return np.clip(128 + 40 * noise / noise.std(), 0, 255).astype(np.uint8)


def image(
    pixels: np.ndarray,
    *,
    set: str = "tecom",  # noqa: A002
    subject: str = "",
    group: int = 0,
) -> AnnotatedImage:
    nothing = np.zeros(pixels.shape[:2], np.uint8)
    return AnnotatedImage(set, "any", pixels, nothing, np.zeros((0, 4), int), subject, group=group)


def blank(*, set: str = "tecom", group: int = 0) -> AnnotatedImage:  # noqa: A002
    return image(np.zeros((20, 20, 3), np.uint8), set=set, group=group)


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def test_a_set_with_masks_is_read_in_order(tmp_path):
    for number in ("002", "001"):
        mask = np.full((120, 120), 128 if number == "001" else 255, np.uint8)
        write(tmp_path / "wbc-seg" / "tecom" / f"{number}.png", texture(int(number)))
        write(tmp_path / "wbc-seg" / "tecom" / f"{number}_mask.png", mask)
    first, second = load("tecom", tmp_path)
    assert (first.name, second.name) == ("001", "002")
    assert np.array_equal(first.pixels, texture(1))
    assert set(np.unique(first.mask)) == {128}
    assert first.nucleus_drawn
    assert first.boxes.shape == (0, 4)


def test_a_field_has_the_boxes_of_its_white_and_red_cells(tmp_path):
    write(tmp_path / "bccd" / "images" / "00007.jpg", texture(0))
    write(tmp_path / "bccd" / "masks" / "00007.png", np.zeros((120, 120), np.uint8))
    rows = ["image,label,xmin,ymin,xmax,ymax", "00007,WBC,1,2,30,40", "00007,RBC,5,6,9,8", "00008,WBC,0,0,9,9"]
    rows.append("00007,Platelets,50,50,60,60")
    (tmp_path / "bccd" / "boxes.csv").write_text("\n".join(rows))
    (field,) = load("bccd", tmp_path)
    assert field.boxes.tolist() == [[2, 1, 40, 30]]
    assert field.red_boxes.tolist() == [[6, 5, 8, 9]]
    assert field.nucleus_drawn


def test_boxed_fields_have_nothing_drawn_and_chula_is_grouped_by_slide(tmp_path):
    names = ("B-30_0001", "B-30_0002", "C-2_0001")
    for place, name in enumerate(names):
        write(tmp_path / "chula" / "images" / f"{name}.png", texture(place))
    rows = ["image,label,xmin,ymin,xmax,ymax", "B-30_0002,neutrophil,3,4,20,30"]
    (tmp_path / "chula" / "boxes.csv").write_text("\n".join(rows))
    fields = load("chula", tmp_path)
    assert [field.name for field in fields] == list(names)
    assert [field.boxes.tolist() for field in fields] == [[], [[4, 3, 30, 20]], []]
    assert fields[0].group == fields[1].group != fields[2].group
    assert not any(field.mask.any() or field.nucleus_drawn for field in fields)


def test_as_many_cells_of_each_kind_are_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr("research.segmentation.data.PBC_PER_KIND", 2)
    for kind, count in (("platelet", 3), ("monocyte", 1)):
        for number in range(count):
            write(tmp_path / "pbc" / kind / f"{kind}_{number}.png", texture(number, (60, 60)))
    drawn = load("pbc", tmp_path, seed=1)
    assert sorted(image.kind for image in drawn) == ["monocyte", "platelet", "platelet"]
    assert [image.name for image in drawn] == [image.name for image in load("pbc", tmp_path, seed=1)]
    assert {image.kind for image in load_all_pbc(tmp_path)} == {"platelet", "monocyte"}
    assert len(load_all_pbc(tmp_path)) == 4


def test_red_cells_are_as_large_as_their_whole_boxes_or_else_as_usual_in_the_set():
    boxes = [[10, 10, 30, 50], [40, 40, 70, 60], [50, 10, 70, 40], [60, 60, 90, 80], [0, 0, 90, 90], [20, 30, 120, 90]]
    nothing = np.zeros((0, 4), int)
    field, few = (
        AnnotatedImage(
            "bccd", "a", texture(0), np.zeros((120, 120), np.uint8), nothing, "", red_boxes=np.array(boxes[:count])
        )
        for count in (6, 3)
    )
    assert field.red_cell_px == pytest.approx(np.sqrt(600))
    assert few.red_cell_px == RED_CELL_PX["bccd"]


def test_a_cell_on_black_is_its_own_mask_and_subjects_count_alike(tmp_path):
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[10:20, 10:20, 2] = 1
    for subject, cells in (("H3", 2), ("11", 9)):
        for cell in range(cells):
            write(tmp_path / "c-nmc" / "fold_0" / "all" / f"UID_{subject}_{cell}_1_all.png", pixels)
    images = load("c-nmc", tmp_path)
    assert sorted(one.subject for one in images) == ["11"] * CELLS_PER_SUBJECT + ["H3"] * 2
    assert (images[0].mask == 128).sum() == 100
    assert not images[0].nucleus_drawn
    assert [one.name for one in images] == [one.name for one in load("c-nmc", tmp_path)]


def test_a_set_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match="load: cellavision must hold images, got none"):
        load("cellavision", tmp_path)
    with pytest.raises(
        DataError, match="name must be one of tecom, cellavision, bccd, c-nmc, raabin, chula, pbc, got imagenet"
    ):
        load("imagenet", tmp_path)


def test_every_image_is_tested_once_and_never_trained_on():
    images = [blank(group=group) for group in range(13)]
    split = folds(images, n_folds=4, seed=0)
    assert sorted(np.concatenate([fold.test for fold in split]).tolist()) == list(range(13))
    for fold in split:
        assert sorted([*fold.train, *fold.test]) == list(range(13))
        assert len(fold.test) in {3, 4}


def test_the_seed_decides():
    images = [blank(group=group) for group in range(12)]
    first, again, other = (folds(images, seed=seed)[0].test.tolist() for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_a_group_stays_together():
    images = [blank(group=group) for group in [*range(7), *range(7), *range(3)]]
    for fold in folds(images, n_folds=3):
        assert not {images[place].group for place in fold.train} & {images[place].group for place in fold.test}


def test_a_set_is_split_the_same_beside_another():
    tecom = [blank(group=group) for group in range(8)]
    other = [blank(set="cellavision", group=group) for group in range(8)]
    alone, beside = folds(tecom), folds([*other, *tecom])
    for one, two in zip(alone, beside, strict=True):
        assert one.test.tolist() == [place - 8 for place in two.test if place >= 8]


def test_more_folds_than_groups_are_refused():
    with pytest.raises(SplitError, match=r"independent images of tecom \(2\), got 3"):
        folds([blank(group=0), blank(group=1), blank(group=1)], n_folds=3)


@pytest.mark.parametrize("change", ["same", "shifted", "smaller"])
def test_near_copies_are_one_group(change):
    large = texture(0, (140, 140))
    copy = {"same": large[10:130, 10:130], "shifted": large[14:134, 3:123], "smaller": large[14:120, 12:126]}[change]
    group = groups([image(pixels) for pixels in (large[10:130, 10:130], *map(texture, range(1, 9)), copy)])
    assert group[0] == group[-1]
    assert len(set(group)) == 9


def test_overlapping_fields_are_one_group():
    large = texture(0, (700, 900))
    fields = (large[:480, :640], large[180:660, 240:880], texture(1, (480, 640)))
    group = groups([image(pixels, set="bccd") for pixels in fields])
    assert group[0] == group[1] != group[2]


def test_uniform_images_are_no_copies():
    assert len(set(groups([image(np.full((50, 50, 3), 200, np.uint8)) for _ in range(3)]))) == 3


def test_cells_of_a_subject_are_one_group_and_alike_cells_of_others_are_not():
    group = groups([image(texture(0), set="c-nmc", subject=subject) for subject in ("a", "b", "a")])
    assert group[0] == group[2] != group[1]


@pytest.mark.data
def test_the_known_copies_of_the_public_sets_are_found(real_data):
    tecom = load("tecom", real_data)
    group = {one.name: one.group for one in tecom}
    for one, other in (("021", "082"), ("026", "089"), ("030", "086"), ("060", "090"), ("157", "158"), ("166", "171")):
        assert group[one] == group[other]
    assert len(set(group.values())) >= 190
