"""The training cells most similar to a cell: only their names, since their pictures are not shipped."""

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int8
from torch import Tensor

from leukospike.errors import DataError, WeightsError

KEPT = 32
"""Principal components of the embedding that are kept."""

_FULL = 127  # of int8
_MOST_BYTES = 10_000_000  # of the names, unpacked


@dataclass(frozen=True)
class Neighbour:
    """One training cell."""

    image: str
    subject: str
    """Empty where the laboratory does not tell."""
    kind: str
    """By label."""
    laboratory: str
    similarity: float
    """Cosine of the angle between the two, seen from the mean of all: 1 alike, 0 unrelated, -1 opposite."""


@dataclass(frozen=True)
class TrainingIndex:
    """Where the training cells lie on the network's axes, at one byte per number, with what they are."""

    mean: Float[np.ndarray, " features"]
    """Of the embeddings, float32."""
    basis: Float[np.ndarray, "features components"]
    """Principal axes, orthonormal, float16: what they lack in digits is less than what a byte does."""
    codes: Int8[np.ndarray, "n components"]
    """Each cell's components, scaled to length 1; 127 stands for the largest of all."""
    scale: float
    """What 1 of `codes` stands for."""
    images: tuple[str, ...]
    subjects: tuple[str, ...]
    kinds: tuple[str, ...]
    laboratories: tuple[str, ...]

    @classmethod
    def fit(
        cls,
        embeddings: Float[np.ndarray, "n features"],
        *,
        images: Sequence[str],
        subjects: Sequence[str],
        kinds: Sequence[str],
        laboratories: Sequence[str],
    ) -> "TrainingIndex":
        """Reduce the embeddings to their first `KEPT` principal components, or fewer if there are no more.

        Parameters
        ----------
        embeddings : ndarray of shape (n, features), float32
            Of `KindNetwork.on_axes`.
        images, subjects, kinds, laboratories : sequence of str
            Of each cell; its subject may be empty.

        Returns
        -------
        TrainingIndex

        Raises
        ------
        DataError
            If the sequences differ in length, or all embeddings are the same.
        """
        n = len(embeddings)
        columns = (images, subjects, kinds, laboratories)
        if {len(column) for column in columns} != {n}:
            got = f"{n} and {', '.join(str(len(column)) for column in columns)}"
            msg = "embeddings, images, subjects, kinds and laboratories must have the same length"
            raise DataError(msg, where="TrainingIndex", got=got, advice="Pass one of each per cell.")
        mean = embeddings.mean(axis=0, dtype=np.float64)
        centred = embeddings - mean
        spread, axes = np.linalg.eigh(centred.T @ centred)
        kept = min(KEPT, int(np.count_nonzero(spread > spread[-1] * 1e-9)))
        if not n or spread[-1] <= 0:
            msg = "embeddings must differ"
            raise DataError(msg, where="TrainingIndex", got=f"no variation among {n}", advice="Pass other cells.")
        basis = axes[:, ::-1][:, :kept].astype(np.float16)
        directions = _directions(centred.astype(np.float32), basis)
        scale = float(np.abs(directions).max()) / _FULL
        return cls(
            mean.astype(np.float32),
            basis,
            np.rint(directions / scale).astype(np.int8),
            scale,
            *(tuple(column) for column in columns),
        )

    def nearest(self, embedding: Float[np.ndarray, " features"], k: int = 5) -> list[Neighbour]:
        """Return the `k` training cells of the highest cosine similarity, highest first; all if there are fewer.

        Parameters
        ----------
        embedding : ndarray of shape (features,), float32
            By the network of the index.
        k : int

        Returns
        -------
        list of Neighbour
            A cell that is a training cell itself comes first, with similarity 1.

        Raises
        ------
        WeightsError
            If the embedding is of another length, as that of another network is.
        """
        if embedding.shape != self.mean.shape:
            msg = f"embedding must have {len(self.mean)} numbers"
            raise WeightsError(
                msg,
                where="TrainingIndex.nearest",
                got=embedding.size,
                advice="Use the index that belongs to this network.",
            )
        direction = _directions((embedding - self.mean)[None], self.basis)[0]
        codes = self.codes.astype(np.float32)
        # Rounding leaves them not quite of length 1.
        similarities = codes @ direction / np.maximum(np.linalg.norm(codes, axis=1), 1)
        order = np.argsort(-similarities, kind="stable")[:k]
        return [
            Neighbour(
                self.images[place],
                self.subjects[place],
                self.kinds[place],
                self.laboratories[place],
                min(1.0, float(similarities[place])),
            )
            for place in order.tolist()
        ]

    def tensors(self) -> dict[str, Tensor]:
        """Return the content of a safetensors file: the arrays, and the names of all cells as compressed JSON."""
        columns = [self.images, self.subjects, self.kinds, self.laboratories]
        told = json.dumps(columns, ensure_ascii=False, separators=(",", ":"))
        return {
            "mean": torch.from_numpy(self.mean),
            "basis": torch.from_numpy(self.basis),
            "codes": torch.from_numpy(self.codes),
            "names": torch.frombuffer(bytearray(zlib.compress(told.encode(), 9)), dtype=torch.uint8),
        }

    def settings(self) -> dict[str, object]:
        """Return the header of that file."""
        return {"scale": self.scale, "cells": len(self.images)}

    @classmethod
    def stored(cls, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> "TrainingIndex":
        """Read the output of `tensors` and `settings`.

        Raises
        ------
        WeightsError
            If a part is missing or does not fit the others.
        """
        try:
            reader = zlib.decompressobj()
            names = reader.decompress(tensors["names"].numpy().tobytes(), _MOST_BYTES)
            if reader.unconsumed_tail:
                msg = f"names of more than {_MOST_BYTES} bytes"
                raise ValueError(msg)
            told = json.loads(names)
            images, subjects, kinds, laboratories = (tuple(str(each) for each in part) for part in told)
            mean, basis, codes = (tensors[name].numpy() for name in ("mean", "basis", "codes"))
            index = cls(mean, basis, codes, float(settings["scale"]), images, subjects, kinds, laboratories)
            if (
                mean.shape != basis.shape[:1]
                or basis.shape[1:] != codes.shape[1:]
                or {len(codes), len(images), len(subjects), len(kinds), len(laboratories)} != {settings["cells"]}
            ):
                msg = "lengths differ"
                raise ValueError(msg)
        except (KeyError, TypeError, ValueError, IndexError, zlib.error) as error:
            msg = "tensors must be the output of TrainingIndex.tensors"
            raise WeightsError(
                msg, where="TrainingIndex", got=f"others ({error})", advice="Create the file again."
            ) from error
        return index


def _directions(
    centred: Float[np.ndarray, "n features"], basis: Float[np.ndarray, "features components"]
) -> Float[np.ndarray, "n components"]:
    """Project on the axes and scale to length 1; what is at the mean itself has no direction, and stays 0."""
    projected = centred @ basis.astype(np.float32)
    lengths = np.linalg.norm(projected, axis=1, keepdims=True)
    return projected / np.where(lengths > 0, lengths, 1)
