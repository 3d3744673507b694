"""What the measures of confidence have no answer for is refused in words."""

from collections.abc import Callable, Iterator
from functools import partial

import jaxtyping
import numpy as np
import pytest

from leukospike.confidence import (
    Guarantee,
    OperatingPoint,
    Pooling,
    SubjectModel,
    compare_poolings,
    count_blasts,
    coverage,
    cross_fitted_calls,
    cross_fitted_distances,
    cross_fitted_probabilities,
    cross_fitted_sets,
    fit_conformal,
    fit_mahalanobis,
    fit_subject_model,
    flag_threshold,
    least_subjects,
    left_out,
    mean_over_subjects,
    pool,
    score_subjects,
    shift_prevalence,
    threshold_at_sensitivity,
)
from leukospike.errors import ConfigError, DataError, LeukospikeError, SplitError

SUBJECTS = np.array([f"S{i % 24}" for i in range(96)])
LABELS = np.array([i % 24 % 3 == 0 for i in range(96)], dtype=np.int64)
PROBABILITIES = np.random.default_rng(0).random(96)


@pytest.fixture(autouse=True)
def _without_type_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.parametrize("guarantee", list(Guarantee))
def test_the_text_of_a_guarantee_is_the_guarantee(guarantee: Guarantee) -> None:
    def fit(named: str) -> object:
        return fit_conformal(PROBABILITIES, LABELS, SUBJECTS, alpha=0.2, guarantee=named)

    assert fit(str(guarantee)) == fit(guarantee)


def test_an_unknown_guarantee_is_refused() -> None:
    with pytest.raises(ConfigError, match="guarantee must be one of marginal, by_class, got 'bogus'"):
        fit_conformal(PROBABILITIES, LABELS, SUBJECTS, alpha=0.2, guarantee="bogus")


@pytest.mark.parametrize("value", [np.nan, -0.1, 1.1])
def test_what_is_no_probability_is_refused(value: float) -> None:
    point = OperatingPoint(0.5, 0.9, 0.9, 0.9, 3, 3)
    for call in (point.calls, lambda values: shift_prevalence(values, 0.5, 0.1)):
        with pytest.raises(DataError, match="probabilities must be from 0 to 1"):
            call(np.array([0.5, value]))


@pytest.mark.parametrize(
    ("sets", "labels", "message"),
    [
        (np.zeros((0, 2), bool), np.zeros(0, np.int64), "the same length, at least 1, got"),
        (np.zeros((3, 2), bool), np.zeros(2, np.int64), "the same length, at least 1, got"),
        (np.zeros((2, 2), bool), np.array([0, -1]), "labels must be 0 or 1, got"),
        (np.zeros(2, bool), np.array([0, 1]), r"sets must be Booleans of shape \(cells, 2\), got bool of shape \(2,\)"),
        (np.full((2, 2), 0.5), np.array([0, 1]), "sets must be Booleans of shape .*, got float64"),
    ],
)
def test_coverage_of_what_cannot_be_counted_is_refused(sets: np.ndarray, labels: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        coverage(sets, labels, np.array(["A", "B"])[: len(labels)])


NOT_ALL_NAMED = np.where(SUBJECTS == "S0", None, SUBJECTS)
FOLDS = np.arange(96) % 24 % 4
EMBEDDINGS = np.random.default_rng(1).random((96, 3))
MODEL = SubjectModel(threshold=0.5, rate_mature=0.02, rate_normal=0.1, rate_leukemic=0.8, precision=5.0)
MATURE = np.zeros(96, bool)
COUNTS = r"n_called must be a whole number from 0 to n_cells \({n}\), got"
CELLS = "n_cells must be a whole number, at least 0, got"
LENGTHS = "must have the same length, at least 1, got"


def _scored(
    probabilities: np.ndarray = PROBABILITIES,
    subjects: np.ndarray = SUBJECTS,
    mature: np.ndarray = MATURE,
    **options: float,
) -> object:
    return score_subjects(MODEL, probabilities, subjects, mature=mature, **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: left_out(SUBJECTS[:2], FOLDS[:1]), rf"left_out: subjects and folds {LENGTHS} \[2, 1\]"),
        (
            lambda: left_out(SUBJECTS, np.where(FOLDS == 1, np.nan, FOLDS)),
            "folds must be known for every cell, got a m",
        ),
        (lambda: left_out(NOT_ALL_NAMED, FOLDS), "subjects must be known for every cell"),
        (lambda: left_out(SUBJECTS[:, None], FOLDS), r"subjects must have one dimension, got shape \(96, 1\)"),
    ],
)
def test_impossible_folds_are_refused(call: Callable[[], Iterator[object]], message: str) -> None:
    with pytest.raises(SplitError, match=message):
        next(call())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": PROBABILITIES[:0]}, rf"values and subjects {LENGTHS} \[0, 96\]"),
        ({"values": PROBABILITIES[:1]}, rf"values and subjects {LENGTHS} \[1, 96\]"),
        ({"values": PROBABILITIES * np.nan}, "values must be finite, got nan"),
        ({"values": PROBABILITIES[:, None]}, "values must have one dimension"),
        ({"subjects": NOT_ALL_NAMED}, "subjects must be known for every cell"),
        ({"n_resamples": 0}, "n_resamples must be a whole number, at least 1, got 0"),
        ({"n_resamples": np.nan}, "n_resamples must be a whole number, at least 1, got nan"),
    ],
)
def test_an_impossible_mean_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(LeukospikeError, match=f"mean_over_subjects: {message}"):
        mean_over_subjects(**{"values": PROBABILITIES, "subjects": SUBJECTS, **change})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"probabilities": PROBABILITIES[:3]}, rf"probabilities, labels and subjects {LENGTHS} \[3, 96, 96\]"),
        (
            {"probabilities": np.tile(PROBABILITIES, 2)},
            rf"probabilities, labels and subjects {LENGTHS} \[192, 96, 96\]",
        ),
        ({"probabilities": PROBABILITIES[:, None]}, r"probabilities must have one dimension, got shape \(96, 1\)"),
        ({"labels": LABELS[:, None]}, "labels must have one dimension"),
        ({"labels": np.where(LABELS == 1, 1, np.nan)}, "labels must be known for every cell"),
        ({"subjects": NOT_ALL_NAMED}, "subjects must be known for every cell"),
    ],
)
@pytest.mark.parametrize(
    "step",
    [
        partial(threshold_at_sensitivity, sensitivity=0.9),
        partial(fit_subject_model, threshold=0.5),
        partial(fit_conformal, alpha=0.2, guarantee=Guarantee.BY_CLASS),
        partial(compare_poolings, threshold=0.5, prevalence=0.5),
        partial(cross_fitted_probabilities, folds=FOLDS, prevalence=0.5),
        partial(cross_fitted_sets, folds=FOLDS, alpha=0.2, guarantee=Guarantee.BY_CLASS),
        partial(cross_fitted_calls, folds=FOLDS, sensitivity=0.9),
    ],
)
def test_cells_that_do_not_go_together_are_refused(
    step: partial[object], given: dict[str, np.ndarray], message: str
) -> None:
    cells = {"probabilities": PROBABILITIES, "labels": LABELS, "subjects": SUBJECTS}
    with pytest.raises(DataError, match=f"{step.func.__name__}: {message}"):
        step(**{**cells, **given})


@pytest.mark.parametrize("kind", [bool, np.uint8, float])
def test_labels_of_any_type_tell_the_class(kind: type) -> None:
    def fit(labels: np.ndarray) -> object:
        fitted = fit_conformal(PROBABILITIES, labels, SUBJECTS, alpha=0.2, guarantee=Guarantee.BY_CLASS)
        return fitted, coverage(fitted.sets(PROBABILITIES), labels, SUBJECTS)

    assert fit(LABELS.astype(kind)) == fit(LABELS)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        *((lambda a=a: least_subjects(a), "least_subjects: alpha must be between 0 and 1") for a in (0, 1, -1, np.nan)),
        (lambda: MODEL.posterior(-1, 3), "SubjectModel.posterior: " + COUNTS.format(n=3) + " -1"),
        (lambda: count_blasts(MODEL, -1, 3), "count_blasts: " + COUNTS.format(n=3) + " -1"),
        (lambda: count_blasts(MODEL, 4, 3), COUNTS.format(n=3) + " 4"),
        (lambda: count_blasts(MODEL, 1.5, 3), COUNTS.format(n=3) + " 1.5"),
        (lambda: count_blasts(MODEL, np.nan, 3), COUNTS.format(n=3) + " nan"),
        (lambda: count_blasts(MODEL, 1, 2.5), CELLS + " 2.5"),
        (lambda: count_blasts(MODEL, 1, np.nan), CELLS + " nan"),
        (lambda: count_blasts(MODEL, 0, -1), CELLS + " -1"),
        *(
            (
                lambda n=n: MODEL.false_rate(1, 3, n_mature=n),
                rf"false_rate: n_mature must be .* from 0 to the number of cells not called \(2\), got {n}",
            )
            for n in (-1, 3, 0.5, np.nan)
        ),
        (lambda: MODEL.posterior(1, 3, prevalence=np.nan), "prevalence must be from 1e-06 to 0.999999, got nan"),
        (
            lambda: _scored(PROBABILITIES[:3]),
            rf"score_subjects: probabilities, mature and subjects {LENGTHS} \[3, 96, 96\]",
        ),
        (
            lambda: _scored(subjects=SUBJECTS[:3]),
            rf"score_subjects: probabilities, mature and subjects {LENGTHS} \[96, 96, 3\]",
        ),
        (lambda: _scored(mature=MATURE[:3]), rf"score_subjects: .* {LENGTHS} \[96, 3, 96\]"),
        (lambda: _scored(mature=MATURE * 1.0), "score_subjects: mature must be Booleans, got float64"),
        (
            lambda: _scored(np.zeros((1, 96))),
            r"score_subjects: probabilities must have one dimension, got shape \(1, 96\)",
        ),
        (lambda: _scored(PROBABILITIES * np.nan), "score_subjects: probabilities must be from 0 to 1, got nan"),
        (lambda: _scored(subjects=NOT_ALL_NAMED), "score_subjects: subjects must be known for every cell"),
        (lambda: _scored(prevalence=1), "score_subjects: prevalence must be from"),
        (lambda: _compared(prevalence=np.nan), "compare_poolings: prevalence must be from 1e-06 to 0.999999, got nan"),
        (lambda: _compared(LABELS * 0.9), "compare_poolings: subjects of a class must differ in their probabilities"),
        (lambda: pool(PROBABILITIES[:0], SUBJECTS[:0], Pooling.ATTENTION), rf"pool: .* {LENGTHS} \[0, 0\]"),
        (lambda: pool(PROBABILITIES[:3], SUBJECTS, Pooling.ATTENTION), rf"pool: .* {LENGTHS} \[3, 96\]"),
        (
            lambda: pool(PROBABILITIES * np.nan, SUBJECTS, Pooling.ATTENTION),
            "pool: probabilities must be from 0 to 1",
        ),
        (lambda: pool(PROBABILITIES, NOT_ALL_NAMED, Pooling.ATTENTION), "pool: subjects must be known for every cell"),
        (
            lambda: pool(PROBABILITIES, SUBJECTS, "median"),
            "pool: pooling must be one of mean_probability, .*, got median",
        ),
    ],
)
def test_subjects_that_have_no_answer_are_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(LeukospikeError, match=message):
        call()


def _compared(probabilities: np.ndarray = PROBABILITIES, *, threshold: float = 0.5, prevalence: float = 0.5) -> object:
    return compare_poolings(probabilities, LABELS, SUBJECTS, threshold=threshold, prevalence=prevalence)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, np.nan, np.inf])
def test_a_threshold_that_is_no_probability_is_refused(threshold: float) -> None:
    with pytest.raises(ConfigError, match="fit_subject_model: threshold must be from 0 to 1, got"):
        fit_subject_model(PROBABILITIES, LABELS, SUBJECTS, threshold=threshold)
    with pytest.raises(ConfigError, match="compare_poolings: threshold must be from 0 to 1, got"):
        _compared(threshold=threshold)


def test_no_cells_no_scores() -> None:
    assert _scored(PROBABILITIES[:0], SUBJECTS[:0], MATURE[:0]) == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: fit_mahalanobis(EMBEDDINGS[:, 0], LABELS),
            r"embeddings must be of shape \(cells, features\), got \(96,\)",
        ),
        (lambda: fit_mahalanobis(EMBEDDINGS[:, :0], LABELS), r"embeddings must be of shape .* got \(96, 0\)"),
        (lambda: fit_mahalanobis(EMBEDDINGS[:0], LABELS[:0]), rf"embeddings and labels {LENGTHS} \[0, 0\]"),
        (
            lambda: fit_mahalanobis(EMBEDDINGS, LABELS[:3]),
            rf"fit_mahalanobis: embeddings and labels {LENGTHS} \[96, 3\]",
        ),
        (lambda: fit_mahalanobis(EMBEDDINGS, LABELS[:, None]), "labels must have one dimension"),
        (lambda: fit_mahalanobis(EMBEDDINGS, LABELS * np.nan), "labels must be known for every cell"),
        (
            lambda: fit_mahalanobis(EMBEDDINGS, LABELS).distances(EMBEDDINGS[0]),
            r"distances: embeddings must be of shape",
        ),
        (lambda: _far(EMBEDDINGS[:3]), rf"cross_fitted_distances: embeddings and subjects {LENGTHS} \[3, 96\]"),
        (lambda: _far(EMBEDDINGS[:, 0]), "cross_fitted_distances: embeddings must be of shape"),
        (lambda: flag_threshold(PROBABILITIES[:2], SUBJECTS[:1]), rf"distances and subjects {LENGTHS} \[2, 1\]"),
        (lambda: flag_threshold(PROBABILITIES[:0], SUBJECTS[:0]), rf"distances and subjects {LENGTHS} \[0, 0\]"),
        (lambda: flag_threshold(EMBEDDINGS, SUBJECTS), "flag_threshold: distances must have one dimension"),
        (lambda: flag_threshold(PROBABILITIES, NOT_ALL_NAMED), "flag_threshold: subjects must be known for every cell"),
    ],
)
def test_embeddings_and_distances_that_cannot_be_are_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        call()


def _far(embeddings: np.ndarray) -> object:
    return cross_fitted_distances(
        lambda cells: fit_mahalanobis(embeddings[cells], LABELS[cells]), embeddings, SUBJECTS, FOLDS
    )
