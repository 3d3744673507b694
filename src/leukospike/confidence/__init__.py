"""How far a score can be trusted, in terms of subjects.

`calibration` calibrates probabilities, `conformal` returns sets of labels, `thresholds` picks operating points, and
`outliers` flags cells unlike those trained on. `subject_score` goes from cells to subjects, `differential` counts their
cells by kind, and `decision` says in one word what follows. Shared code is in `subjects`; `stored` reads fitted values
back from weights files.
"""

from leukospike.confidence.calibration import (
    Calibration,
    cross_fitted_probabilities,
    fit_calibration,
    shift_prevalence,
)
from leukospike.confidence.conformal import (
    ConformalThresholds,
    Coverage,
    Guarantee,
    coverage,
    cross_fitted_sets,
    fit_conformal,
    least_subjects,
)
from leukospike.confidence.decision import CERTAIN, FEWEST_COUNTED, Decision, Outcome, decide
from leukospike.confidence.differential import Differential, KindShare, differential
from leukospike.confidence.outliers import (
    FALSE_FLAGS,
    Distance,
    MahalanobisDistance,
    cross_fitted_distances,
    fit_mahalanobis,
    flag_threshold,
)
from leukospike.confidence.subject_score import (
    EVEN,
    LEAST_SHARE,
    BlastCount,
    Pooling,
    PoolingFigures,
    SubjectModel,
    SubjectScore,
    compare_poolings,
    count_blasts,
    fit_subject_model,
    pool,
    score_subjects,
)
from leukospike.confidence.subjects import SubjectMean, left_out, mean_over_subjects
from leukospike.confidence.thresholds import OperatingPoint, cross_fitted_calls, threshold_at_sensitivity

__all__ = [
    "CERTAIN",
    "EVEN",
    "FALSE_FLAGS",
    "FEWEST_COUNTED",
    "LEAST_SHARE",
    "BlastCount",
    "Calibration",
    "ConformalThresholds",
    "Coverage",
    "Decision",
    "Differential",
    "Distance",
    "Guarantee",
    "KindShare",
    "MahalanobisDistance",
    "OperatingPoint",
    "Outcome",
    "Pooling",
    "PoolingFigures",
    "SubjectMean",
    "SubjectModel",
    "SubjectScore",
    "compare_poolings",
    "count_blasts",
    "coverage",
    "cross_fitted_calls",
    "cross_fitted_distances",
    "cross_fitted_probabilities",
    "cross_fitted_sets",
    "decide",
    "differential",
    "fit_calibration",
    "fit_conformal",
    "fit_mahalanobis",
    "fit_subject_model",
    "flag_threshold",
    "least_subjects",
    "left_out",
    "mean_over_subjects",
    "pool",
    "score_subjects",
    "shift_prevalence",
    "threshold_at_sensitivity",
]
