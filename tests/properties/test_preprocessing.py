"""Preprocessing for any images: what must not depend on size, place or company."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from leukospike.original.preprocessing import Augmentation, Normalisation, blur, resize

SIDES = st.integers(5, 24)


@st.composite
def maps(draw: st.DrawFn) -> np.ndarray:
    shape = (draw(st.integers(1, 4)), draw(SIDES), draw(SIDES))
    return draw(arrays(np.float32, shape, elements=st.floats(0, 1, width=32)))


@given(maps=maps(), window=st.sampled_from([5, 7, 9]))
@settings(max_examples=30, deadline=None)
def test_blur_keeps_shape_and_range_and_commutes_with_flips(maps: np.ndarray, window: int) -> None:
    images = torch.from_numpy(maps)
    blurred = blur(images, window=window)
    assert blurred.shape == images.shape
    assert float(blurred.min()) >= float(images.min()) - 1e-5
    assert float(blurred.max()) <= float(images.max()) + 1e-5
    for axis in (-1, -2):
        torch.testing.assert_close(blur(images.flip(axis), window=window), blurred.flip(axis), rtol=0, atol=1e-5)


@given(maps=maps(), size=st.integers(5, 40))
@settings(max_examples=30, deadline=None)
def test_resize_keeps_range_and_treats_each_image_alone(maps: np.ndarray, size: int) -> None:
    images = torch.from_numpy(maps)
    resized = resize(images, size=size)
    assert resized.shape == (len(maps), size, size)
    assert float(resized.min()) >= float(images.min()) - 1e-5
    assert float(resized.max()) <= float(images.max()) + 1e-5
    torch.testing.assert_close(resized[-1:], resize(images[-1:], size=size), rtol=0, atol=1e-6)


@given(maps=maps().filter(lambda maps: np.ptp(maps) > 0.01))
@settings(max_examples=30, deadline=None)
def test_normalised_maps_have_mean_0_and_spread_1(maps: np.ndarray) -> None:
    applied = Normalisation.fit(maps).apply(maps).astype(np.float64)
    assert abs(applied.mean()) < 1e-3
    assert abs(applied.std() - 1) < 1e-3


@given(n=st.integers(2, 9), cut=st.integers(1, 8), seed=st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_augmentation_in_parts_is_that_of_the_whole(n: int, cut: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(n, 12, 12, generator=generator)
    drawn = Augmentation.draw(n, generator=generator)
    parts = [drawn.part(places).apply(images[places]) for places in (slice(0, cut), slice(cut, n)) if places.start < n]
    torch.testing.assert_close(torch.cat(parts), drawn.apply(images), rtol=0, atol=1e-5)


@given(seed=st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_augmentation_makes_no_value_that_was_not_there(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(3, 15, 15, generator=generator)
    changed = Augmentation.draw(3, generator=generator).apply(images)
    assert float(changed.min()) >= float(images.min()) - 1e-5
    assert float(changed.max()) <= float(images.max()) + 1e-5
