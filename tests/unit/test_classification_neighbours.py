"""The index of training cells: what it finds, against a search among the embeddings themselves."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import cosine_similarity

from leukospike.classification.neighbours import KEPT, TrainingIndex
from leukospike.errors import DataError, WeightsError


def _embeddings(n: int = 400, features: int = 60) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(n, features)) * 0.9 ** np.arange(features) + 3).astype(np.float32)


def _index(embeddings: np.ndarray) -> TrainingIndex:
    n = len(embeddings)
    return TrainingIndex.fit(
        embeddings,
        images=[f"image {cell}" for cell in range(n)],
        subjects=[f"subject {cell % 7}" for cell in range(n)],
        kinds=["lymphocyte" if cell % 2 else "monocyte" for cell in range(n)],
        laboratories=[f"laboratory {cell % 3}" for cell in range(n)],
    )


def test_neighbours_are_those_of_a_search_without_rounding():
    embeddings = _embeddings()
    index = _index(embeddings[:-50])
    pca = PCA(KEPT).fit(embeddings[:-50])
    exact = cosine_similarity(pca.transform(embeddings[-50:]), pca.transform(embeddings[:-50]))
    for similarities, embedding in zip(exact, embeddings[-50:], strict=True):
        found = index.nearest(embedding, k=3)
        places = [int(neighbour.image.removeprefix("image ")) for neighbour in found]
        np.testing.assert_allclose([neighbour.similarity for neighbour in found], similarities[places], atol=0.02)
        np.testing.assert_allclose(similarities[places], np.sort(similarities)[::-1][:3], atol=0.02)
        assert [neighbour.subject for neighbour in found] == [f"subject {place % 7}" for place in places]
        assert [neighbour.kind for neighbour in found] == [("monocyte", "lymphocyte")[place % 2] for place in places]
        assert [neighbour.laboratory for neighbour in found] == [f"laboratory {place % 3}" for place in places]


def test_a_training_cell_finds_itself():
    embeddings = _embeddings()
    [found] = _index(embeddings).nearest(embeddings[17], k=1)
    assert found.image == "image 17"
    assert found.similarity > 0.999


def test_fewer_cells_or_features_than_asked_for():
    index = _index(_embeddings(n=4, features=3))
    assert index.basis.shape[1] == 3
    assert len(index.nearest(np.zeros(3, np.float32), k=9)) == 4
    # At the mean itself nothing is nearer than anything else.
    assert [neighbour.similarity for neighbour in index.nearest(index.mean)] == [0, 0, 0, 0]


def test_it_comes_back_from_a_file():
    embeddings = _embeddings()
    index = _index(embeddings)
    again = TrainingIndex.stored(load(save(index.tensors())), json.loads(json.dumps(index.settings())))
    assert again.nearest(embeddings[3]) == index.nearest(embeddings[3])


def test_eight_thousand_cells_are_small():
    rng = np.random.default_rng(0)
    names = [f"UID_{rng.integers(1, 90)}_{rng.integers(1, 30)}_{i % 9}_all" for i in range(8000)]
    index = TrainingIndex.fit(
        _embeddings(8000, 100),
        images=names,
        subjects=[name.split("_")[1] for name in names],
        kinds=["lymphoblast"] * 8000,
        laboratories=["c-nmc"] * 8000,
    )
    assert len(save(index.tensors())) < 400_000


def test_parts_that_do_not_fit_are_refused():
    index = _index(_embeddings())
    tensors, settings = index.tensors(), index.settings()
    for wrong in (
        {**tensors, "codes": tensors["codes"][:-1]},
        {**tensors, "names": torch.zeros(3, dtype=torch.uint8)},
        {**tensors, "mean": tensors["mean"][1:]},
        {name: tensor for name, tensor in tensors.items() if name != "basis"},
    ):
        with pytest.raises(WeightsError, match="TrainingIndex: tensors must be the output"):
            TrainingIndex.stored(wrong, settings)
    with pytest.raises(WeightsError, match="embedding must have 60 numbers, got 5"):
        index.nearest(np.zeros(5, np.float32))


def test_what_cannot_be_indexed():
    names = ["a"] * 4
    with pytest.raises(DataError, match="must have the same length, got 4 and 4, 4, 3, 4"):
        TrainingIndex.fit(_embeddings(4), images=names, subjects=names, kinds=["b"] * 3, laboratories=names)
    with pytest.raises(DataError, match="embeddings must differ"):
        TrainingIndex.fit(np.ones((4, 5), np.float32), images=names, subjects=names, kinds=names, laboratories=names)
