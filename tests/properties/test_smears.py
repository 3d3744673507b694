"""What holds for every drawn cell and field, whatever the chance."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from leukospike.smears import CellKind, draw_cell, draw_field, subject_style
from leukospike.smears.cells import stain_cell

seeds = st.integers(0, 2**32 - 1)
kinds = st.sampled_from(CellKind)
white_kinds = st.sampled_from([CellKind.LYMPHOCYTE, CellKind.LYMPHOBLAST, CellKind.NEUTROPHIL])


@settings(max_examples=40, deadline=None)
@given(seeds, kinds, st.floats(0.9, 1.1))
def test_a_cell_lies_whole_in_its_square(seed, kind, size):
    stained = stain_cell(kind, np.random.default_rng(seed), px_per_um=6.0, size=size)
    border = np.ones(stained.cell.shape, dtype=bool)
    border[1:-1, 1:-1] = False
    assert stained.cell[border].max() < 0.5
    assert stained.cell.min() >= 0
    assert stained.cell.max() == 1
    assert (stained.nucleus <= stained.cell + 1e-6).all()
    assert stained.absorbers.dtype == np.float32
    assert (stained.absorbers >= -1e-6).all()
    assert not stained.absorbers[:, stained.cell == 0].any()


@settings(max_examples=25, deadline=None)
@given(seeds, kinds, st.integers(64, 160))
def test_black_means_outside(seed, kind, size_px):
    style = subject_style(np.random.default_rng([seed, 1]))
    cell = draw_cell(kind, style, np.random.default_rng(seed), size_px=size_px)
    np.testing.assert_array_equal(cell.pixels.any(axis=2), cell.mask > 0)
    assert set(np.unique(cell.mask)) <= {0, 128, 255}


@settings(max_examples=8, deadline=None)
@given(seeds, st.lists(white_kinds, min_size=1, max_size=4))
def test_white_cells_lie_apart_and_in_their_boxes(seed, whites):
    style = subject_style(np.random.default_rng([seed, 1]))
    field = draw_field(whites, style, np.random.default_rng(seed))
    labelled, n_cells = ndimage.label(field.mask > 0)
    assert n_cells == len(whites)
    boxes = {(b.top, b.bottom, b.left, b.right) for b in field.boxes if b.label == "WBC"}
    assert boxes == {(r.start, r.stop, c.start, c.stop) for r, c in ndimage.find_objects(labelled)}
    assert all(0 <= b.top < b.bottom <= 480 and 0 <= b.left < b.right <= 640 for b in field.boxes)
