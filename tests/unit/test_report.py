"""The reports: everything on the page, true to the files, whole, and safe with names from anywhere."""

import base64
import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leukospike.analysis.result import load_analysis
from leukospike.errors import RunError
from leukospike.evaluation.estimates import METRICS
from leukospike.experiments.folder import read_run
from leukospike.report import write_report
from leukospike.report.analysis_columns import AnalysisColumns
from leukospike.report.scores import card_groups
from leukospike.report.words import summary

HOSTILE = "<script>alert('x')</script>$\\frac$"


# ------------------------------------------------------------------------------------------------------------- builders


def write_rows(path: Path, header: list[str], rows: list[list[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def estimate(value: float | None, spread: float = 0.05) -> dict[str, float | None]:
    if value is None:
        return {"value": None, "low": None, "high": None}
    return {"value": value, "low": value - spread, "high": min(1.0, value + spread)}


def metrics_object(labels: np.ndarray, probabilities: np.ndarray, interval: str) -> dict[str, Any]:
    """Build METRICS; numbers that the report must repeat, not numbers to be believed."""
    called = probabilities >= 0.5
    counts = {
        "tn": int(np.sum(~called & (labels == 0))),
        "fp": int(np.sum(called & (labels == 0))),
        "fn": int(np.sum(~called & (labels == 1))),
        "tp": int(np.sum(called & (labels == 1))),
    }
    both = 0 < labels.sum() < len(labels)
    accuracy = float(np.mean(called == (labels == 1)))
    area = estimate(0.8137 if both else None)
    return {
        "n": len(labels),
        "positives": int(labels.sum()),
        "accuracy": estimate(accuracy),
        "misclassification": estimate(0.2211),
        "balanced_accuracy": estimate(0.7311 if both else None),
        "sensitivity": estimate(0.7622 if labels.sum() else None),
        "specificity": estimate(0.7044 if labels.sum() < len(labels) else None),
        "precision": estimate(0.7955),
        "f1": estimate(0.7766),
        "weighted_f1": estimate(0.7277),
        "brier": estimate(0.1788),
        "ece": estimate(0.0699),
        "roc_auc": {
            **area,
            "delong_low": area["value"] and area["value"] - 0.0123,
            "delong_high": area["value"] and area["value"] + 0.0123,
        },
        "confusion": counts,
        "interval": interval,
    }


def drawn_samples(n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draw disc-shaped "cells" and what the steps could make of them."""
    side, small = 96, 40
    rows, columns = np.mgrid[:side, :side]
    cells = np.zeros((n, side, side, 3), dtype=np.uint8)
    latency = np.full((n, side - 4, side - 4), 15, dtype=np.uint8)
    prepared = np.zeros((n, small, small), dtype=np.float32)
    for index in range(n):
        radius = rng.uniform(20, 34)
        distance = np.hypot(rows - side / 2, columns - side / 2 + 3 * rng.normal())
        texture = rng.normal(0, 14, size=(side, side, 1))
        nucleus = (distance < 0.8 * radius)[..., None]
        colour = np.where(nucleus, (96, 52, 138), (178, 158, 214)) + texture
        cells[index] = np.where((distance < radius)[..., None], colour.clip(0, 255), 0).astype(np.uint8)
        edge = np.minimum(np.abs(distance - radius), np.abs(distance - 0.8 * radius))[2:-2, 2:-2]
        inside = distance[2:-2, 2:-2] < radius + 2
        latency[index][inside] = np.clip(edge[inside] * 1.6 + rng.uniform(0, 3, inside.sum()), 0, 15).astype(np.uint8)
        wave = (latency[index] == 0).astype(np.float32)
        prepared[index] = wave[6:86, 6:86].reshape(small, 2, small, 2).mean(axis=(1, 3)) * 4 - 0.5
    reconstructed = prepared + rng.normal(0, 0.15, prepared.shape).astype(np.float32)
    return {
        "names": np.array([f"cell_{index}.png" for index in range(n)]),
        "labels": np.arange(n, dtype=np.int64) % 2,
        "cells": cells,
        "latency": latency,
        "first_wave": (latency == 0).astype(np.uint8),
        "prepared": prepared,
        "reconstructed": reconstructed,
    }


def build_run(
    folder: Path,
    *,
    protocol: str = "honest",
    generated: bool = False,
    with_subjects: bool = True,
    n_subjects: int = 15,
    n_folds: int = 4,
    subject_prefix: str = "UID_",
    only_leukemic_in_fold: int | None = None,
) -> Path:
    """Make a run folder of random but plausible numbers."""
    rng = np.random.default_rng(7)
    folder.mkdir(parents=True, exist_ok=True)
    subject_label = np.arange(n_subjects) % 3 != 0
    images, subjects, folds, labels, probabilities, copies = [], [], [], [], [], []
    for subject in range(n_subjects):
        centre = rng.normal(0.9 if subject_label[subject] else -0.7, 0.9)
        for cell in range(int(rng.integers(15, 45))):
            for copy in range(3 if protocol == "paper" else 1):
                fold = int(rng.integers(n_folds)) if protocol == "paper" else subject % n_folds
                label = bool(subject_label[subject])
                if fold == only_leukemic_in_fold:
                    label = True
                images.append(f"fold_{fold}/{subject_prefix}{subject}_{cell}.png")
                subjects.append(f"{subject_prefix}{subject:02d}" if with_subjects else "")
                folds.append(fold)
                labels.append(int(label))
                probabilities.append(float(1 / (1 + np.exp(-(centre + rng.normal(0, 1.1))))))
                copies.append(copy)
    label_array, probability_array, fold_array = np.array(labels), np.array(probabilities), np.array(folds)
    header = ["image", "subject", "fold", "label", "probability"]
    columns: list[list[Any]] = [images, subjects, folds, labels, probabilities]
    if protocol == "paper":
        header.append("copy")
        columns.append(copies)
    write_rows(folder / "predictions.csv", header, [list(row) for row in zip(*columns, strict=True)])

    interval = f"resampling of {n_subjects} subjects, 1000 times, seed 0" if with_subjects else "resampling of images"
    by_subject = None
    if with_subjects:
        means = np.array([probability_array[np.array(subjects) == name].mean() for name in sorted(set(subjects))])
        by_subject = metrics_object(subject_label.astype(int), means, interval)
    fold_entries = []
    for fold in range(n_folds):
        here = fold_array == fold
        fold_entries.append(
            {
                "fold": fold,
                "train_cells": int((~here).sum()),
                "validation_cells": 20,
                "test_cells": int(here.sum()),
                "train_subjects": n_subjects - n_subjects // n_folds if with_subjects else None,
                "test_subjects": n_subjects // n_folds if with_subjects else None,
                "n_components": 120,
                "explained_variance": 0.93,
                "cell": metrics_object(label_array[here], probability_array[here], interval),
                "subject": metrics_object(np.array([0, 1, 1] * 5), np.array([0.2, 0.7, 0.8] * 5), interval)
                if with_subjects
                else None,
            }
        )
    paper = protocol == "paper"
    metrics = {
        "protocol": protocol,
        "dataset": "c-nmc",
        "hold_out": False,
        "seed": 0,
        "generated": generated,
        "data": {
            "name": "C-NMC 2019",
            "layout": "c-nmc",
            "credit": "A. Gupta, R. Gupta, C-NMC 2019, doi 10.7937/tcia.2019.dc64i46r, CC BY 3.0",
            "images": len(set(images)),
            "subjects": n_subjects if with_subjects else 0,
            "class_names": ["hem", "all"],
            "cells_per_class": [int((label_array == 0).sum()), int(label_array.sum())],
            "subjects_per_class": [int((~subject_label).sum()), int(subject_label.sum())] if with_subjects else [0, 0],
            "failed": 0,
            "duplicate_images": 4,
            "cross_subject_duplicates": 2,
        },
        "flaws": [
            "Augmented copies of one image are on both sides of the split.",
            "PCA and normalisation are fitted on everything, test images included.",
            "Cells of one patient fall on both sides.",
        ]
        if paper
        else [],
        "notices": ["500 components asked, 120 possible, 120 used."],
        "environment": {"python": "3.12.3", "torch": "2.13.0", "processor": "x86_64", "threads": 2},
        "stages": [
            {"stage": "decode and spikes", "seconds": 71.3},
            {"stage": "PCA", "seconds": 13.9},
            {"stage": "training", "seconds": 4012.0},
        ],
        "peak_memory_mb": 1834.2,
        "folds": fold_entries,
        "pooled": {"cell": metrics_object(label_array, probability_array, interval), "subject": by_subject},
        "as_published": {"precision": 0.6543, "auc": 0.7654} if paper else None,
        "published": {"source": "Noshad and Fallahi, doi 10.1080/21681163.2022.2157748", "accuracy": 0.9894},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    (folder / "config.toml").write_text(
        f'dataset = "c-nmc"\nprotocol = "{protocol}"\nn_folds = {n_folds}\nepochs = 10\nseed = 0\nimage_size = 100\n'
        "n_components = 500\nblur_window = 9\naugmented_copies = 2\nhidden_units = 0\nbatch_size = 32\n"
        'learning_rate = 0.001\n[data]\nname = "C-NMC 2019"\n[versions]\nleukospike = "0.1.0"\n',
        encoding="utf-8",
    )
    history = []
    for fold in range(n_folds):
        for epoch in range(10):
            gap = rng.normal(0, 0.03)
            history.append(
                [fold, epoch + 1, 0.7 * 0.85**epoch, 0.6 + 0.035 * epoch, 0.7 * 0.93**epoch + 0.08 + gap,
                 0.58 + 0.02 * epoch - gap, 0.62 + 0.02 * epoch, 0.001 if epoch < 7 else 0.0003]
            )  # fmt: skip
    names = "fold,epoch,train_loss,train_accuracy,val_loss,val_accuracy,val_auc,learning_rate"
    write_rows(folder / "history.csv", names.split(","), history)
    components = []
    for fold in range(n_folds):
        ratios = np.arange(1, 121) ** -(1.05 + 0.04 * fold)
        ratios *= (0.93 + 0.02 * fold) / ratios.sum()
        components += [[fold, index + 1, ratio] for index, ratio in enumerate(ratios)]
    write_rows(folder / "components.csv", ["fold", "component", "explained_variance_ratio"], components)
    np.savez(folder / "samples.npz", **drawn_samples(4, rng))
    return folder


def build_analysis(folder: Path, *, n: int = 12, generated: bool = False, with_subjects: bool = True) -> Path:
    """Make an analysis folder of random but plausible numbers."""
    rng = np.random.default_rng(3)
    folder.mkdir(parents=True, exist_ok=True)
    probabilities = rng.beta(0.7, 0.6, n)
    rows = []
    for index, probability in enumerate(probabilities):
        subject = f"S{index % 9:02d}" if with_subjects else ""
        flags = "duplicate" if index == 1 else ""
        decision = "leukemic" if probability >= 0.5 else "normal"
        rows.append([f"cells/c{index:05d}.png", subject, float(probability), decision, flags])
    write_rows(folder / "cells.csv", ["image", "subject", "probability", "decision", "flags"], rows)
    subject_rows = []
    if with_subjects:
        for subject in sorted({row[1] for row in rows}):
            own = np.array([row[2] for row in rows if row[1] == subject])
            decision = "leukemic" if own.mean() >= 0.5 else "normal"
            leukemic = int((own >= 0.5).sum())
            subject_rows.append([subject, len(own), len(own), leukemic, own.mean(), decision, leukemic / len(own)])
    header = ["subject", "cells", "counted", "leukemic", "mean_probability", "decision", "share_leukemic"]
    write_rows(folder / "subjects.csv", header, subject_rows)
    cells = drawn_samples(8, rng)["cells"][:, 16:80, 16:80]
    np.savez(
        folder / "thumbnails.npz",
        images=np.array([row[0] for row in rows]),
        thumbnails=cells[np.arange(n) % 8],
    )
    summary = {
        "images": n + 1,
        "failed": 1,
        "model": {"run": "runs/honest", "protocol": "honest", "folds": 4},
        "generated": generated,
        "decision_threshold": 0.5,
        "notices": ["These cells are brighter than those the model learned from."],
    }
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    write_rows(folder / "failures.csv", ["image", "reason"], [["broken.png", "truncated PNG"]])
    return folder


# ------------------------------------------------------------------------------------------------------------ the page


class Page(HTMLParser):
    """What a reader finds: anchors, pictures, captions, text, and anything that could load or run."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.anchors: set[str] = set()
        self.targets: set[str] = set()
        self.tags: set[str] = set()
        self.images: list[dict[str, str | None]] = []
        self.captions: list[str] = []
        self.pieces: list[str] = []
        self._in_caption = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.add(tag)
        if found.get("id"):
            self.anchors.add(str(found["id"]))
        if tag == "a":
            self.targets.add(str(found["href"]))
        if tag == "img":
            self.images.append(found)
        if tag == "figcaption":
            self._in_caption = True
            self.captions.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "figcaption":
            self._in_caption = False

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)
        if self._in_caption:
            self.captions[-1] += data

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.pieces))


def page_of(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = build_run(tmp_path_factory.mktemp("honest"))
    write_report(run)
    return run


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = build_run(tmp_path_factory.mktemp("paper"), protocol="paper")
    write_report(run)
    return run


@pytest.fixture(scope="module")
def unknown_subjects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Paper protocol, no subjects, and a fold whose test cells are all leukemic."""
    run = build_run(
        tmp_path_factory.mktemp("unknown"), protocol="paper", with_subjects=False, n_folds=6, only_leukemic_in_fold=2
    )
    write_report(run)
    return run


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Names that would be markup, mathematics, or letters that the figures' font lacks; cells drawn by a program."""
    run = build_run(tmp_path_factory.mktemp("hostile"), generated=True, subject_prefix=f"{HOSTILE}\u8840", n_folds=2)
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    metrics["data"] |= {"name": HOSTILE, "credit": HOSTILE, "class_names": [HOSTILE, "$x_$"]}
    metrics["notices"] = [HOSTILE, "half a character: \ud800"]
    (run / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    write_rows(run / "failures.csv", ["image", "reason"], [[HOSTILE, "truncated PNG"]])
    write_report(run)
    return run


SECTIONS = {
    "short",
    "what",
    "steps",
    "pca",
    "learning",
    "telling",
    "calibration",
    "worth",
    "by-subject",
    "tables",
    "guidelines",
    "credit",
}
FIGURES = {
    "samples",
    "pca_spectrum",
    "reconstructions",
    "training",
    "roc",
    "confusion",
    "reliability",
    "decision_curve",
    "subjects",
}


@pytest.mark.parametrize("name", ["honest", "paper"])
def test_run_report_has_every_section_and_captioned_figure(name: str, request: pytest.FixtureRequest) -> None:
    run = request.getfixturevalue(name)
    page = page_of(run / "report.html")
    assert page.anchors >= SECTIONS | FIGURES
    assert {target.removeprefix("#") for target in page.targets} <= page.anchors
    assert len(page.images) == len(page.captions) == len(FIGURES)
    assert all(image["alt"] and str(image["src"]).startswith("data:image/png;base64,") for image in page.images)
    assert all(f"Protocol “{name}”" in caption for caption in page.captions)
    assert {path.stem for path in (run / "figures").glob("*.png")} == FIGURES
    assert not list(run.rglob(".*"))


def test_figures_on_the_page_are_those_in_the_folder(honest: Path) -> None:
    page = page_of(honest / "report.html")
    inline = {base64.b64decode(str(image["src"]).partition(",")[2]) for image in page.images}
    assert inline == {path.read_bytes() for path in (honest / "figures").glob("*.png")}


@pytest.mark.parametrize("name", ["honest", "paper", "unknown_subjects", "hostile"])
def test_run_report_needs_nothing_but_itself(name: str, request: pytest.FixtureRequest) -> None:
    page = page_of(request.getfixturevalue(name) / "report.html")
    assert not {"script", "link", "iframe", "object", "embed"} & page.tags
    assert all(target.startswith("#") for target in page.targets)
    assert not re.search(r"https?://|file:|url\(|@import", page.html)
    assert "default-src 'none'" in page.html


def test_run_report_repeats_the_figures_of_metrics_json(honest: Path) -> None:
    text = page_of(honest / "report.html").text
    metrics = json.loads((honest / "metrics.json").read_text(encoding="utf-8"))
    cell = metrics["pooled"]["cell"]
    for name in METRICS:
        entry = cell[name]
        assert f"{entry['value']:.3f} ({entry['low']:.3f} to {entry['high']:.3f})" in text, name
    area = cell["roc_auc"]
    assert f"{area['value']:.3f} ({area['delong_low']:.3f} to {area['delong_high']:.3f})" in text
    accuracies = [f"{fold['cell']['accuracy']['value']:.3f}" for fold in metrics["folds"]]
    assert " ".join(accuracies) in text
    assert metrics["data"]["credit"] in text
    assert metrics["notices"][0] in text
    assert cell["interval"] in text


def test_research_banner_is_on_the_page_and_the_drawn_one_only_where_due(honest: Path, hostile: Path) -> None:
    real, drawn = page_of(honest / "report.html").text, page_of(hostile / "report.html").text
    assert "Research use only, not a diagnosis." in real
    assert "Research use only, not a diagnosis." in drawn
    assert "drawn by a program" not in real
    assert "These cells are drawn by a program. No patient is behind them." in drawn
    assert "0.9894" in real
    assert "0.9894" not in drawn


def test_paper_report_names_flaws_and_labels_wrong_formulas(paper: Path, honest: Path) -> None:
    text = page_of(paper / "report.html").text
    metrics = json.loads((paper / "metrics.json").read_text(encoding="utf-8"))
    assert all(flaw in text for flaw in metrics["flaws"])
    assert "this run, the paper's formula (wrong)" in text
    assert "0.9894" in text
    assert "0.654" in text
    assert "0.765" in text
    assert "Augmented copies are counted as separate cells" in text
    assert "What is wrong with this protocol" not in page_of(honest / "report.html").text


def test_unknown_subjects_and_one_class_folds_are_dashes_with_reasons(unknown_subjects: Path) -> None:
    page = page_of(unknown_subjects / "report.html")
    assert "subjects" not in page.anchors
    assert "There are no figures by subject" in page.text
    assert re.search(
        r"fold 2: all \d+ are labelled leukemic, so figures that need both classes cannot be computed", page.text
    )
    assert "0.814 0.814 \N{EN DASH} 0.814" in page.text
    assert not (unknown_subjects / "figures" / "subjects.png").exists()


def test_one_class_in_all_folds_is_said_not_drawn(tmp_path: Path) -> None:
    run = build_run(tmp_path, n_subjects=4, n_folds=2, only_leukemic_in_fold=0)
    rows = read_rows(run / "predictions.csv")
    write_rows(run / "predictions.csv", list(rows[0]), [list((row | {"label": 1}).values()) for row in rows])
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    only = metrics_object(np.ones(5, dtype=int), np.linspace(0, 1, 5), "resampling")
    metrics["pooled"] = {"cell": only, "subject": only}
    for fold in metrics["folds"]:
        fold |= {"cell": only, "subject": only}
    (run / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    page = page_of(write_report(run))
    assert "roc" not in page.anchors
    assert "There is no ROC curve" in page.text
    assert "There is no decision curve" in page.text
    assert "there are no results" in page.text


def test_hostile_names_stay_text(hostile: Path) -> None:
    page = page_of(hostile / "report.html")
    assert "<script" not in page.html
    assert "&lt;script&gt;" in page.html
    assert HOSTILE in page.text
    assert "\u8840" in page.text
    assert "half a character: \\ud800" in page.text


def test_interval_down_to_chance_is_called_guessing(tmp_path: Path) -> None:
    run = build_run(tmp_path, n_folds=2)
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    words = "not shown to be better than guessing"
    assert not any(words in paragraph for paragraph in summary(read_run(run)))
    metrics["pooled"]["cell"]["roc_auc"]["low"] = 0.49
    (run / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    assert any(words in paragraph for paragraph in summary(read_run(run)))


def test_interval_without_width_is_not_known(tmp_path: Path) -> None:
    run = build_run(tmp_path, n_folds=2)
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    metrics["pooled"]["cell"]["sensitivity"] |= {"value": 1.0, "low": 1.0, "high": 1.0 - 1e-15}
    metrics["pooled"]["cell"]["f1"] |= {"value": 0.9998, "low": 0.9996, "high": 0.9999}  # narrow, but with a width
    (run / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    text = page_of(write_report(run)).text.partition("Answers from this run")[0]
    assert "sensitivity, by cell 1.000 interval unknown" in text
    assert "1.000 (interval unknown)" in text
    assert "1.000 (1.000 to 1.000)" in text
    assert "an interval is unknown if every resample gives the same figure" in text


def test_nothing_is_concluded_from_four_subjects_of_a_class(tmp_path: Path) -> None:
    run = build_run(tmp_path, n_subjects=12, n_folds=2)
    page = page_of(write_report(run))
    reason = "unknown, because fewer than 5 subjects of a class were tested"
    assert f"Intervals are {reason}: these data cannot show how certain" in page.text
    assert f"Intervals: {reason}." in page.text
    assert f"There is no band: intervals are {reason}." in page.text
    assert "How to read this: the figures describe only those who were tested" in page.text
    assert not re.search(r"\d\.\d{3} \(\d", page.text)
    for claim in ("better than guessing", "better than the better of the two", "band comes from"):
        assert claim not in page.text


def test_misclassification_is_what_accuracy_leaves_where_a_run_has_none(tmp_path: Path) -> None:
    run = build_run(tmp_path, n_folds=2)
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    del metrics["pooled"]["cell"]["misclassification"]
    metrics["pooled"]["cell"]["accuracy"] = {"value": 0.75, "low": 0.625, "high": 0.8125}
    (run / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    assert "0.250 (0.188 to 0.375)" in page_of(write_report(run)).text


def test_one_fold_held_out_is_not_called_cross_validation(tmp_path: Path) -> None:
    run = build_run(tmp_path, n_subjects=6, n_folds=3)
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert "split into 3 parts. A network was trained 3 times" in summary(read_run(run))[0]
    metrics |= {"hold_out": True, "folds": metrics["folds"][:1]}
    (run / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    assert "split into 3 parts. A network was trained once" in summary(read_run(run))[0]


def test_subject_names_are_not_read_as_numbers(tmp_path: Path) -> None:
    run = build_run(tmp_path, n_subjects=6, n_folds=2, subject_prefix="")
    assert set(read_run(run).predictions["subject"].tolist()) == {"00", "01", "02", "03", "04", "05"}


RUN_FILES = ["metrics.json", "config.toml", "predictions.csv", "history.csv", "components.csv", "samples.npz"]


@pytest.mark.parametrize("missing", RUN_FILES)
def test_missing_file_of_a_run_is_named(missing: str, tmp_path: Path) -> None:
    run = build_run(tmp_path, n_subjects=6, n_folds=2)
    (run / missing).unlink()
    with pytest.raises(RunError, match=rf"^read_run: folder must hold {re.escape(missing)}, got .* without it\."):
        write_report(run)


@pytest.mark.parametrize("damaged", RUN_FILES)
def test_damaged_file_of_a_run_is_named_and_the_old_report_kept(damaged: str, tmp_path: Path) -> None:
    run = build_run(tmp_path, n_subjects=6, n_folds=2)
    (run / "report.html").write_text("the old one", encoding="utf-8")
    (run / damaged).write_text("\x00 not what a run writes", encoding="utf-8")
    with pytest.raises(RunError, match=rf"^read_run: {re.escape(damaged)} must be as leukospike wrote it") as error:
        write_report(run)
    assert "\n" not in str(error.value)
    assert (run / "report.html").read_text(encoding="utf-8") == "the old one"


def test_incomplete_metrics_are_named(tmp_path: Path) -> None:
    run = build_run(tmp_path, n_subjects=6, n_folds=2)
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    del metrics["pooled"]["cell"]["brier"]
    (run / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    with pytest.raises(RunError, match=r"metrics\.json must be as leukospike wrote it, got .*KeyError: 'brier'"):
        write_report(run)


def test_pickled_samples_are_refused(tmp_path: Path) -> None:
    run = build_run(tmp_path, n_subjects=6, n_folds=2)
    arrays = dict(np.load(run / "samples.npz"))
    np.savez(run / "samples.npz", **(arrays | {"names": np.array([{}], dtype=object)}))
    with pytest.raises(RunError, match=r"samples\.npz must be as leukospike wrote it, got .*allow_pickle=False"):
        write_report(run)


# ------------------------------------------------------------------------------------------------------------- analysis


def test_analysis_report_orders_all_cells_by_probability(tmp_path: Path) -> None:
    out = build_analysis(tmp_path)
    page = page_of(load_analysis(out).report(out / "report.html"))
    rows = read_rows(out / "cells.csv")
    expected = [row["image"] for row in sorted(rows, key=lambda row: -float(row["probability"]))]
    alts = [str(image["alt"]) for image in page.images]
    assert [alt.removeprefix("cell ") for alt in alts if alt.startswith("cell ")] == expected
    assert {"short", "cells", "by-subject", "probabilities", "subjects", "model", "notices", "failures"} <= page.anchors
    assert "Research use only, not a diagnosis." in page.text
    assert "drawn by a program" not in page.text
    assert "These cells are brighter than those the model learned from." in page.text
    assert "truncated PNG" in page.text


def test_analysis_of_thousands_shows_ends_and_middle_and_points_to_the_table(tmp_path: Path) -> None:
    out = build_analysis(tmp_path, n=1000, with_subjects=False)
    groups = card_groups(AnalysisColumns(load_analysis(out)), threshold=0.5)
    probabilities = np.sort([float(row["probability"]) for row in read_rows(out / "cells.csv")])[::-1]
    written = [[card.probability for card in group.cards] for group in groups]
    assert {"> 0.999", "< 0.001"} <= {*written[0], *written[2]}
    shown = [[float(probability.strip("<> ")) for probability in group] for group in written]
    np.testing.assert_allclose(shown[0], probabilities[:60], atol=1e-3)
    np.testing.assert_allclose(shown[2], probabilities[-60:], atol=1e-3)
    nearest = np.sort(np.abs(probabilities - 0.5))[:60]
    np.testing.assert_allclose(np.sort(np.abs(np.array(shown[1]) - 0.5)), nearest, atol=1e-3)
    assert shown[1] == sorted(shown[1], reverse=True)
    page = page_of(load_analysis(out).report(out / "report.html"))
    assert "all of them are in cells.csv" in page.text
    assert "There are no results by subject" in page.text
    assert "subjects" not in page.anchors


def test_outliers_and_cells_at_a_border_are_shown_and_not_counted(tmp_path: Path) -> None:
    out = build_analysis(tmp_path)
    rows = [
        ["a.png", "S1", 0.9, "leukemic", ""],
        ["b.png", "S1", 0.2, "normal", "large"],
        ["c.png", "S1", 0.8, "leukemic", "border"],
        ["d.png", "S1", 0.7, "leukemic", "border outlier"],
        ["e.png", "S2", 0.1, "normal", "outlier"],
        ["f.png", "S2", "", "", "blank"],
    ]
    write_rows(out / "cells.csv", ["image", "subject", "probability", "decision", "flags"], rows)
    page = page_of(load_analysis(out).report(out / "report.html"))
    assert re.search("counted cells 2 of 6 cells in 13 images, 1 of them unusable", page.text)
    assert re.search("called leukemic 1 of 2 counted cells: .* called normal 1 of 2 counted cells:", page.text)
    assert (
        "Not counted: 2 outliers, 2 cells cut off at a border (1 is both), 1 cell without a probability." in page.text
    )
    assert any(caption.startswith("2 counted cells;") for caption in page.captions)
    counted, others = card_groups(AnalysisColumns(load_analysis(out)), threshold=0.5)
    assert [[card.image for card in group.cards] for group in (counted, others)] == [
        ["a.png", "b.png"],
        ["c.png", "d.png", "e.png"],
    ]


def test_analysis_of_drawn_cells_with_hostile_names(tmp_path: Path) -> None:
    out = build_analysis(tmp_path, generated=True)
    write_rows(
        out / "cells.csv",
        ["image", "subject", "probability", "decision", "flags"],
        [[HOSTILE, f"{HOSTILE}\u8840", 0.7, "leukemic", HOSTILE], ["unscored.png", "", "", "", "blank"]],
    )
    page = page_of(load_analysis(out).report(out / "report.html"))
    assert "<script" not in page.html
    assert HOSTILE in page.text
    assert "no picture" in page.text
    assert "1 more could be read but have no probability" in page.text
    assert "These cells are drawn by a program." in page.text


def test_analysis_without_any_scored_cell(tmp_path: Path) -> None:
    out = build_analysis(tmp_path)
    write_rows(out / "cells.csv", ["image", "subject", "probability", "decision", "flags"], [])
    header = ["subject", "cells", "counted", "leukemic", "mean_probability", "decision", "share_leukemic"]
    write_rows(out / "subjects.csv", header, [])
    np.savez(out / "thumbnails.npz", images=np.array([], dtype=str), thumbnails=np.zeros((0, 64, 64, 3), np.uint8))
    assert "No cell was scored." in page_of(load_analysis(out).report(out / "report.html")).text


def test_same_files_same_report(tmp_path: Path) -> None:
    out = build_analysis(tmp_path)
    first = load_analysis(out).report(out / "report.html").read_bytes()
    assert load_analysis(out).report(out / "report.html").read_bytes() == first


@pytest.mark.parametrize("missing", ["cells.csv", "subjects.csv", "summary.json", "thumbnails.npz"])
def test_missing_file_of_an_analysis_is_named(missing: str, tmp_path: Path) -> None:
    out = build_analysis(tmp_path)
    (out / missing).unlink()
    with pytest.raises(RunError, match=rf"^load_analysis: folder must hold {re.escape(missing)}, got "):
        load_analysis(out).report(out / "report.html")


def test_missing_column_is_named(tmp_path: Path) -> None:
    out = build_analysis(tmp_path)
    write_rows(out / "cells.csv", ["image", "probability"], [["a.png", 0.5]])
    with pytest.raises(
        RunError, match=r"cells\.csv must be as leukospike wrote it.*no column subject, decision, flags"
    ):
        load_analysis(out).report(out / "report.html")
