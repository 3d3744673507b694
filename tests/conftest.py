"""What several test folders share."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from leukospike.images import write_png
from leukospike.settings import Preset, RunConfig


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Keep torch to one thread: on tensors as small as here, threads that wait for each other cost minutes."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Give the folder of real images: LEUKOSPIKE_DATA, or shared/data beside the project."""
    named = os.environ.get("LEUKOSPIKE_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real images at {folder}; set LEUKOSPIKE_DATA to their folder")
    return folder


def _draw_discs(
    folder: Path, *, subjects: tuple[int, int] = (3, 3), cells: int = 4, side: int = 40, seed: int = 0
) -> Path:
    """Draw noisy discs as class/subject/number.png, large where leukemic; `subjects` of (hem, all)."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side]
    for name, radius, count in (("hem", 7, subjects[0]), ("all", 12, subjects[1])):
        for subject in range(count):
            for cell in range(cells):
                row, column = side / 2 + rng.uniform(-3, 3, 2)
                inside = np.clip(radius + rng.normal() - np.hypot(rows - row, columns - column), 0, 1)[..., None]
                noise = rng.normal(0, 4, (side, side, 3))
                pixels = np.clip(220 - inside * [90, 140, 40] + noise, 0, 255).astype(np.uint8)
                write_png(folder / name / f"{name}-{subject}" / f"{cell}.png", pixels)
    return folder


@pytest.fixture(scope="session")
def draw_discs() -> Callable[..., Path]:
    """Give the function that draws a tiny data set: classes hem and all, 3 subjects of 4 cells each."""
    return _draw_discs


@pytest.fixture(scope="session")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give such a data set that several tests read; who wants to change one draws it anew."""
    return _draw_discs(tmp_path_factory.mktemp("discs"))


@pytest.fixture(scope="session")
def tiny() -> RunConfig:
    """Give settings under which a run on the discs takes a second or two."""
    return RunConfig(
        dataset=Preset.C_NMC, n_folds=3, epochs=1, image_size=24, n_components=10, batch_size=8, augmented_copies=1
    )
