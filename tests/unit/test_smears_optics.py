"""Stain and microscope against the law of Beer and Lambert."""

from dataclasses import replace

import numpy as np
import pytest

from leukospike.smears import SubjectStyle, subject_style
from leukospike.smears.optics import photograph

PLAIN = SubjectStyle(
    eosin=(0.1, 0.7, 0.4),
    azure=(0.9, 0.5, 0.1),
    haze=0.0,
    light=(1.0, 0.9, 0.8),
    tilt=(0.0, 0.0),
    vignette=0.0,
    blur_um=0.1,
    noise=0.0,
    size=1.0,
)


def taken(absorbers, style, *, px_per_um=8.0, centre_um=(0.0, 0.0)):
    return photograph(absorbers, style, px_per_um=px_per_um, centre_um=centre_um, rng=np.random.default_rng(0))


def evenly(eosin, azure, *, shape=(20, 30)):
    return np.stack([np.full(shape, amount, dtype=np.float32) for amount in (eosin, azure, 0.0)])


@pytest.mark.parametrize(("eosin", "azure"), [(0.0, 0.0), (0.3, 0.0), (0.0, 0.5), (0.8, 0.9)])
def test_light_falls_by_ten_to_the_absorbance(eosin, azure):
    absorbance = eosin * np.array(PLAIN.eosin) + azure * np.array(PLAIN.azure)
    expected = np.rint(255 * np.array(PLAIN.light) * 10**-absorbance)
    pixels = taken(evenly(eosin, azure), PLAIN)
    assert pixels.shape == (20, 30, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels - expected).max() == 0


def test_haze_is_dye_everywhere():
    np.testing.assert_array_equal(taken(evenly(0, 0), replace(PLAIN, haze=0.2)), taken(evenly(0.2, 0.2), PLAIN))


def test_vignette_darkens_by_the_square_of_the_distance():
    style = replace(PLAIN, vignette=0.2, light=(1.0, 1.0, 1.0))
    pixels = taken(evenly(0, 0, shape=(1, 641)), style)
    assert pixels[0, 320].tolist() == [255, 255, 255]
    assert pixels[0, 640].tolist() == [204, 204, 204]
    assert pixels[0, 480].tolist() == [242, 242, 242]


def test_a_cell_off_the_centre_gets_the_light_of_its_place():
    style = replace(PLAIN, tilt=(-0.1, 0.0), light=(1.0, 1.0, 1.0))
    pixels = taken(evenly(0, 0, shape=(1, 1)), style, centre_um=(20.0, 0.0))
    assert pixels[0, 0, 0] == round(255 * 0.95)


def test_noise_is_as_strong_as_asked_at_full_light():
    pixels = taken(evenly(0, 0, shape=(300, 300)), replace(PLAIN, light=(0.8, 0.8, 0.8), noise=3.0))
    assert pixels.std() == pytest.approx(3.0 * np.sqrt(0.8), rel=0.03)


def test_blur_spreads_a_spot_by_the_focus():
    spot = evenly(0, 0, shape=(41, 41))
    spot[1, 20, 20] = 0.5
    lost = 255.0 - taken(spot, replace(PLAIN, blur_um=0.25, light=(1.0, 1.0, 1.0)), px_per_um=8.0)[:, :, 0]
    sharp = 255.0 - taken(spot, replace(PLAIN, blur_um=0.0, light=(1.0, 1.0, 1.0)), px_per_um=8.0)[:, :, 0]
    # A Gaussian of 2 pixels has 1 / (2 pi 2^2) of its mass at the peak.
    assert lost[20, 20] / sharp[20, 20] == pytest.approx(1 / (8 * np.pi), abs=0.01)


def test_subjects_differ_and_repeat():
    assert subject_style(np.random.default_rng(1)) == subject_style(np.random.default_rng(1))
    assert subject_style(np.random.default_rng(1)) != subject_style(np.random.default_rng(2))
