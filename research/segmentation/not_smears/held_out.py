"""Pictures to test on: photographs that installed packages bring, and drawings of a fixed seed."""

from collections.abc import Callable
from functools import partial
from importlib import resources

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter, map_coordinates
from sklearn.datasets import load_digits

_PHOTOGRAPHS = {
    ("skimage", "data"): (
        "astronaut.png",
        "brick.png",
        "camera.png",
        "cell.png",
        "chelsea.png",
        "chessboard_GRAY.png",
        "clock_motion.png",
        "coffee.png",
        "coins.png",
        "color.png",
        "grass.png",
        "gravel.png",
        "horse.png",
        "hubble_deep_field.jpg",
        "ihc.png",
        "logo.png",
        "microaneurysms.png",
        "moon.png",
        "motorcycle_left.png",
        "page.png",
        "phantom.png",
        "retina.jpg",
        "rocket.jpg",
        "text.png",
    ),
    ("sklearn", "datasets/images"): ("china.jpg", "flower.jpg"),
    ("matplotlib", "mpl-data/sample_data"): ("grace_hopper.jpg", "Minduka_Present_Blue_Pack.png"),
}

_WHITE, _GLASS, _PINK = (255, 255, 255), (236, 226, 232), (226, 178, 200)
_PURPLE, _PLUM, _MAGENTA = (92, 44, 140), (58, 24, 92), (190, 60, 150)

Rng = np.random.Generator


def test_pictures() -> dict[str, np.ndarray]:
    """Return all pictures to test on.

    Returns
    -------
    dict of str to ndarray
        By name, uint8 RGB, 0-255, (rows, columns, 3).
    """
    pictures: dict[str, np.ndarray] = {}
    for (package, folder), names in _PHOTOGRAPHS.items():
        for name in names:
            with resources.as_file(resources.files(package) / folder / name) as path, Image.open(path) as image:
                pictures[f"photograph {name.rpartition('.')[0]}"] = _on_white(image)
    for place, (name, draw) in enumerate(_DRAWN.items()):
        pictures[name] = draw(np.random.default_rng(place))
    return pictures


def _on_white(image: Image.Image) -> np.ndarray:
    """Lay a picture on white, where it lets through."""
    whole = image.convert("RGBA")
    return np.asarray(Image.alpha_composite(Image.new("RGBA", whole.size, (*_WHITE, 255)), whole).convert("RGB"))


def _uint8(values: np.ndarray) -> np.ndarray:
    """Round and clip to what a file holds."""
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)


def _between(share: np.ndarray, low: tuple[int, ...], high: tuple[int, ...]) -> np.ndarray:
    """Mix two colours by a share of 0 to 1 for each pixel."""
    return _uint8(share[..., None] * np.array(high) + (1 - share[..., None]) * np.array(low))


def _unit(values: np.ndarray) -> np.ndarray:
    """Stretch to 0 to 1."""
    return (values - values.min()) / np.ptp(values)


def _canvas(columns: int, rows: int, colour: tuple[int, ...] = _WHITE) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """Begin a drawing."""
    image = Image.new("RGB", (columns, rows), colour)
    return image, ImageDraw.Draw(image)


def _digits(rng: Rng) -> np.ndarray:
    """Lay handwritten digits, which scikit-learn brings, side by side."""
    images = np.asarray(load_digits(return_X_y=True)[0]).reshape(-1, 8, 8)
    chosen = rng.permutation(images)[:48]
    sheet = chosen.reshape(6, 8, 8, 8).transpose(0, 2, 1, 3).reshape(48, 64)
    grey = _uint8(255 - 255 * np.kron(sheet / 16, np.ones((8, 8))))
    return np.repeat(grey[:, :, None], 3, axis=2)


def _chart(rng: Rng, plot: Callable[[Figure, Rng], None]) -> np.ndarray:
    """Have Matplotlib draw a chart of 640 by 480 pixels."""
    figure = Figure(figsize=(6.4, 4.8), dpi=100)
    canvas = FigureCanvasAgg(figure)
    plot(figure, rng)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[:, :, :3]


def _line_chart(figure: Figure, rng: Rng) -> None:
    axes = figure.subplots()
    axes.plot(rng.normal(size=(80, 4)).cumsum(axis=0))
    axes.set_title("Four random walks")
    axes.grid()


def _bar_chart(figure: Figure, rng: Rng) -> None:
    figure.subplots().bar(list("abcdefgh"), rng.random(8), color="purple")


def _scatter_chart(figure: Figure, rng: Rng) -> None:
    axes = figure.subplots()
    axes.scatter(*rng.normal(size=(2, 150)), s=rng.uniform(20, 500, 150), color="mediumorchid", edgecolor="indigo")


def _pie_chart(figure: Figure, rng: Rng) -> None:
    figure.subplots().pie(rng.random(6) + 0.2, labels=list("ABCDEF"), colors=["plum", "pink", "indigo", "thistle"])


def _heat_map(figure: Figure, rng: Rng) -> None:
    axes = figure.subplots()
    figure.colorbar(axes.imshow(gaussian_filter(rng.normal(size=(24, 30)), 1), cmap="magma"))


def _contour_map(figure: Figure, rng: Rng) -> None:
    axes = figure.subplots()
    height = gaussian_filter(rng.normal(size=(120, 160)), 12)
    axes.contourf(height, 12, cmap="terrain")
    axes.contour(height, 24, colors="saddlebrown", linewidths=0.6)


def _histogram(figure: Figure, rng: Rng) -> None:
    figure.subplots().hist(rng.normal(size=(500, 2)), bins=25, color=["rebeccapurple", "hotpink"])


def _network(figure: Figure, rng: Rng) -> None:
    axes = figure.subplots()
    at = rng.random((30, 2))
    for one, other in rng.integers(0, 30, (60, 2)):
        axes.plot(*at[[one, other]].T, color="grey", linewidth=1)
    axes.scatter(*at.T, s=420, color="rebeccapurple", zorder=3)
    axes.axis("off")


_WORDS = ("the", "slide", "was", "read", "by", "two", "people", "who", "had", "not", "seen", "it", "before", "lunch")


def _page(rng: Rng, ink: tuple[int, ...], paper: tuple[int, ...], size: int) -> np.ndarray:
    """Set lines of words."""
    image, draw = _canvas(720, 900, paper)
    font = ImageFont.load_default(size)
    for top in range(50, 850, int(1.5 * size)):
        draw.text((50, top), " ".join(rng.choice(_WORDS, 620 // (3 * size))), fill=ink, font=font)
    return np.asarray(image)


def _sketch(rng: Rng, ink: tuple[int, ...], paper: tuple[int, ...], width: int) -> np.ndarray:
    """Draw winding lines, a house and a sun."""
    image, draw = _canvas(640, 480, paper)
    for _ in range(12):
        steps = gaussian_filter(rng.normal(size=(200, 2)), (6, 0)).cumsum(axis=0) * 12
        draw.line([tuple(point) for point in (steps + rng.uniform(80, 420, 2)).tolist()], fill=ink, width=width)
    draw.polygon([(380, 300), (470, 220), (560, 300)], outline=ink, width=width)
    draw.rectangle((395, 300, 545, 420), outline=ink, width=width)
    draw.ellipse((60, 40, 160, 140), outline=ink, width=width)
    return np.asarray(image)


def _code(rng: Rng, colours: tuple[tuple[int, ...], tuple[int, ...]], shape: tuple[int, int]) -> np.ndarray:
    """Draw black and white squares or bars at random, as of a code to scan."""
    bits = np.kron(rng.integers(0, 2, shape), np.ones((480 // shape[0], 480 // shape[1]), np.int64))
    return np.pad(np.array(colours, np.uint8)[bits], ((40, 40), (40, 40), (0, 0)), constant_values=255)


def _noise(rng: Rng, grain_px: float, colours: tuple[tuple[int, ...], tuple[int, ...]] | None) -> np.ndarray:
    """Make noise of one grain: between two colours, or each channel by itself."""
    values = rng.normal(size=(480, 640, 3 if colours is None else 1))
    smooth = np.stack([_unit(gaussian_filter(band, grain_px)) for band in np.moveaxis(values, 2, 0)], axis=2)
    return _uint8(255 * smooth) if colours is None else _between(smooth[:, :, 0], *colours)


def _clouds(rng: Rng, low: tuple[int, ...], high: tuple[int, ...]) -> np.ndarray:
    """Make noise of all grains at once, coarse ones strongest."""
    values = sum(2**octave * gaussian_filter(rng.normal(size=(480, 640)), 2**octave) for octave in range(7))
    return _between(_unit(np.asarray(values)), low, high)


def _gradient(_: Rng, low: tuple[int, ...], high: tuple[int, ...], *, around: bool) -> np.ndarray:
    """Run from one colour to another, down and across or around a point."""
    rows, columns = np.mgrid[:480, :640] / 480
    return _between(_unit(np.hypot(rows - 0.5, columns - 0.6) if around else rows + columns), low, high)


def _hues(_: Rng) -> np.ndarray:
    """Draw all hues around a point."""
    rows, columns = np.mgrid[:480, :480] / 240 - 1
    angle = np.arctan2(rows, columns)
    return _uint8(127 + 127 * np.stack([np.cos(angle + turn) for turn in (0, 2.1, 4.2)], axis=2))


def _grating(_: Rng, period_px: float, angle: float, low: tuple[int, ...], high: tuple[int, ...]) -> np.ndarray:
    """Draw soft stripes."""
    rows, columns = np.mgrid[:480, :640]
    wave = np.sin(2 * np.pi * (rows * np.sin(angle) + columns * np.cos(angle)) / period_px)
    return _between((wave + 1) / 2, low, high)


def _checks(_: Rng, side_px: int, low: tuple[int, ...], high: tuple[int, ...]) -> np.ndarray:
    """Draw a chequered cloth: two stripe patterns over each other."""
    rows, columns = np.mgrid[:480, :640] // side_px % 2
    return _between((rows + columns) / 2, low, high)


def _fabric(rng: Rng) -> np.ndarray:
    """Weave threads of uneven colour."""
    rows, columns = np.mgrid[:480, :640]
    over = np.where((rows // 4 + columns // 4) % 2, np.sin(np.pi * rows / 4) ** 2, np.sin(np.pi * columns / 4) ** 2)
    uneven = rng.normal(0, 0.08, (480, 1)) + rng.normal(0, 0.08, (1, 640))
    return _between(np.clip(0.2 + 0.6 * over + uneven, 0, 1), (70, 30, 90), (220, 180, 215))


def _wood(rng: Rng) -> np.ndarray:
    """Draw the rings of a board."""
    rows, columns = np.mgrid[:480, :640]
    bent = rows + 60 * gaussian_filter(rng.normal(size=(480, 640)), (10, 80)) * 40 + 0.05 * columns
    return _between((np.sin(bent / 6) + 1) / 2, (120, 70, 30), (205, 160, 105))


def _wall(rng: Rng) -> np.ndarray:
    """Lay bricks in mortar."""
    image, draw = _canvas(640, 480, (200, 195, 188))
    for course, top in enumerate(range(0, 480, 40)):
        for left in range(-40 * (course % 2), 640, 80):
            draw.rectangle(
                (left + 3, top + 3, left + 76, top + 36), fill=tuple(rng.integers((130, 50, 40), (180, 85, 70)))
            )
    return _uint8(np.asarray(image) + rng.normal(0, 6, (480, 640, 1)))


def _tissue(rng: Rng, *, nuclei: int, radius_px: float, glands: int, hue: tuple[int, ...] = _PINK) -> np.ndarray:
    """Draw a section in haematoxylin and eosin: oval nuclei all over wavy pink, in rings around holes if so many."""
    fibres = gaussian_filter(rng.normal(size=(600, 800)), (2, 12)) + 3 * gaussian_filter(
        rng.normal(size=(600, 800)), 20
    )
    picture = _between(_unit(fibres), (205, 120, 165), hue).astype(np.float64)
    rows, columns = np.mgrid[:600, :800]
    at = rng.random((nuclei, 2)) * (600, 800)
    for row, column, size in zip(*(rng.random((glands, 2)) * (600, 800)).T, rng.uniform(40, 80, glands), strict=True):
        away = np.hypot(rows - row, (columns - column) * 0.8)
        picture[away < size] = _GLASS
        turn = rng.uniform(0, 2 * np.pi, (int(size), 1))
        at = np.concatenate([at, (row, column) + (size + 8) * np.hstack([np.sin(turn), np.cos(turn) / 0.8])])
    for row, column in at:
        a, b = radius_px * rng.uniform(0.6, 1.2, 2)
        turn = rng.uniform(0, np.pi)
        top, left = max(int(row - 3 * radius_px), 0), max(int(column - 3 * radius_px), 0)
        window = np.s_[top : int(row + 3 * radius_px) + 1, left : int(column + 3 * radius_px) + 1]
        down, along = rows[window] - row, columns[window] - column
        u, v = down * np.cos(turn) + along * np.sin(turn), along * np.cos(turn) - down * np.sin(turn)
        share = 0.85 / (1 + np.exp(6 * (np.hypot(u / a, v / b) - 1)))[..., None]
        picture[window] = (1 - share) * picture[window] + share * rng.normal((85, 50, 130), 10)
    grain = gaussian_filter(rng.normal(0, 12, (600, 800)), 1.2)
    return _uint8(gaussian_filter(picture + 2 * grain[..., None], (0.8, 0.8, 0)))


def _discs(
    rng: Rng, fill: tuple[int, ...], paper: tuple[int, ...], *, radius_px: tuple[int, int], count: int, ring: int = 0
) -> np.ndarray:
    """Lay flat discs or rings on paper."""
    image, draw = _canvas(640, 480, paper)
    for column, row, radius in zip(*rng.random((2, count)), rng.uniform(*radius_px, count), strict=True):
        box = (640 * column - radius, 480 * row - radius, 640 * column + radius, 480 * row + radius)
        if ring:
            draw.ellipse(box, outline=fill, width=ring)
        else:
            draw.ellipse(box, fill=fill)
    return np.asarray(image.resize((640, 480), Image.Resampling.BICUBIC))


def _balls(rng: Rng, colour: tuple[int, ...], paper: tuple[int, ...], *, radius_px: int, count: int) -> np.ndarray:
    """Lay shaded balls with a gleam and a shadow, as grapes or beads, those in front last."""
    picture = np.tile(np.array(paper, np.float64), (480, 640, 1))
    rows, columns = np.mgrid[:480, :640]
    for row, column in rng.random((count, 2)) * (480, 640):
        radius = radius_px * rng.uniform(0.8, 1.2)
        shadow = np.hypot(rows - row - radius / 3, columns - column - radius / 3) / radius
        picture *= 1 - 0.35 / (1 + np.exp(8 * (shadow - 1)))[..., None]
        down, along = (rows - row) / radius, (columns - column) / radius
        away = np.hypot(down, along)
        inside = away < 1
        light = np.clip(-0.5 * down - 0.5 * along + 0.7 * np.sqrt(np.clip(1 - away**2, 0, 1)), 0.1, 1)
        gleam = 150 * np.exp(-30 * ((down + 0.4) ** 2 + (along + 0.4) ** 2))
        picture[inside] = (light[..., None] * np.array(colour) * 1.2 + gleam[..., None])[inside]
    return _uint8(picture)


def _flowers(rng: Rng, petal: tuple[int, ...], ground: tuple[int, ...], count: int) -> np.ndarray:
    """Draw flowers of five to nine petals with a yellow heart."""
    picture = _clouds(rng, tuple(int(0.6 * value) for value in ground), ground).astype(np.float64)
    rows, columns = np.mgrid[:480, :640]
    for row, column in rng.random((count, 2)) * (480, 640):
        radius, petals, turn = rng.uniform(25, 60), rng.integers(5, 10), rng.uniform(0, 6)
        away, angle = np.hypot(rows - row, columns - column) / radius, np.arctan2(rows - row, columns - column)
        edge = 0.55 + 0.45 * np.abs(np.cos(petals * angle / 2 + turn))
        inside = away < edge
        picture[inside] = (np.array(petal) * (0.6 + 0.4 * away / edge)[..., None])[inside]
        picture[away < 0.2] = (230, 190, 40)
    return _uint8(gaussian_filter(picture, (0.7, 0.7, 0)))


def _leaves(rng: Rng) -> np.ndarray:
    """Draw pointed leaves with a midrib, over each other."""
    image, draw = _canvas(640, 480, (60, 80, 40))
    for column, row, turn in zip(*rng.random((2, 90)) * [[640], [480]], rng.uniform(0, 6.3, 90), strict=True):
        along = np.linspace(0, np.pi, 20)
        half = np.stack([70 * along / np.pi, 18 * np.sin(along)], axis=1)
        outline = np.concatenate([half, half[::-1] * (1, -1)])
        turned = outline @ [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]] + (column, row)
        green = tuple(int(value) for value in rng.integers((40, 90, 20), (130, 190, 70)))
        draw.polygon([tuple(point) for point in turned.tolist()], fill=green)
        draw.line([tuple(turned[0]), tuple(turned[19])], fill=(190, 210, 140), width=2)
    return np.asarray(image)


def _stars(rng: Rng) -> np.ndarray:
    """Draw a sky of stars, few of them bright."""
    sky = np.zeros((480, 640, 3))
    light = 40 * rng.pareto(1.5, 400)
    sky[rng.integers(0, 480, 400), rng.integers(0, 640, 400)] = light[:, None] * rng.uniform(0.7, 1.3, (400, 3))
    return _uint8(30 * gaussian_filter(sky, (1.2, 1.2, 0)) + rng.normal(12, 3, (480, 640, 3)))


def _fluorescence(rng: Rng, colour: tuple[int, ...]) -> np.ndarray:
    """Draw cells that glow on black."""
    rows, columns = np.mgrid[:480, :640]
    glow = np.zeros((480, 640))
    for row, column in rng.random((40, 2)) * (480, 640):
        away = np.hypot((rows - row) / rng.uniform(14, 26), (columns - column) / rng.uniform(14, 26))
        glow += rng.uniform(0.4, 1) / (1 + np.exp(10 * (away - 1)))
    spotted = np.clip(glow, 0, 1) * (0.8 + 3 * gaussian_filter(rng.normal(size=(480, 640)), 3))
    return _uint8(spotted[..., None] * np.array(colour) + rng.normal(6, 2, (480, 640, 3)))


def _phase_contrast(rng: Rng) -> np.ndarray:
    """Draw unstained grey cells with a bright rim."""
    rows, columns = np.mgrid[:480, :640]
    grey = 130 + 60 * gaussian_filter(rng.normal(size=(480, 640)), 15)
    for row, column in rng.random((50, 2)) * (480, 640):
        away = np.hypot(rows - row, columns - column) / rng.uniform(14, 24)
        grey += 80 * np.exp(-60 * (away - 1) ** 2) - 35 * (away < 1)
    return np.repeat(_uint8(grey + rng.normal(0, 4, grey.shape))[:, :, None], 3, axis=2)


def _countries(rng: Rng) -> np.ndarray:
    """Draw a map: coloured countries with winding borders, rivers and dots for towns."""
    rows, columns = np.mgrid[:480, :640]
    bend = [14 * 25 * gaussian_filter(rng.normal(size=(480, 640)), 10) for _ in range(2)]
    seats = rng.random((14, 2)) * (480, 640)
    away = np.stack([np.hypot(rows + bend[0] - row, columns + bend[1] - column) for row, column in seats])
    nearest = np.sort(away, axis=0)
    picture = rng.integers(150, 250, (14, 3))[away.argmin(axis=0)]
    picture[nearest[1] - nearest[0] < 3] = (90, 90, 90)
    image = Image.fromarray(picture.astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for row, column in rng.random((25, 2)) * (460, 580):
        draw.ellipse((column - 4, row - 4, column + 4, row + 4), fill=(200, 30, 30))
        draw.text((column + 6, row - 6), str(rng.choice(_WORDS)).title(), fill=(0, 0, 0))
    return np.asarray(image)


def _streets(rng: Rng) -> np.ndarray:
    """Draw a plan of a town: white streets, grey blocks, a park and a river."""
    image, draw = _canvas(640, 480, (232, 228, 220))
    draw.rectangle((380, 90, 520, 220), fill=(185, 220, 165))
    for _ in range(24):
        (x0, x1), (y0, y1) = rng.uniform(0, 640, 2), rng.uniform(0, 480, 2)
        draw.line((x0, y0, x1, y1), fill=(170, 165, 160), width=9)
        draw.line((x0, y0, x1, y1), fill=_WHITE, width=6)
    draw.line([(0, 400), (160, 360), (330, 420), (640, 330)], fill=(160, 200, 235), width=26, joint="curve")
    return np.asarray(image)


def _sunset(rng: Rng) -> np.ndarray:
    """Draw a purple evening: sky, hills and a sun."""
    rows, columns = np.mgrid[:480, :640]
    picture = _between(np.clip(rows / 320, 0, 1), (110, 60, 140), (250, 170, 140)).astype(np.float64)
    picture[np.hypot(rows - 230, columns - 420) < 40] = (255, 225, 150)
    for hill, shade in enumerate((0.6, 0.4, 0.25)):
        ridge = 260 + 60 * hill + 500 * gaussian_filter(rng.normal(size=800), 30)[:640]
        picture[rows > ridge] = shade * np.array((120, 70, 130))
    return _uint8(picture + rng.normal(0, 3, (480, 640, 3)))


def _marble(rng: Rng) -> np.ndarray:
    """Draw dark veins in pale stone."""
    rows, columns = np.mgrid[:480, :640].astype(np.float64)
    bend = sum(2**octave * 12 * gaussian_filter(rng.normal(size=(480, 640)), 2**octave) for octave in range(2, 6))
    veins = np.abs(np.sin((rows + columns) / 60 + np.asarray(bend) / 60))
    return _between(veins**0.3, (110, 80, 120), (240, 232, 236))


def _watercolour(rng: Rng) -> np.ndarray:
    """Draw purple and pink washes on paper, darker at their rims."""
    picture = np.full((480, 640, 3), 245.0)
    for _ in range(14):
        field = gaussian_filter(rng.normal(size=(480, 640)), 25) * 90
        level = rng.uniform(1, 2)
        wash = 0.35 / (1 + np.exp(-20 * (field - level))) + 0.35 * np.exp(-200 * (field - level) ** 2)
        picture *= 1 - wash[..., None] * (1 - np.array(rng.choice([_PURPLE, _MAGENTA, _PINK])) / 255)
    return _uint8(picture + 25 * gaussian_filter(rng.normal(size=(480, 640, 1)), (1, 1, 0)))


def _swirl(rng: Rng) -> np.ndarray:
    """Bend stripes of three colours around a point."""
    rows, columns = np.mgrid[:480, :640] - 240.0
    turn = 3 * np.exp(-np.hypot(rows, columns - 80) / 150)
    at = rows * np.cos(turn) + (columns - 80) * np.sin(turn)
    stripes = rng.integers(0, 256, (32, 3)).astype(np.float64)
    bands = [map_coordinates(band, [(at / 20) % 32], order=1, mode="wrap") for band in stripes.T]
    return _uint8(np.stack(bands, axis=2))


def _confetti(rng: Rng) -> np.ndarray:
    """Strew squares, bars and dots of all colours."""
    image, draw = _canvas(640, 480, (250, 248, 245))
    for column, row in rng.random((260, 2)) * (640, 480):
        colour, (width, height) = tuple(int(value) for value in rng.integers(0, 256, 3)), rng.uniform(4, 18, 2)
        shape = draw.ellipse if rng.random() < 0.4 else draw.rectangle
        shape((column, row, column + width, row + height), fill=colour)
    return np.asarray(image)


def _window(_: Rng) -> np.ndarray:
    """Draw a program's window: bars, buttons and a table."""
    image, draw = _canvas(800, 600, (240, 240, 240))
    draw.rectangle((0, 0, 800, 36), fill=(88, 60, 150))
    draw.text((12, 10), "Results - 12 slides", fill=_WHITE, font=ImageFont.load_default(16))
    for place, word in enumerate(("Open", "Save", "Print", "Help")):
        draw.rounded_rectangle((12 + 90 * place, 46, 92 + 90 * place, 76), 6, fill=_WHITE, outline=(150, 150, 150))
        draw.text((30 + 90 * place, 54), word, fill=(20, 20, 20))
    for row in range(16):
        shade = (255, 255, 255) if row % 2 else (232, 226, 244)
        draw.rectangle((12, 90 + 30 * row, 788, 120 + 30 * row), fill=shade)
        for column in range(5):
            draw.text(
                (24 + 150 * column, 98 + 30 * row), f"{(row * 37 + column * 91) % 100}.{column}", fill=(40, 40, 40)
            )
    return np.asarray(image)


_DRAWN: dict[str, Callable[[Rng], np.ndarray]] = {
    "digits": _digits,
    "chart of lines": partial(_chart, plot=_line_chart),
    "chart of purple bars": partial(_chart, plot=_bar_chart),
    "chart of purple points": partial(_chart, plot=_scatter_chart),
    "chart of a purple pie": partial(_chart, plot=_pie_chart),
    "chart of heat": partial(_chart, plot=_heat_map),
    "chart of heights": partial(_chart, plot=_contour_map),
    "chart of a histogram": partial(_chart, plot=_histogram),
    "chart of a network": partial(_chart, plot=_network),
    "page in black": partial(_page, ink=(20, 20, 20), paper=_WHITE, size=16),
    "page in purple on pink": partial(_page, ink=_PURPLE, paper=(250, 228, 238), size=26),
    "page in large plum": partial(_page, ink=_PLUM, paper=_GLASS, size=60),
    "sketch in black": partial(_sketch, ink=(0, 0, 0), paper=_WHITE, width=2),
    "sketch in purple": partial(_sketch, ink=_PURPLE, paper=_GLASS, width=9),
    "code of squares": partial(_code, colours=((0, 0, 0), _WHITE), shape=(32, 32)),
    "code of purple bars": partial(_code, colours=(_PURPLE, _WHITE), shape=(1, 80)),
    "noise of each pixel": partial(_noise, grain_px=0, colours=None),
    "noise of colours, grain 3": partial(_noise, grain_px=3, colours=None),
    "noise of colours, grain 20": partial(_noise, grain_px=20, colours=None),
    "noise of stain, each pixel": partial(_noise, grain_px=0, colours=(_PURPLE, _GLASS)),
    "noise of stain, grain 2": partial(_noise, grain_px=2, colours=(_PURPLE, _GLASS)),
    "noise of stain, grain 6": partial(_noise, grain_px=6, colours=(_PURPLE, _GLASS)),
    "noise of stain, grain 18": partial(_noise, grain_px=18, colours=(_PURPLE, _GLASS)),
    "noise in grey, grain 4": partial(_noise, grain_px=4, colours=((10, 10, 10), (245, 245, 245))),
    "clouds in blue": partial(_clouds, low=(70, 120, 190), high=(250, 250, 252)),
    "clouds of stain": partial(_clouds, low=_PLUM, high=_GLASS),
    "gradient of stain": partial(_gradient, low=_PURPLE, high=_GLASS, around=False),
    "gradient around a point": partial(_gradient, low=_PLUM, high=_PINK, around=True),
    "gradient in grey": partial(_gradient, low=(0, 0, 0), high=_WHITE, around=False),
    "hues": _hues,
    "stripes in grey": partial(_grating, period_px=16, angle=0.4, low=(30, 30, 30), high=(230, 230, 230)),
    "stripes of stain, fine": partial(_grating, period_px=14, angle=1.2, low=_PURPLE, high=_GLASS),
    "stripes of stain, coarse": partial(_grating, period_px=90, angle=0.1, low=_PURPLE, high=_GLASS),
    "checks of stain": partial(_checks, side_px=40, low=_PURPLE, high=_GLASS),
    "checks in red": partial(_checks, side_px=12, low=(190, 20, 30), high=_WHITE),
    "fabric": _fabric,
    "wood": _wood,
    "wall": _wall,
    "marble": _marble,
    "watercolour": _watercolour,
    "swirl": _swirl,
    "tissue of small nuclei": partial(_tissue, nuclei=900, radius_px=6, glands=0),
    "tissue of large nuclei": partial(_tissue, nuclei=160, radius_px=16, glands=0),
    "tissue of glands": partial(_tissue, nuclei=250, radius_px=7, glands=9),
    "tissue, pale": partial(_tissue, nuclei=120, radius_px=9, glands=3, hue=(244, 214, 226)),
    "discs of purple": partial(_discs, fill=_PURPLE, paper=_WHITE, radius_px=(15, 40), count=30),
    "discs of plum, large": partial(_discs, fill=_PLUM, paper=_GLASS, radius_px=(60, 90), count=4),
    "dots of magenta": partial(_discs, fill=_MAGENTA, paper=_WHITE, radius_px=(5, 8), count=300),
    "rings of purple": partial(_discs, fill=_PURPLE, paper=_GLASS, radius_px=(20, 50), count=25, ring=6),
    "balls of purple": partial(_balls, colour=(150, 80, 190), paper=(240, 236, 240), radius_px=34, count=18),
    "grapes": partial(_balls, colour=(110, 40, 110), paper=(225, 215, 200), radius_px=26, count=140),
    "bubbles in red": partial(_balls, colour=(230, 40, 50), paper=_WHITE, radius_px=50, count=9),
    "flowers in purple on white": partial(_flowers, petal=(150, 70, 190), ground=(250, 246, 248), count=14),
    "flowers in pink on green": partial(_flowers, petal=(235, 130, 180), ground=(90, 150, 60), count=30),
    "leaves": _leaves,
    "stars": _stars,
    "cells that glow blue": partial(_fluorescence, colour=(60, 80, 255)),
    "cells that glow green": partial(_fluorescence, colour=(40, 240, 70)),
    "cells in grey": _phase_contrast,
    "map of countries": _countries,
    "map of streets": _streets,
    "sunset": _sunset,
    "confetti": _confetti,
    "window of a program": _window,
}
