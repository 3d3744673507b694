"""Folds on cases small enough to be checked by eye."""

import numpy as np
import pytest

from leukospike.errors import SplitError
from leukospike.experiments.splits import image_folds, linked_groups, subject_folds

# Six subjects of three cells, three of them leukemic.
SUBJECTS = [f"S{subject}" for subject in range(6) for _ in range(3)]
LABELS = [int(subject >= 3) for subject in range(6) for _ in range(3)]
DIGESTS = [str(cell) for cell in range(18)]


def _sides(fold) -> tuple[set[str], set[str], set[str]]:
    return tuple({SUBJECTS[place] for place in places} for places in (fold.train, fold.validation, fold.test))


def test_one_subject_one_group():
    assert linked_groups(["B", "A", "B"], ["1", "2", "3"]).tolist() == [1, 0, 1]


def test_shared_image_joins_subjects_through_others():
    # A and B share image 1, B and C share image 2: all three belong together, D does not.
    subjects = ["A", "B", "B", "C", "D", "A"]
    digests = ["1", "1", "2", "2", "3", "4"]
    assert linked_groups(subjects, digests).tolist() == [0, 0, 0, 0, 1, 0]


def test_duplicate_within_a_subject_joins_nobody():
    assert linked_groups(["A", "A", "B"], ["1", "1", "2"]).tolist() == [0, 0, 1]


def test_no_subject_is_on_two_sides():
    folds = subject_folds(LABELS, SUBJECTS, DIGESTS, n_folds=3, seed=0)
    assert len(folds) == 3
    for fold in folds:
        train, validation, test = _sides(fold)
        assert train
        assert validation
        assert test
        assert not train & validation
        assert not train & test
        assert not validation & test
    assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(18))


def test_folds_are_stratified():
    for fold in subject_folds(LABELS, SUBJECTS, DIGESTS, n_folds=3, seed=0):
        assert np.mean(np.array(LABELS)[fold.test]) == 0.5


def test_subjects_with_the_same_picture_stay_together():
    digests = DIGESTS.copy()
    digests[0] = digests[3]  # S0 and S1
    for fold in subject_folds(LABELS, SUBJECTS, digests, n_folds=3, seed=0):
        for side in _sides(fold):
            assert len(side & {"S0", "S1"}) != 1


def test_seed_decides_the_folds():
    def tests(seed: int) -> list[list[int]]:
        return [fold.test.tolist() for fold in subject_folds(LABELS, SUBJECTS, DIGESTS, n_folds=3, seed=seed)]

    assert tests(1) == tests(1)
    assert len({str(tests(seed)) for seed in range(5)}) > 1


@pytest.mark.parametrize("per_class", [3, 4, 6])
def test_validation_holds_both_classes_where_there_are_subjects_for_it(per_class: int):
    labels, subjects = np.repeat([0, 1], 20 * per_class), np.repeat([f"S{n}" for n in range(2 * per_class)], 20)
    digests = [str(cell) for cell in range(len(labels))]
    for seed in range(5):
        for fold in subject_folds(labels.tolist(), subjects.tolist(), digests, n_folds=3, seed=seed):
            assert set(labels[fold.validation]) == {0, 1}
            assert set(labels[fold.train]) == {0, 1}


def test_test_parts_are_stratified():
    # Six subjects a class in four folds; scikit-learn before 1.8 made folds of one class of these.
    labels, subjects = np.repeat([0, 1], 120), np.repeat([f"S{n}" for n in range(12)], 20)
    digests = [str(cell) for cell in range(240)]
    for seed in range(10):
        for fold in subject_folds(labels.tolist(), subjects.tolist(), digests, n_folds=4, seed=seed):
            assert 1 / 3 <= labels[fold.test].mean() <= 2 / 3


def test_smallest_case_has_no_validation():
    # One subject of each class in training: nobody can be spared.
    subjects, labels = ["A", "A", "B", "B", "C", "C", "D", "D"], [0, 0, 0, 0, 1, 1, 1, 1]
    for fold in subject_folds(labels, subjects, [str(cell) for cell in range(8)], n_folds=2, seed=0):
        assert len(fold.train) == 4
        assert len(fold.validation) == 0


def test_fewer_subjects_than_folds():
    message = r"`n_folds` must be at most the number of independent subjects \(6\), got 7\. Lower `n_folds`"
    with pytest.raises(SplitError, match=message):
        subject_folds(LABELS, SUBJECTS, DIGESTS, n_folds=7, seed=0)


def test_subjects_joined_by_a_picture_count_once():
    digests = DIGESTS.copy()
    digests[0] = digests[3]
    with pytest.raises(SplitError, match=r"independent subjects \(5\), got 6\."):
        subject_folds(LABELS, SUBJECTS, digests, n_folds=6, seed=0)


def test_fewer_cells_of_a_class_than_folds():
    labels = [1, 1, 0, 0]
    with pytest.raises(SplitError, match=r"number of images of the rarer class \(2\), got 3\."):
        subject_folds(labels, ["A", "B", "C", "D"], ["1", "2", "3", "4"], n_folds=3, seed=0)


def test_one_class_only():
    message = (
        r"each training part must hold both classes, got a single class in fold 0 of 2 \(6 independent subjects\)\."
    )
    with pytest.raises(SplitError, match=message):
        subject_folds([1] * 18, SUBJECTS, DIGESTS, n_folds=2, seed=0)


def test_class_of_a_single_subject_cannot_be_tested():
    labels = [int(subject == "S0") for subject in SUBJECTS]
    with pytest.raises(SplitError, match="each training part must hold both classes, got a single class in fold"):
        subject_folds(labels, SUBJECTS, DIGESTS, n_folds=3, seed=0)


def test_image_folds_are_shuffled_and_watch_their_test_images():
    folds = image_folds(20, n_folds=4, seed=0)
    for fold in folds:
        assert len(fold.test) == 5
        assert fold.validation.tolist() == fold.test.tolist()
        assert sorted([*fold.train, *fold.test]) == list(range(20))
    assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(20))
    assert folds[0].test.tolist() != list(range(5))
    assert folds[0].test.tolist() == image_folds(20, n_folds=4, seed=0)[0].test.tolist()


def test_fewer_images_than_folds():
    with pytest.raises(SplitError, match=r"`n_folds` must be at most the number of images \(3\), got 4\."):
        image_folds(3, n_folds=4, seed=0)
