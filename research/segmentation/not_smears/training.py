"""Pictures to fit on: drawn at random in every respect, from formulas that no picture to test on is drawn from."""

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter
from scipy.spatial import KDTree
from scipy.special import expit

_SIDES_PX = (140, 720)
_STAIN_LIKE = 0.55  # share of pictures in the colours of a smear, which are the harder ones to tell
_BLURRED, _NOISY, _LOSSY, _GREY = 0.3, 0.4, 0.5, 0.08  # shares of pictures that a camera or a file spoils

Rng = np.random.Generator


@dataclass(frozen=True)
class _Sheet:
    """What a picture is drawn on, and in which colours."""

    rows: int
    columns: int
    paper: np.ndarray
    """Float RGB, 0-255."""
    inks: np.ndarray
    """Float RGB, 0-255, (5, 3)."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows, self.columns

    @property
    def side(self) -> int:
        """The shorter side."""
        return min(self.shape)


def training_pictures(count: int, *, seed: int) -> list[np.ndarray]:
    """Draw pictures that are no smears, all kinds in turn.

    Parameters
    ----------
    count : int
    seed : int
        A longer list of the same seed begins with the shorter one.

    Returns
    -------
    list of ndarray
        Uint8 RGB, 0-255, (rows, columns, 3), of many sizes; that of place `n` is of kind ``KINDS[n % len(KINDS)]``.
    """
    names = list(_DRAW)
    return [_picture(_DRAW[names[place % len(names)]], np.random.default_rng([seed, place])) for place in range(count)]


def _picture(draw: Callable[[Rng, _Sheet], np.ndarray], rng: Rng) -> np.ndarray:
    """Draw one picture and photograph it."""
    rows, columns = (int(side) for side in rng.integers(*_SIDES_PX, 2))
    sheet = _Sheet(rows, columns, *_colours(rng))
    values = np.clip(draw(rng, sheet), 0, 255)
    if rng.random() < _GREY:
        values = np.repeat(values.mean(axis=2, keepdims=True), 3, axis=2)
    if rng.random() < _BLURRED:
        values = gaussian_filter(values, (*[rng.uniform(0.4, 3)] * 2, 0))
    if rng.random() < _NOISY:
        values = values + rng.normal(0, rng.uniform(1, 10), (*sheet.shape, rng.choice([1, 3])))
    pixels = np.rint(np.clip(values, 0, 255)).astype(np.uint8)
    if rng.random() < _LOSSY:
        file = BytesIO()
        Image.fromarray(pixels).save(file, format="JPEG", quality=int(rng.integers(40, 96)))
        pixels = np.array(Image.open(file))
    return pixels


def _colours(rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """Choose paper and inks: pale, and those of dyes that absorb green most; or any."""
    if rng.random() < _STAIN_LIKE:
        paper = rng.uniform(195, 255) - rng.uniform(0, 25, 3)
        absorbed = rng.uniform((0.1, 0.4, 0.02), (0.8, 1.1, 0.5), (5, 3)) * rng.uniform(0.2, 1.3, (5, 1))
        return paper, paper * 10**-absorbed
    return rng.uniform(0, 255, 3), rng.uniform(0, 255, (5, 3))


def _field(rng: Rng, shape: tuple[int, int], *, fall: float, stretch: float = 1.0) -> np.ndarray:
    """Make noise whose power falls with frequency to the power of `fall`, of mean 0 and variance 1."""
    down = np.fft.fftfreq(shape[0])[:, None] * stretch
    along = np.fft.rfftfreq(shape[1])[None, :]
    power = np.maximum(np.hypot(down, along), 2 / max(shape)) ** (-fall / 2)
    values = np.fft.irfft2(np.fft.rfft2(rng.normal(size=shape)) * power, shape)
    return (values - values.mean()) / max(float(values.std()), 1e-9)


def _band(rng: Rng, shape: tuple[int, int], period_px: float) -> np.ndarray:
    """Make noise of about one grain, of variance 1."""
    down, along = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :]
    octaves = np.log2(np.maximum(np.hypot(down, along), 1e-4) * period_px)
    values = np.fft.irfft2(np.fft.rfft2(rng.normal(size=shape)) * np.exp(-((octaves / 0.6) ** 2)), shape)
    return values / max(float(values.std()), 1e-9)


def _mixed(share: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Mix two colours by a share for each pixel, clipped to 0 to 1."""
    share = np.clip(share, 0, 1)[..., None]
    return share * high + (1 - share) * low


def _image(sheet: _Sheet) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """Begin a drawing on paper."""
    image = Image.new("RGB", (sheet.columns, sheet.rows), _paint(sheet.paper))
    return image, ImageDraw.Draw(image)


def _paint(colour: np.ndarray) -> tuple[int, ...]:
    """Round a colour for Pillow."""
    return tuple(int(value) for value in np.clip(colour, 0, 255))


def _ink(rng: Rng, sheet: _Sheet) -> np.ndarray:
    """Choose one of the inks, a little changed."""
    return sheet.inks[rng.integers(len(sheet.inks))] + rng.normal(0, 8, 3)


def _points(rng: Rng, sheet: _Sheet, count: int) -> np.ndarray:
    """Choose places, as columns and rows."""
    return rng.random((count, 2)) * (sheet.columns, sheet.rows)


def _texture(rng: Rng, sheet: _Sheet) -> np.ndarray:
    """Noise of all grains between paper and inks, one field for each of two inks."""
    fall, stretch = rng.uniform(0.5, 4), float(np.exp(rng.uniform(0, 1.5)))
    values = _mixed(0.5 + 0.3 * _field(rng, sheet.shape, fall=fall, stretch=stretch), sheet.paper, sheet.inks[0])
    second = _field(rng, sheet.shape, fall=rng.uniform(0.5, 4))
    return values + 0.3 * np.clip(second, 0, 2)[..., None] * (sheet.inks[1] - sheet.paper)


def _grain(rng: Rng, sheet: _Sheet) -> np.ndarray:
    """Noise of one grain, between two colours or in each channel by itself."""
    period = float(np.exp(rng.uniform(np.log(2.5), np.log(sheet.side / 2))))
    if rng.random() < 0.5:
        return _mixed(0.5 + rng.uniform(0.15, 0.5) * _band(rng, sheet.shape, period), sheet.paper, sheet.inks[0])
    bands = [_band(rng, sheet.shape, period * rng.uniform(0.7, 1.4)) for _ in range(3)]
    return sheet.paper + rng.uniform(15, 70) * np.stack(bands, axis=2)


def _pixels(rng: Rng, sheet: _Sheet) -> np.ndarray:
    """Blocks of a few pixels, each of a colour by chance."""
    side = int(rng.integers(1, 12))
    small = (sheet.rows // side + 1, sheet.columns // side + 1)
    choice = rng.integers(0, rng.integers(1, 6), small)
    values = np.concatenate([sheet.paper[None], sheet.inks])[choice] if rng.random() < 0.3 else sheet.inks[choice]
    values = values + rng.normal(0, rng.uniform(5, 60), (*small, 3))
    return np.repeat(np.repeat(values, side, axis=0), side, axis=1)[: sheet.rows, : sheet.columns]


def _blotches(rng: Rng, sheet: _Sheet) -> np.ndarray:
    """Noise cut at levels: patches of flat or shaded ink with winding outlines."""
    values = np.tile(sheet.paper, (*sheet.shape, 1))
    period, softness = rng.uniform(0.08, 0.7) * sheet.side, np.exp(rng.uniform(-4, -1))
    for ink in sheet.inks[: rng.integers(1, 4)]:
        height = _band(rng, sheet.shape, period) + 0.2 * _field(rng, sheet.shape, fall=2)
        share = expit((height - rng.uniform(0, 1.2)) / softness)
        values = values + (rng.uniform(0.5, 1) * share)[..., None] * (ink - values)
    return values


def _polygons(rng: Rng, sheet: _Sheet) -> np.ndarray:
    """Lay polygons by chance, flat."""
    image, draw = _image(sheet)
    for centre in _points(rng, sheet, int(rng.integers(2, 40))):
        corners = centre + rng.normal(0, rng.uniform(0.03, 0.2) * sheet.side, (int(rng.integers(3, 8)), 2))
        draw.polygon([tuple(corner) for corner in corners.tolist()], fill=_paint(_ink(rng, sheet)))
    return np.asarray(image, np.float64)


def _emblems(rng: Rng, sheet: _Sheet) -> np.ndarray:
    """Lay stars, crosses, boxes, hearts and frames of one size, in one or two inks, flat or with a soft rim."""
    large, draw = _image(_Sheet(2 * sheet.rows, 2 * sheet.columns, sheet.paper, sheet.inks))
    radius = rng.uniform(0.03, 0.18) * 2 * sheet.side
    kind = rng.integers(5)
    for centre in 2 * _points(rng, sheet, int(rng.integers(2, 60))):
        size, turn = radius * rng.uniform(0.7, 1.3), rng.uniform(0, 2 * np.pi)
        fill = _paint(sheet.inks[rng.integers(2)])
        if kind == 0:
            spikes = int(rng.integers(4, 9))
            angle = turn + np.arange(2 * spikes) * np.pi / spikes
            away = np.where(np.arange(2 * spikes) % 2, rng.uniform(0.3, 0.6), 1.0)
        elif kind == 1:
            angle, away = turn + np.pi / 6 * np.array([-1, 1, 1.5, 2, 4, 4.5, 5, 7, 7.5, 8, 10, 10.5]), np.ones(12)
            away[2::3] = 0.4
        elif kind == 2:
            angle, away = turn + np.array([-0.5, 0.5, np.pi - 0.5, np.pi + 0.5]), np.ones(4)
        elif kind == 3:
            angle = np.linspace(0, 2 * np.pi, 40)
            away = 0.5 * (1 - np.sin(angle)) + 0.4
        else:
            angle, away = turn + np.arange(4) * np.pi / 2, np.ones(4)
        corners = centre + size * away[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        ring = [tuple(corner) for corner in corners.tolist()]
        if kind == 4:
            draw.line([*ring, ring[0]], fill=fill, width=max(2, int(0.15 * size)))
        else:
            draw.polygon(ring, fill=fill)
    values = np.asarray(large.resize((sheet.columns, sheet.rows), Image.Resampling.BOX), np.float64)
    return gaussian_filter(values, (*[rng.uniform(0.3, 4)] * 2, 0)) if rng.random() < 0.4 else values


def _strokes(rng: Rng, sheet: _Sheet) -> np.ndarray:
    """Draw curves of three bends with pens of many widths."""
    image, draw = _image(sheet)
    along = np.linspace(0, 1, 40)[:, None]
    widest = max(2, int(rng.uniform(0.005, 0.08) * sheet.side))
    for _ in range(int(rng.integers(5, 80))):
        a, b, c, d = _points(rng, sheet, 4)
        curve = (1 - along) ** 3 * a + 3 * along * (1 - along) ** 2 * b + 3 * along**2 * (1 - along) * c + along**3 * d
        width = int(rng.integers(1, widest + 1))
        draw.line([tuple(at) for at in curve.tolist()], fill=_paint(_ink(rng, sheet)), width=width, joint="curve")
    return np.asarray(image, np.float64)


def _script(rng: Rng, sheet: _Sheet) -> np.ndarray:
    """Set lines of made-up letters, each two or three short strokes, words apart."""
    image, draw = _image(sheet)
    height = int(rng.uniform(0.02, 0.15) * sheet.side) + 5
    pen, ink = max(1, height // 8), _paint(sheet.inks[0])
    for top in range(height, sheet.rows - height, int(height * rng.uniform(1.3, 2.2))):
        left = height
        while left < sheet.columns - height:
            if rng.random() < 0.83:
                box = (left, top, left + 0.6 * height, top + height)
                start = float(rng.uniform(0, 360))
                draw.arc(box, start, start + float(rng.uniform(90, 360)), fill=ink, width=pen)
                if rng.random() < 0.6:
                    x = left + float(rng.choice([0, 0.6])) * height
                    draw.line((x, top, x, top + height), fill=ink, width=pen)
            left += int(0.85 * height)
    return np.asarray(image, np.float64)


def _plots(rng: Rng, sheet: _Sheet) -> np.ndarray:
    """Draw axes with ticks, and columns, curves or crosses in them."""
    image, draw = _image(sheet)
    left, top, right, bottom = 0.12 * sheet.columns, 0.1 * sheet.rows, 0.92 * sheet.columns, 0.88 * sheet.rows
    count = int(rng.integers(5, 30))
    x = np.linspace(left, right, count + 2)[1:-1]
    kind = rng.integers(3)
    for series in range(int(rng.integers(1, 4))):
        y = rng.uniform(top, bottom, count)
        ink = _paint(sheet.inks[series])
        if kind == 0:
            half = 0.4 * (right - left) / (count + 1) / (series + 1)
            for at, height in zip(x, y, strict=True):
                draw.rectangle((at - half, height, at + half, bottom), fill=ink)
        elif kind == 1:
            draw.line(list(zip(x.tolist(), y.tolist(), strict=True)), fill=ink, width=int(rng.integers(1, 6)))
        else:
            arm = rng.uniform(0.01, 0.03) * sheet.side
            for at, height in zip(x, y, strict=True):
                draw.line((at - arm, height - arm, at + arm, height + arm), fill=ink, width=3)
                draw.line((at - arm, height + arm, at + arm, height - arm), fill=ink, width=3)
    draw.line([(left, top), (left, bottom), (right, bottom)], fill=_paint(sheet.inks[4]), width=2)
    for at in np.linspace(left, right, 8):
        draw.line((at, bottom, at, bottom + 6), fill=_paint(sheet.inks[4]), width=1)
    return np.asarray(image, np.float64)


def _ramps(rng: Rng, sheet: _Sheet) -> np.ndarray:
    """Run through several colours, straight, around a point or bent, in steps or not."""
    rows, columns = np.mgrid[: sheet.rows, : sheet.columns] / sheet.side
    row, column, turn = rng.random(), rng.random(), rng.uniform(0, 2 * np.pi)
    away = np.hypot(rows - row, columns - column)
    straight = rows * np.sin(turn) + columns * np.cos(turn)
    height = (away, straight, straight + 0.3 * _field(rng, sheet.shape, fall=6), away * straight)[rng.integers(4)]
    height = (height - height.min()) / max(float(np.ptp(height)), 1e-9)
    if rng.random() < 0.3:
        steps = rng.integers(3, 12)
        height = np.floor(height * steps) / steps
    stops = np.concatenate([sheet.paper[None], sheet.inks[: rng.integers(1, 5)]])
    return np.stack([np.interp(height, np.linspace(0, 1, len(stops)), band) for band in stops.T], axis=2)


def _lattice(rng: Rng, sheet: _Sheet) -> np.ndarray:
    """Add waves of a few directions: stripes, chequers and honeycombs, soft or cut."""
    rows, columns = np.mgrid[: sheet.rows, : sheet.columns]
    waves, period = int(rng.integers(1, 4)), float(np.exp(rng.uniform(np.log(6), np.log(sheet.side / 2))))
    turn = rng.uniform(0, np.pi)
    height = np.zeros(sheet.shape)
    for wave in range(waves):
        angle = turn + wave * np.pi / waves
        height += np.cos(2 * np.pi * (rows * np.sin(angle) + columns * np.cos(angle)) / period)
    share = expit(np.exp(rng.uniform(0, 4)) * (height / waves - rng.uniform(-0.3, 0.3)))
    return _mixed(share, sheet.paper, sheet.inks[0])


def _boards(rng: Rng, sheet: _Sheet) -> np.ndarray:
    """Part the sheet into upright boxes, again and again, each flat, with or without lines between."""
    values = np.empty((*sheet.shape, 3))
    waiting = [(0, 0, sheet.rows, sheet.columns)]
    smallest, line = rng.uniform(0.05, 0.35) * sheet.side, int(rng.integers(0, 5))
    while waiting:
        top, left, bottom, right = waiting.pop()
        if max(bottom - top, right - left) > smallest and rng.random() < 0.95:
            if bottom - top > right - left:
                middle = int(top + (bottom - top) * rng.uniform(0.3, 0.7))
                waiting += [(top, left, middle, right), (middle, left, bottom, right)]
            else:
                middle = int(left + (right - left) * rng.uniform(0.3, 0.7))
                waiting += [(top, left, bottom, middle), (top, middle, bottom, right)]
        else:
            values[top:bottom, left:right] = sheet.paper
            values[top + line : bottom, left + line : right] = _ink(rng, sheet)
    return values


def _scene(rng: Rng, sheet: _Sheet) -> np.ndarray:
    """Lay textured, shaded patches of all sizes over each other, as things in a photograph hide each other.

    Sizes fall by a power law, which gives pictures the statistics of photographs.
    """
    textures = [_field(rng, sheet.shape, fall=rng.uniform(1.5, 3.5)) for _ in range(3)]
    rows, columns = np.mgrid[: sheet.rows, : sheet.columns]
    values = np.tile(sheet.paper, (*sheet.shape, 1)) + 12 * textures[0][..., None]
    for x, y in _points(rng, sheet, int(rng.integers(20, 120))):
        half = sheet.side * np.minimum(0.02 * rng.pareto(1.2, 2) + 0.02, 0.5)
        turn = rng.uniform(0, np.pi)
        reach = int(half.max() * 1.5)
        window = np.s_[max(int(y) - reach, 0) : int(y) + reach + 1, max(int(x) - reach, 0) : int(x) + reach + 1]
        down, along = rows[window] - y, columns[window] - x
        u = np.abs(down * np.cos(turn) + along * np.sin(turn)) / half[0]
        v = np.abs(along * np.cos(turn) - down * np.sin(turn)) / half[1]
        inside = (u**3 + v**3 < 1) if rng.random() < 0.5 else (np.maximum(u, v) < 1)
        lit = 1 + rng.uniform(-0.5, 0.5) * (down + along) / (2 * reach + 1)
        grain = rng.uniform(0, 25) * textures[rng.integers(3)][window]
        values[window][inside] = (lit[..., None] * _ink(rng, sheet) + grain[..., None])[inside]
    return gaussian_filter(values, (0.7, 0.7, 0)) * (1 + 0.15 * _field(rng, sheet.shape, fall=5)[..., None])


def _rods(rng: Rng, sheet: _Sheet) -> np.ndarray:
    """Lay sticks and beans, lit from one side, with a shadow."""
    rows, columns = np.mgrid[: sheet.rows, : sheet.columns]
    values = np.tile(sheet.paper, (*sheet.shape, 1))
    thick, long = rng.uniform(0.02, 0.09) * sheet.side, rng.uniform(0.0, 0.25) * sheet.side
    for x, y in _points(rng, sheet, int(rng.integers(3, 40))):
        turn, ink = rng.uniform(0, np.pi), _ink(rng, sheet)
        down, along = rows - y, columns - x
        lengthwise = down * np.sin(turn) + along * np.cos(turn)
        aside = along * np.sin(turn) - down * np.cos(turn)
        away = np.hypot(np.maximum(np.abs(lengthwise) - long, 0), aside) / thick
        values *= 1 - 0.3 * np.exp(-((away - 1) ** 2) * 3)[..., None] * (away > 1)[..., None]
        lit = 0.45 + 0.75 * np.sqrt(np.clip(1 - away**2, 0, 1)) + 0.25 * aside / thick
        values[away < 1] = (lit[..., None] * ink)[away < 1]
    return values


def _section(rng: Rng, sheet: _Sheet) -> np.ndarray:
    """Draw tissue: a mosaic of pink cells of one size with pale walls, a dark nucleus in most, and clefts."""
    size = rng.uniform(0.025, 0.1) * sheet.side
    down, along = (np.arange(side // size + 2) * size for side in sheet.shape)
    seats = np.stack(np.meshgrid(down, along, indexing="ij"), axis=2).reshape(-1, 2)
    seats = seats + rng.normal(0, 0.35 * size, seats.shape)
    places = np.stack(list(np.mgrid[: sheet.rows, : sheet.columns]), axis=2).reshape(-1, 2)
    nearest, owner = (np.asarray(found) for found in KDTree(seats).query(places, k=2))
    walls = (nearest[:, 1] - nearest[:, 0]).reshape(sheet.shape) / size
    pink = rng.uniform((190, 90, 140), (245, 190, 220))
    purple = rng.uniform((50, 20, 90), (130, 90, 180))
    values = _mixed(0.5 + 0.2 * _field(rng, sheet.shape, fall=2.5), pink - 25, pink + 15)
    values += rng.uniform(0, 45) * np.exp(-((walls / 0.15) ** 2))[..., None]
    wide = rng.uniform(0.15, 0.4, len(seats)) * (rng.random(len(seats)) < rng.uniform(0.5, 1))
    bent = nearest[:, 0] / size * (1 + 0.15 * _field(rng, sheet.shape, fall=2).ravel())
    nuclei = expit(14 * (1 - bent / np.maximum(wide[owner[:, 0]], 1e-3))).reshape(sheet.shape)
    dark = rng.uniform(0.6, 1) * nuclei * (0.9 + 0.1 * _band(rng, sheet.shape, 6))
    values += np.clip(dark, 0, 1)[..., None] * (purple - values)
    clefts = expit(12 * (_band(rng, sheet.shape, rng.uniform(0.2, 0.8) * sheet.side) - rng.uniform(0.8, 3)))
    values += clefts[..., None] * (np.array([240, 234, 240]) - values)
    return gaussian_filter(values, (0.8, 0.8, 0))


def _lights(rng: Rng, sheet: _Sheet) -> np.ndarray:
    """Spots of light on a dark ground, of one colour or many."""
    spots = np.zeros((*sheet.shape, 3))
    count = int(rng.integers(5, 300))
    columns, rows = _points(rng, sheet, count).astype(int).T
    spots[rows, columns] = rng.pareto(2, (count, 1)) * np.clip(sheet.inks[rng.integers(0, 5, count)], 0, 255)
    spots = gaussian_filter(spots, (*[rng.uniform(0.8, 0.05 * sheet.side)] * 2, 0))
    return 255 * spots / max(float(np.percentile(spots, 99.8)), 1e-9) + rng.uniform(0, 30, 3)


_DRAW: dict[str, Callable[[Rng, _Sheet], np.ndarray]] = {
    "texture": _texture,
    "grain": _grain,
    "pixels": _pixels,
    "blotches": _blotches,
    "polygons": _polygons,
    "emblems": _emblems,
    "strokes": _strokes,
    "script": _script,
    "plots": _plots,
    "ramps": _ramps,
    "lattice": _lattice,
    "boards": _boards,
    "scene": _scene,
    "rods": _rods,
    "section": _section,
    "lights": _lights,
}

KINDS = tuple(_DRAW)
"""Names of what is drawn, in turn."""
