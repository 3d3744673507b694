"""Illumination of an image, estimated from the image itself, and its correction to even white light.

A bright-field image is light times transmittance: an empty place shows only the light. Few blocks of a smear have no
empty place, and cells only absorb light, so the light is the smooth surface just above the brightest places of almost
all blocks. It is fitted robustly, block by block, as a polynomial of the logarithm, for each colour separately.
Regions that the microscope does not light (an eyepiece's surround, a frame) are ignored.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from scipy import ndimage

from leukospike.images.framing import is_cut_out

EMPTY = 235
"""Grey level of an empty place after correction, in each colour; slightly brighter places are not clipped."""

DEGREE = 4
"""Degree of the polynomial: a fall-off towards the rim is of the second degree, a condenser's rings of the fourth."""

_SIDE = 256  # longest side of the copy on which light is measured, pixels
_BLOCK = 8  # side of a block there
_BRIGHTEST = 0.25  # share of a block's pixels, the brightest in green, that stand for its empty place
_UPPER = 85  # percentile of the blocks at which the first, constant surface lies
_TOLERANCE = (0.02, 0.25)  # least and most spread of empty blocks about the surface, natural logarithm
_FAR_ABOVE = 6.0  # spreads; light that is stronger about the middle of an image is not so far above its usual level
_FEW_FAR_ABOVE = 0.03  # share of the blocks; more are the few empty places of a picture that a cell fills
_TURNS = 6  # of reweighting, for each degree
_RIDGE = 0.02  # pull to a constant, in blocks' weights; it grows with the square of a term's degree
_DARK_SURROUND = 0.3  # a surround is darker than this share of the image's brightest tenth
_LEAST_SURROUND = 0.03  # share of the image; a dark cell at the border is smaller
_SAME_COLOUR, _ALSO_INSIDE = 2, 0.02  # grey levels, and share of what a frame is around that has the frame's colour
_LEAST_LIT = 16  # blocks; fewer tell nothing
_ROWS_AT_ONCE = 32
_FAINTEST = 8.0  # grey levels: light that is weaker is not divided out

_TERMS = tuple((down, along) for down in range(DEGREE + 1) for along in range(DEGREE + 1 - down))


@dataclass(frozen=True)
class Light:
    """The light of one image."""

    shape: tuple[int, int]
    """Rows and columns of the image."""
    coefficients: Float[np.ndarray, "3 terms terms"]
    """Coefficients of the natural logarithm of red, green and blue, in grey levels, by the power of the row, then of
    the column, which both run from -1 to 1 over the image."""
    lit: Bool[np.ndarray, "small_rows small_columns"]
    """Where the slide is visible, on a copy of at most 256 pixels a side: False on a surround or a frame."""
    is_known: bool = True
    """False if no empty place is visible; nothing is corrected then."""
    cut_out: bool = False
    """Whether the image is a cell cut out on black, which does not show its light."""

    @classmethod
    def unknown(cls, shape: tuple[int, int], *, cut_out: bool = False) -> "Light":
        """Return a neutral light, for an image without empty background."""
        coefficients = np.zeros((3, DEGREE + 1, DEGREE + 1))
        coefficients[:, 0, 0] = np.log(EMPTY)
        return cls(shape, coefficients, np.ones((1, 1), bool), is_known=False, cut_out=cut_out)

    @property
    def colour(self) -> tuple[float, float, float]:
        """Median red, green and blue of the light over the lit part, 0-255."""
        red, green, blue = (float(np.median(plane[self.lit])) for plane in self._on_copy())
        return red, green, blue

    @property
    def unevenness(self) -> float:
        """Brightest over darkest light of the lit part, as 99th over 1st percentile in green; 1 if even."""
        low, high = np.percentile(self._on_copy()[1][self.lit], [1, 99])
        return float(high / low)

    @property
    def tint_range(self) -> float:
        """Change of the light's colour over the lit part: range of red over green, as a ratio; 1 if constant."""
        red, green, _ = self._on_copy()
        low, high = np.percentile((red / green)[self.lit], [1, 99])
        return float(high / low)

    @property
    def lit_share(self) -> float:
        """Share of the image in which the slide is visible, 0-1."""
        return float(self.lit.mean())

    def levels(
        self, rows: Float[np.ndarray, " rows"], columns: Float[np.ndarray, " columns"]
    ) -> Float[np.ndarray, "3 rows columns"]:
        """Return the light at rows and columns of the image, in grey levels, float32.

        Parameters
        ----------
        rows, columns : ndarray of shape (rows,) and (columns,)
            Positions, in pixels of the image; 0 is the centre of the first.

        Returns
        -------
        ndarray of shape (3, rows, columns), float32
        """
        down, along = (
            _powers((2 * places + 1) / length - 1) for places, length in zip((rows, columns), self.shape, strict=True)
        )
        surface = np.einsum("ri,cij,kj->crk", down, self.coefficients, along, optimize=True)
        return np.exp(surface.astype(np.float32))

    def correct(
        self, pixels: UInt8[np.ndarray, "rows columns 3"], *, top: float = 0, left: float = 0, step: float = 1
    ) -> UInt8[np.ndarray, "rows columns 3"]:
        """Correct the image, or a part of it at any scale, to even white light: empty places become `EMPTY`.

        Parameters
        ----------
        pixels : ndarray of shape (rows, columns, 3)
            RGB, uint8, 0-255.
        top, left : float
            First row and column of the part in the image, pixels.
        step : float
            Side of one of its pixels, in pixels of the image.

        Returns
        -------
        ndarray of shape (rows, columns, 3), uint8
            The same array if the light is unknown.
        """
        if not self.is_known:
            return pixels
        rows, columns = (
            first + step * (np.arange(length) + 0.5) - 0.5
            for first, length in zip((top, left), pixels.shape[:2], strict=True)
        )
        corrected = np.empty_like(pixels)
        # The surface is smooth: evaluated at every eighth pixel and interpolated, it takes a tenth of the time.
        for channel, gain in enumerate(_stretched_gain(self, rows, columns)):
            # Some rows at once, which stay in the processor's cache: measured on a field, two thirds of the time.
            for first in range(0, len(pixels), _ROWS_AT_ONCE):
                some = np.s_[first : first + _ROWS_AT_ONCE]
                plane = pixels[some, :, channel] * gain[some]
                plane += 0.5
                np.minimum(plane, 255, out=plane)
                corrected[some, :, channel] = plane
        return corrected

    def _on_copy(self) -> Float[np.ndarray, "3 small_rows small_columns"]:
        """Return the light on the small copy."""
        rows, columns = (
            (np.arange(n) + 0.5) * length / n - 0.5 for n, length in zip(self.lit.shape, self.shape, strict=True)
        )
        return self.levels(rows, columns)


def estimate_light(pixels: UInt8[np.ndarray, "rows columns 3"]) -> Light:
    """Estimate the illumination of an image.

    Parameters
    ----------
    pixels : ndarray of shape (rows, columns, 3)
        RGB, uint8, 0-255.

    Returns
    -------
    Light
        Neutral if too little is lit.
    """
    rows, columns = pixels.shape[:2]
    if is_cut_out(pixels):
        return Light.unknown((rows, columns), cut_out=True)
    step = max(1, -(-max(rows, columns) // _SIDE))
    small = np.asarray(Image.fromarray(pixels).reduce(step)) if step > 1 else pixels
    lit = _lit(small)
    samples, places = _empty_places(small, lit)
    if len(samples) < _LEAST_LIT:
        return Light.unknown((rows, columns))
    return Light((rows, columns), _fitted(samples, places), lit)


def _lit(small: UInt8[np.ndarray, "rows columns 3"]) -> Bool[np.ndarray, "rows columns"]:
    """Return where the slide is visible: neither a dark surround nor a frame of one colour."""
    luma = small.astype(np.float32).mean(axis=2)
    lit = np.ones(luma.shape, bool)
    dark = luma < _DARK_SURROUND * np.percentile(luma, 90)
    pieces = np.zeros(luma.shape, np.int32)
    ndimage.label(dark, output=pieces)
    at_border = np.unique(np.concatenate([pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]]))
    areas = np.bincount(pieces.ravel())
    for piece in at_border[at_border > 0]:
        if areas[piece] >= _LEAST_SURROUND * luma.size:
            # The rim itself is half in the dark.
            lit &= ~np.asarray(ndimage.binary_dilation(pieces == piece, iterations=4), dtype=bool)
    return lit & ~_framed(small)


def _framed(small: UInt8[np.ndarray, "rows columns 3"]) -> Bool[np.ndarray, "rows columns"]:
    """Return where there is a frame: rows and columns at the border of one colour that the rest does not have.

    A background without any variation, for example a clipped one, is also of one colour.
    """
    framed = np.zeros(small.shape[:2], bool)
    sides: list[tuple[slice, slice]] = []
    for axis in (0, 1):
        plain = (small.max(axis=1 - axis) == small.min(axis=1 - axis)).all(axis=1)
        if plain.all():
            return framed
        first, last = int(np.argmin(plain)), len(plain) - int(np.argmin(plain[::-1]))
        for side in (slice(0, first), slice(last, len(plain))):
            if side.stop > side.start:
                sides.append((side, slice(None)) if axis == 0 else (slice(None), side))
                framed[sides[-1]] = True
    inside = small[~framed].astype(np.int16)
    for side in sides:
        if (abs(inside - small[side][0, 0]).max(axis=1) <= _SAME_COLOUR).mean() > _ALSO_INSIDE:
            framed[side] = False
    return framed


def _empty_places(
    small: UInt8[np.ndarray, "rows columns 3"], lit: Bool[np.ndarray, "rows columns"]
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 2"]]:
    """Return the mean of the brightest pixels of each lit block, and its centre from -1 to 1."""
    block = max(2, min(_BLOCK, min(lit.shape) // 8))
    rows, columns = (length // block for length in lit.shape)
    whole = np.s_[: rows * block, : columns * block]

    def blocks(plane: np.ndarray) -> np.ndarray:
        return plane[whole].reshape(rows, block, columns, block).swapaxes(1, 2).reshape(rows * columns, block**2)

    kept = blocks(lit).all(axis=1)
    planes = np.stack([blocks(small[:, :, band])[kept] for band in range(3)], axis=2)
    n_bright = max(1, round(_BRIGHTEST * block**2))
    order = np.argpartition(planes[:, :, 1], -n_bright, axis=1)[:, -n_bright:]
    samples = np.take_along_axis(planes, order[:, :, None], axis=1).mean(axis=1)
    middle = (np.indices((rows, columns)).reshape(2, -1).T[kept] + 0.5) * block
    return samples.astype(np.float64), 2 * middle / np.array(lit.shape) - 1


def _fitted(samples: Float[np.ndarray, "n 3"], places: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "3 terms terms"]:
    """Fit the surface just above the samples, one degree after another."""
    logs = np.log(np.maximum(samples, _FAINTEST))
    down, along = _powers(places[:, 0]), _powers(places[:, 1])
    design = np.stack([down[:, i] * along[:, j] for i, j in _TERMS], axis=1)
    degrees = np.array([i + j for i, j in _TERMS])
    green = logs[:, 1]
    surface = np.full(len(green), np.percentile(green, _UPPER))
    weights = np.ones(len(green))
    found = np.zeros((len(_TERMS), 3))
    for degree in (0, 1, 2, DEGREE):
        used = degrees <= degree
        for _ in range(_TURNS):
            weights = _weights(green - surface)
            ridge = np.diag(_RIDGE * degrees[used] ** 2.0)
            weighted = design[:, used] * weights[:, None]
            found[used] = np.linalg.solve(weighted.T @ design[:, used] + ridge, weighted.T @ logs)
            surface = design[:, used] @ found[used, 1]
    coefficients = np.zeros((3, DEGREE + 1, DEGREE + 1))
    for (i, j), values in zip(_TERMS, found, strict=True):
        coefficients[:, i, j] = values
    return coefficients


def _weights(residuals: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Weight blocks near the surface or slightly above it; those far below show cells, far above a scale bar."""
    above = residuals[residuals > 0]
    spread = 1.48 * float(np.median(above)) if above.size else 0.0
    spread = min(max(spread, _TOLERANCE[0]), _TOLERANCE[1])
    far = _FAR_ABOVE if (residuals > _FAR_ABOVE * spread).mean() <= _FEW_FAR_ABOVE else np.inf
    off = np.clip(np.where(residuals > 0, residuals / far, -residuals / 3) / spread, 0, 1)
    return (1 - off**2) ** 2 + 1e-6


def _powers(places: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n powers"]:
    """Return the powers 0 to `DEGREE` of positions from -1 to 1."""
    return np.power(places[:, None], np.arange(DEGREE + 1)[None, :])


def _stretched_gain(
    light: Light, rows: Float[np.ndarray, " rows"], columns: Float[np.ndarray, " columns"]
) -> Iterator[Float[np.ndarray, "rows columns"]]:
    """Yield the factors of each channel, computed on a coarse grid and interpolated if there are many pixels."""
    if rows.size * columns.size < 200_000:
        yield from EMPTY / np.maximum(light.levels(rows, columns), _FAINTEST)
        return
    grids = [np.linspace(places[0], places[-1], max(2, places.size // 8)) for places in (rows, columns)]
    coarse = EMPTY / np.maximum(light.levels(*grids), _FAINTEST)
    size = (columns.size, rows.size)
    # Corner to corner: the outermost points of the grid are pixels of the part, not borders.
    inner = (0.5, 0.5, len(grids[1]) - 0.5, len(grids[0]) - 0.5)
    for plane in coarse:
        yield np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR, box=inner))
