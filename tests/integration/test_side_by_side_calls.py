"""Several calls at once, in threads of one process, give what they give one after the other, and leave no trace."""

import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from leukospike.analysis.segmenting import segment_images
from leukospike.auditing import examine, read_material
from leukospike.auditing.findings import Findings
from leukospike.classification.appearance_learning import AppearanceTraining, train_appearance
from leukospike.classification.cells import LabelledCells
from leukospike.classification.learning import ClassifierTraining, train_classifier
from leukospike.datasets import collect_images
from leukospike.original.components import FittedComponents
from leukospike.original.training import ProjectedCells, TrainingConfig, train_network
from leukospike.segmentation.class_maps import read_classes
from leukospike.segmentation.methods import SegmentationMethod
from leukospike.segmentation.network import default_segmenter, load_segmenter, save_segmenter
from leukospike.smears import SmearConfig, generate_cohort

SIDE = 21


def _original() -> list[bytes]:
    """Train the original's network, and return its weights."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(SIDE * SIDE, 3)))[0].T * 10
    components = FittedComponents(
        mean=np.zeros(SIDE * SIDE, np.float32),
        basis=np.ascontiguousarray(basis, np.float32),
        explained_variance_ratio=np.array([0.5, 0.3, 0.2], np.float32),
    )
    cells = ProjectedCells(rng.normal(size=(24, 3)).astype(np.float32), np.arange(24) % 2)
    config = TrainingConfig(epochs=3, batch_size=8, seed=1)
    return _weights(train_network(cells, cells, components, config, device=torch.device("cpu")).network)


def _cells() -> LabelledCells:
    rng = np.random.default_rng(1)
    crops = rng.integers(0, 256, (24, 48, 48, 3), np.uint8)
    return LabelledCells(crops, np.arange(24) % 2, [f"{number % 6}" for number in range(24)])


def _appearance() -> list[bytes]:
    """Train networks on measures, with dropout, and return their weights."""
    networks = train_appearance(_cells(), AppearanceTraining(epochs=12, batch_size=8, networks=2, seed=2))
    return [weights for network in networks for weights in _weights(network)]


def _convolutional() -> list[bytes]:
    """Train the convolutional network, with dropout, and return its weights."""
    return _weights(train_classifier(_cells(), ClassifierTraining(epochs=1, batch_size=8, seed=3)).network)


def _weights(network: torch.nn.Module) -> list[bytes]:
    return [tensor.numpy().tobytes() for tensor in network.state_dict().values()]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate_cohort(
        SmearConfig(n_subjects=2, cells_per_subject=3, fields_per_subject=1),
        tmp_path_factory.mktemp("at once") / "drawn",
    )


def _audit(folder: Path) -> Findings:
    return examine(read_material(folder / "cells"))


def _segment(folder: Path, out: Path) -> dict[str, bytes]:
    """Segment with a network read anew, and return every file that is written."""
    save_segmenter(default_segmenter(), out / "weights.safetensors")
    method = SegmentationMethod("read anew", partial(read_classes, load_segmenter(out / "weights.safetensors")), "")
    segment_images(collect_images([folder / "fields" / "images"]), out / "cells", method)
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def _state(folder: Path) -> tuple[object, ...]:
    """Look at what belongs to the process."""
    (probe := folder / f"probe-{threading.get_ident()}").touch()
    rights = probe.stat().st_mode
    probe.unlink()
    with ThreadPoolExecutor(1) as pool:
        of_new_threads = pool.submit(torch.get_num_threads).result()
    return (
        rights,
        torch.get_num_threads(),
        of_new_threads,
        torch.get_rng_state().numpy().tobytes(),
        torch.is_grad_enabled(),
        torch.get_float32_matmul_precision(),
        torch.get_default_dtype(),
        [signal.getsignal(number) for number in sorted(signal.valid_signals())],
    )


def test_calls_at_once_equal_calls_in_turn_and_leave_the_process_as_it_was(cohort: Path, tmp_path: Path):
    calls: list[Callable[[Path], object]] = [
        lambda _: _original(),
        lambda _: _appearance(),
        lambda _: _convolutional(),
        lambda _: _audit(cohort),
        lambda out: _segment(cohort, out),
        lambda out: _segment(cohort, out),
    ]
    before = _state(tmp_path)
    in_turn = [call(tmp_path / f"in turn {number}") for number, call in enumerate(calls)]
    assert _state(tmp_path) == before
    with ThreadPoolExecutor(len(calls)) as pool:
        running = [pool.submit(call, tmp_path / f"at once {number}") for number, call in enumerate(calls)]
        at_once = [each.result() for each in running]
    assert _state(tmp_path) == before
    for one, other in zip(at_once, in_turn, strict=True):
        assert _plain(one) == _plain(other)


def _plain(result: object) -> object:
    """Make findings comparable, whose arrays are not."""
    return repr(result) if isinstance(result, Findings) else result
