"""CLAIM 2024 and TRIPOD+AI, answered item by item from the records of a run.

The items are paraphrased; for the original wording see the papers. An answer only repeats what a file in the run folder
states. Anything recorded in no file, or known only to the people behind the data, is "not recorded". "Not applicable"
is used only if nothing could be recorded, such as the age of drawn cells.

References
----------
.. [1] Tejani et al., Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 update, Radiology:
   Artificial Intelligence 6(4):e240300, 2024, doi 10.1148/ryai.240300.
.. [2] Collins et al., TRIPOD+AI statement, BMJ 385:e078378, 2024, doi 10.1136/bmj-2023-078378.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from leukospike.evaluation.estimates import METRICS, Metrics
from leukospike.evaluation.metrics import THRESHOLD
from leukospike.experiments.results import Run
from leukospike.report.words import METRIC_TITLES, PROTOCOL_MEANINGS, with_interval


class Status(StrEnum):
    """How far a run answers an item."""

    RECORDED = "recorded"
    IN_PART = "in part"
    NOT_RECORDED = "not recorded"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True)
class Answer:
    """What a run says to an item."""

    status: Status
    words: str


@dataclass(frozen=True)
class Row:
    """One item with its answer."""

    number: str
    part: str
    asks: str
    status: Status
    answer: str


@dataclass(frozen=True)
class Checklist:
    """One guideline, answered."""

    name: str
    source: str
    rows: tuple[Row, ...]

    @property
    def counts(self) -> str:
        """How many items have which answer, in words."""
        counts = Counter(row.status for row in self.rows)
        return ", ".join(f"{counts[status]} {status.value}" for status in Status)


CLAIM: tuple[tuple[str, str, str], ...] = (
    ("1", "Title", "the title names the study as one of artificial intelligence, and the kind of it"),
    ("2", "Abstract", "summary of design, methods, results and conclusions"),
    ("3", "Introduction", "scientific and clinical background, and intended use of the method"),
    ("4", "Introduction", "aims and hypotheses"),
    ("5", "Study design", "whether data were collected for the study (prospective) or before it (retrospective)"),
    ("6", "Study design", "goal of the study: a new model, evaluation of a model, feasibility, ..."),
    ("7", "Data", "data sources"),
    ("8", "Data", "inclusion and exclusion criteria, place and time"),
    ("9", "Data", "preprocessing of images"),
    ("10", "Data", "selection of subsets of the data, and why"),
    ("11", "Data", "de-identification of the data"),
    ("12", "Data", "handling of missing data"),
    ("13", "Data", "image acquisition: smear, stain, microscope, camera"),
    ("14", "Reference standard", "how the labels were obtained"),
    ("15", "Reference standard", "reason for this kind of label"),
    ("16", "Reference standard", "source of the labels, and qualification of the annotators"),
    ("17", "Reference standard", "how the test images were labelled"),
    ("18", "Reference standard", "agreement between and within annotators"),
    ("19", "Data partitions", "assignment of images to training, tuning and test sets"),
    ("20", "Data partitions", "level at which the partitions are disjoint"),
    ("21", "Testing data", "intended number of test cases, and how it was determined"),
    ("22", "Model", "the model in enough detail to build it: input, layers, output"),
    ("23", "Model", "software, with versions"),
    ("24", "Model", "origin of the initial weights"),
    ("25", "Training", "how it was trained: augmentation, hyperparameters, number of models"),
    ("26", "Training", "how the final model was chosen"),
    ("27", "Training", "whether models were combined, and how"),
    ("28", "Evaluation", "performance metrics"),
    ("29", "Evaluation", "how uncertainty and significance were computed"),
    ("30", "Evaluation", "robustness to other data or assumptions"),
    ("31", "Evaluation", "methods of explanation, and how they were validated"),
    ("32", "Evaluation", "tests on data from the same source"),
    ("33", "Evaluation", "tests on data from elsewhere"),
    ("34", "Evaluation", "registration, if it is a clinical trial"),
    ("35", "Results: data", "numbers of people and images included and excluded"),
    ("36", "Results: data", "characteristics of people and cases in each partition: age, sex, disease"),
    ("37", "Results: performance", "the measures with their uncertainty"),
    ("38", "Results: performance", "diagnostic performance with its precision"),
    ("39", "Results: performance", "analysis of misclassified cases"),
    ("40", "Discussion", "limits of the study"),
    ("41", "Discussion", "implications for practice, with intended use"),
    ("42", "Other information", "access to the full protocol or further technical details"),
    ("43", "Other information", "availability of software, trained model and data"),
    ("44", "Other information", "sources of funding, and the role of the funders"),
)
"""Number, part and content of the 44 items of CLAIM 2024 [1]_, paraphrased."""

TRIPOD_AI: tuple[tuple[str, str, str], ...] = (
    ("1", "Title", "the title names a prediction model developed or evaluated, for whom, and what it predicts"),
    ("2", "Abstract", "an abstract by TRIPOD+AI for Abstracts"),
    ("3a", "Introduction", "the healthcare context, the rationale for the model, and existing models"),
    ("3b", "Introduction", "target population, place in the care pathway, and intended users"),
    ("3c", "Introduction", "known inequalities in health between groups of people"),
    ("4", "Introduction", "the aims: development, evaluation, or both"),
    ("5a", "Data", "sources of the data for development and evaluation, and how representative they are"),
    ("5b", "Data", "when the data were collected"),
    ("6a", "Participants", "the setting, with number and place of the centres"),
    ("6b", "Participants", "who was eligible"),
    ("6c", "Participants", "treatments received"),
    ("7", "Data preparation", "preparation and quality checks, and whether alike in all groups of people"),
    ("8a", "Outcome", "the outcome predicted, when and how it was determined, and why it was chosen"),
    ("8b", "Outcome", "if it requires judgment: the assessors and their qualification"),
    ("8c", "Outcome", "how they were blinded"),
    ("9a", "Predictors", "how the predictors were chosen"),
    ("9b", "Predictors", "each predictor, and how and when it was measured"),
    ("9c", "Predictors", "if measuring requires judgment: the assessors and their qualification"),
    ("10", "Sample size", "how the sample size was determined, and whether it suffices"),
    ("11", "Missing data", "how missing data were handled"),
    (
        "12a",
        "Analytical methods",
        "which data were used for development and which for evaluation, and how they were divided",
    ),
    ("12b", "Analytical methods", "how predictors were handled: form, scale, transformation"),
    ("12c", "Analytical methods", "type of model, steps of building it, hyperparameters, internal validation"),
    ("12d", "Analytical methods", "how differences between clusters (hospitals, countries) were dealt with"),
    ("12e", "Analytical methods", "measures and plots of performance: discrimination, calibration, clinical utility"),
    ("12f", "Analytical methods", "any updating of the model, such as recalibration"),
    ("12g", "Analytical methods", "how the predictions were computed in the evaluation"),
    ("13", "Class imbalance", "methods used against class imbalance, and any recalibration after them"),
    ("14", "Fairness", "approaches to fairness, and why"),
    ("15", "Model output", "output of the model, and thresholds with their rationale"),
    ("16", "Training versus evaluation", "how development and evaluation data differ"),
    ("17", "Ethical approval", "ethics committee and consent, or the waiver"),
    ("18a", "Open science", "funding, and the role of the funders"),
    ("18b", "Open science", "conflicts of interest"),
    ("18c", "Open science", "access to the study protocol, or that there is none"),
    ("18d", "Open science", "registration, or that there is none"),
    ("18e", "Open science", "availability of the data"),
    ("18f", "Open science", "availability of the code"),
    ("19", "Patient and public involvement", "involvement of patients and the public, or that there was none"),
    ("20a", "Results: participants", "the flow of participants, with and without the outcome"),
    ("20b", "Results: participants", "their characteristics, overall and by setting, with missing data"),
    ("20c", "Results: participants", "in an evaluation: their comparison with the development data"),
    ("21", "Results: development", "participants and outcomes in each analysis"),
    ("22", "Results: specification", "the whole model, so that others can predict with it"),
    ("23a", "Results: performance", "performance with confidence intervals, for key subgroups too"),
    ("23b", "Results: performance", "differences of performance between clusters, if examined"),
    ("24", "Results: updating", "results of any updating"),
    ("25", "Discussion", "interpretation of the results, with regard to fairness and earlier studies"),
    ("26", "Discussion", "limits: sample, size, overfitting, missing data"),
    ("27a", "Discussion", "handling of poor or missing input when the model is used"),
    ("27b", "Discussion", "whether users must handle the input, and what expertise they need"),
    ("27c", "Discussion", "next steps, applicability and generalisability"),
)
"""Number, part and content of the 27 items of TRIPOD+AI [2]_ with their letters, paraphrased."""


def answered_checklists(run: Run) -> tuple[Checklist, Checklist]:
    """Answer CLAIM 2024 and TRIPOD+AI from a run.

    Parameters
    ----------
    run : Run

    Returns
    -------
    tuple of Checklist
        Every item of each, in the order of the guideline.
    """
    said = _Said(run)
    claim, tripod = _claim_answers(said), _tripod_answers(said)
    return (
        Checklist("CLAIM 2024", "Tejani et al., doi 10.1148/ryai.240300", _rows(CLAIM, claim)),
        Checklist("TRIPOD+AI", "Collins et al., doi 10.1136/bmj-2023-078378", _rows(TRIPOD_AI, tripod)),
    )


def _rows(items: tuple[tuple[str, str, str], ...], answers: Mapping[str, Answer]) -> tuple[Row, ...]:
    """Put items and answers together; an item without one is not recorded."""
    unknown = Answer(Status.NOT_RECORDED, "")
    found = [(item, answers.get(item[0], unknown)) for item in items]
    return tuple(Row(*item, answer.status, answer.words) for item, answer in found)


def _recorded(words: str) -> Answer:
    """Answer in full."""
    return Answer(Status.RECORDED, words)


def _in_part(words: str, missing: str) -> Answer:
    """Answer, and say what is missing."""
    return Answer(Status.IN_PART, f"{words} Not recorded: {missing}.")


def _not_applicable(why: str) -> Answer:
    """Explain why nothing could be recorded."""
    return Answer(Status.NOT_APPLICABLE, why)


class _Said:
    """What a run says of the things that both guidelines ask for."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.result = run.result
        self.settings = run.settings

    def setting(self, name: str) -> str:
        """Repeat a setting with its name."""
        return f"{name} {self.settings.get(name, 'not set')}"

    def source(self) -> str:
        """Describe the data."""
        data = self.result.data
        digest = f", digest of the pixels {data.digest[:12]}" if data.digest else ""
        credit = f" {data.credit.rstrip('.')}." if data.credit else ""
        return f"{data.name}, layout {data.layout}{digest}.{credit}"

    def sizes(self) -> str:
        """Count images and subjects."""
        data = self.result.data
        people = "; subjects are unknown"
        if data.subjects_per_class is not None:
            normal, leukemic = data.subjects_per_class
            people = f" of {data.subjects} subjects ({leukemic} leukemic, {normal} normal)"
        return (
            f"{data.images} images ({data.cells_per_class[1]} leukemic, {data.cells_per_class[0]} normal){people};"
            f" {data.failed} could not be read (failures.csv)."
        )

    def folds(self) -> str:
        """Count cells and subjects in each part of each fold."""
        counts = "; ".join(
            f"fold {fold.fold}: {fold.train_cells} training, {fold.validation_cells} validation, {fold.test_cells} test"
            " cells"
            + (f" ({fold.train_subjects} training, {fold.test_subjects} test subjects)" if fold.train_subjects else "")
            for fold in self.result.folds
        )
        return f"{counts} (metrics.json)."

    def partition(self) -> str:
        """Describe how the parts were formed."""
        held_out = " One part was held out and tested; the others were not." if self.result.hold_out else ""
        return (
            f"{PROTOCOL_MEANINGS[self.result.protocol]} {self.setting('n_folds')}, {self.setting('seed')}"
            f" (config.toml).{held_out} {self.folds()}"
        )

    def disjoint(self) -> str:
        """State the level at which parts are disjoint, and whether the predictions confirm it."""
        run = self.run
        level = {
            "honest": "subject",
            "image": "image; one subject may be in several",
            "paper": "single picture; copies of one image, and one subject, may be in several",
        }[self.result.protocol]
        counted = (
            f"{_in_several_folds(run, 'subject')} subjects" if run.has_subjects else "an unknown number of subjects"
        )
        return (
            f"Parts are disjoint by {level}. By predictions.csv, {_in_several_folds(run, 'image')} images and"
            f" {counted} are tested in several folds."
        )

    def preparation(self) -> str:
        """Repeat the settings of what is done before the network."""
        names = ("backbone", "image_size", "blur_window", "n_components", "augmented_copies")
        told = [self.setting(name) for name in names if name in self.settings]
        return f"{', '.join(told)} (config.toml)."

    def training(self) -> str:
        """Repeat the settings of the training."""
        names = ("epochs", "batch_size", "learning_rate", "augmented_copies", "hidden_units", "pretrained", "seed")
        return (
            f"Models: {len(self.result.folds)}, one per fold;"
            f" {', '.join(self.setting(name) for name in names if name in self.settings)} (config.toml); loss,"
            " accuracy and learning rate of each epoch (history.csv)."
        )

    def software(self) -> str:
        """List what has a version, and the machine."""
        prefix = "versions."
        versions = {
            name.removeprefix(prefix): value for name, value in self.settings.items() if name.startswith(prefix)
        }
        versions |= {name: value for name, value in self.result.environment.items() if name not in versions and value}
        return "; ".join(f"{name} {value}" for name, value in versions.items()) + " (config.toml, metrics.json)."

    def missing(self) -> Answer:
        """State what was left out, and whether any prediction lacks a probability."""
        lacking = int(np.sum(~np.isfinite(self.run.probabilities)))
        return _recorded(
            f"{self.result.data.failed} images that could not be read were left out (failures.csv); {lacking} of"
            f" {self.result.cell.n} predictions lack a probability."
        )

    def model(self) -> Answer:
        """Describe the model."""
        if self.run.n_weights == 0:
            return _in_part(self.preparation(), "weights and layers")
        parts = "Weights" if self.run.components is None else "Normalisation, components and weights"
        return _in_part(
            f"{parts} (weights/*.safetensors: {self.run.n_weights}); {self.preparation()}",
            "the layers in words",
        )

    def threshold(self) -> Answer:
        """Describe the output of the model, and the threshold if the counts confirm it."""
        called = int(np.sum(self.run.probabilities >= THRESHOLD))
        output = "A probability of being leukemic, from 0 to 1 (predictions.csv)."
        if called != self.result.cell.confusion.called_leukemic:
            return _in_part(output, "the threshold")
        return _in_part(
            f"{output} {called} with {THRESHOLD:g} or more are called leukemic.", "reason for that threshold"
        )

    def measures(self) -> str:
        """List the measures."""
        return f"{', '.join(METRIC_TITLES[name][0] for name in METRICS)} (metrics.json)."

    def uncertainty(self) -> Answer:
        """State how intervals were computed, or that there are none."""
        if not self.result.cell.has_intervals:
            return Answer(Status.NOT_RECORDED, f"Intervals: {self.result.cell.interval}.")
        delong = " The ROC AUC also has DeLong's interval." if self.result.cell.delong.is_known else ""
        return _recorded(f"Intervals: {self.result.cell.interval}.{delong}")

    def performance(self, missing: str = "") -> Answer:
        """Repeat discrimination and calibration."""
        return self._figures(("roc_auc", "accuracy", "sensitivity", "specificity", "brier", "ece"), missing)

    def accuracy(self) -> Answer:
        """Repeat what a diagnostic test is judged by."""
        return self._figures(("sensitivity", "specificity", "precision"))

    def _figures(self, names: tuple[str, ...], missing: str = "") -> Answer:
        """Repeat measures by cell and by subject; recorded in full if every one has an interval."""
        tables: list[tuple[str, Metrics]] = [("cell", self.result.cell)]
        if self.result.subject is not None:
            tables.append(("subject", self.result.subject))
        words = " ".join(
            f"By {unit}: "
            + ", ".join(f"{METRIC_TITLES[name][0]} {with_interval(metrics[name])}" for name in names)
            + "."
            for unit, metrics in tables
        )
        if not all(metrics[name].is_known for _, metrics in tables for name in names):
            missing = "; ".join(filter(None, (missing, "the certainty of figures without an interval")))
        return _in_part(words, missing) if missing else _recorded(words)

    def errors(self) -> str:
        """Count the errors."""
        words = f"{self.result.cell.confusion.wrong} of {self.result.cell.n} cells"
        if self.result.subject is not None:
            words += f" and {self.result.subject.confusion.wrong} of {self.result.subject.n} subjects"
        return f"{words} are misclassified; predictions.csv lists each, and the report shows them subject by subject."

    def limits(self) -> Answer:
        """Repeat flaws and notices."""
        stated = [str(notice) for notice in (*self.result.flaws, *self.result.notices)]
        if not stated:
            return Answer(Status.NOT_RECORDED, "")
        return _in_part(" ".join(stated), "limits that a program cannot detect")


def _in_several_folds(run: Run, column: str) -> int:
    """Count the subjects, or images, that have predictions in several folds."""
    pairs = run.predictions[[column, "fold"]].drop_duplicates()
    return sum(count > 1 for count in Counter(pairs[column].tolist()).values())


def _claim_answers(said: _Said) -> dict[str, Answer]:
    """Answer the items of CLAIM 2024 that a run says anything to."""
    result = said.result
    normal, leukemic = result.data.class_names
    answers = {
        "2": _in_part("The report's “In short” gives design, methods and results.", "conclusions"),
        "7": _recorded(said.source()) if result.data.credit else _in_part(said.source(), "the origin of the data"),
        "8": _in_part(said.sizes(), "how people and images were selected for the data set, where and when"),
        "9": _in_part(f"Sizes: {said.preparation()}", "the steps themselves"),
        "10": _in_part(
            f"{said.setting('max_cells')} (config.toml); {result.data.images} images were used.",
            "reason for the selection",
        ),
        "12": said.missing(),
        "14": _in_part(
            f"Labels as given by the data set: “{leukemic}” is leukemic, “{normal}” normal.", "how they were obtained"
        ),
        "19": _recorded(said.partition()),
        "20": _recorded(said.disjoint()),
        "21": Answer(Status.NOT_RECORDED, f"{result.cell.n} were tested; the intended number is not recorded."),
        "22": said.model(),
        "23": _recorded(said.software()),
        "24": _in_part(f"{said.setting('seed')} (config.toml).", "distribution of the initial weights"),
        "25": _in_part(said.training(), "optimiser, loss, and the range of the augmentation"),
        "26": _in_part("Figures of every epoch (history.csv).", "which epoch's weights were kept, and why"),
        "27": _in_part(
            "Models of different folds are not combined: each prediction comes from one fold (predictions.csv).",
            "whether a fold's model is a combination",
        ),
        "28": _recorded(said.measures()),
        "29": said.uncertainty(),
        "32": _recorded(f"{result.cell.n} predictions, all on {result.data.name}."),
        "33": _recorded(
            "None in this run: all predictions are for the data set on which the models were trained in part."
        ),
        "35": _in_part(said.sizes(), "who was excluded before the data set was created"),
        "36": _in_part(f"By class and fold: {said.sizes()} {said.folds()}", "age, sex, subtype, stage"),
        "37": said.performance(),
        "38": said.accuracy(),
        "39": _in_part(said.errors(), "reasons for the errors"),
        "40": said.limits(),
        "42": _in_part("Every setting (config.toml).", "a study protocol"),
        "43": _in_part(
            f"Weights in the run folder: {said.run.n_weights}. Data: {said.source()}",
            "access to software, models and data for others",
        ),
    }
    if result.generated:
        drawn = "The cells are drawn by a program; there are no people."
        known = "Each cell was drawn as a member of its class; nobody labelled it."
        answers |= {number: _not_applicable(drawn) for number in ("5", "11", "13", "34", "36")}
        answers |= {"14": _recorded(known)} | {number: _not_applicable(known) for number in ("15", "16", "17", "18")}
    return answers


def _tripod_answers(said: _Said) -> dict[str, Answer]:
    """Answer the items of TRIPOD+AI that a run says anything to."""
    result = said.result
    normal, leukemic = result.data.class_names
    final = "A run ends with its evaluation; no model is updated after it."
    answers = {
        "5a": _in_part(said.source(), "how representative they are"),
        "6b": _in_part(said.sizes(), "how people were selected for the data set"),
        "7": _in_part(
            f"{said.preparation()} {result.data.duplicate_images} images have the same pixels as another,"
            f" {result.data.cross_subject_duplicates} as an image of another subject.",
            "the steps themselves, and quality checks before the data set was created",
        ),
        "8a": _in_part(
            f"The label of the data set: “{leukemic}” (leukemic) or “{normal}” (normal).",
            "how and when it was determined",
        ),
        "9b": _in_part(f"The pixels of each image. {said.preparation()}", "how and when the images were taken"),
        "9c": _not_applicable("The predictors are the pixels of images; they require no judgment."),
        "10": _in_part(said.sizes(), "reason for the sample size, and whether it suffices"),
        "11": said.missing(),
        "12a": _recorded(said.partition()),
        "12b": _in_part(said.preparation(), "the steps themselves"),
        "12c": _in_part(f"{said.training()} {said.disjoint()}", "type and layers of the network, optimiser and loss"),
        "12e": _recorded(f"{said.measures()} Figures in this report. {said.uncertainty().words}"),
        "12f": _not_applicable(final),
        "12g": _in_part(
            "Each cell's probability comes from the model of the fold in which it is tested (predictions.csv).",
            "how the probability of a subject is computed from its cells",
        ),
        "15": said.threshold(),
        "16": _in_part(
            f"Development and test parts come from one data set. {said.folds()}", "differences other than in numbers"
        ),
        "18e": _in_part(said.source(), "availability to others"),
        "20a": _in_part(said.sizes(), "the flow before the data set was created"),
        "20b": _in_part(f"By class: {said.sizes()}", "age, sex, subtype, stage, and which of these are missing"),
        "21": _recorded(f"{said.folds()} Pooled: {result.cell.n} tested cells, {result.cell.positives} leukemic."),
        "22": said.model(),
        "23a": said.performance("figures for groups by age, sex or similar characteristics"),
        "24": _not_applicable(final),
        "26": said.limits(),
    }
    if result.generated:
        drawn = "The cells are drawn by a program; there are no people."
        numbers = ("3c", "5b", "6a", "6b", "6c", "8b", "8c", "14", "17", "19", "20b")
        answers |= {number: _not_applicable(drawn) for number in numbers}
        answers["8a"] = _recorded("Each cell was drawn as a member of its class.")
    return answers
