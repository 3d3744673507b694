"""What is measured on: generated grey images, float32, 0 to 1, and the folder of the public ones."""

import os
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

KINDS = ("cells on black", "noise")

NOTE = "smooth grey blobs in 256 levels, half of the image black; independent noise."


def data_folder() -> Path:
    """Return the folder of public images: LEUKOSPIKE_DATA, or shared/data beside the project; it may not be there."""
    named = os.environ.get("LEUKOSPIKE_DATA")
    return Path(named) if named else Path(__file__).parents[2] / "shared" / "data"


def pictures(kind: str, count: int, rows: int, columns: int, *, seed: int) -> Tensor:
    """Draw images of one of the KINDS, (count, 1, rows, columns)."""
    chance = np.random.default_rng(seed)
    draw = _cells if kind == "cells on black" else _noise
    return torch.from_numpy(np.stack([draw(chance, (rows, columns)) for _ in range(count)])[:, None])


def _noise(chance: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Draw independent grey values."""
    return chance.random(shape, np.float32)


def _cells(chance: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Draw smooth blobs with texture on black, in 256 levels as a file holds them."""
    blobs = gaussian_filter(chance.standard_normal(shape, np.float32), 40)
    texture = gaussian_filter(chance.standard_normal(shape, np.float32), 2)
    grey = np.clip(0.5 + 0.15 * texture / texture.std(), 0, 1)
    return np.where(blobs > np.median(blobs), np.round(grey * 255) / 255, 0).astype(np.float32)
