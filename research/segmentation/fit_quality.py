"""`python -m research.segmentation.fit_quality`: fit what tells a smear from other pictures.

Smears of seven laboratories and generated ones, as they are and changed as by other cameras, stains and slides, against
drawn pictures. Validated by leaving out one laboratory and a quarter of the kinds of drawings in turn, and reported on
the held-out pictures of `not_smears`, which nothing is fitted to.
"""

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from benchmarks.pictures import data_folder
from leukospike.images import read_image
from leukospike.segmentation import likeness, quality
from leukospike.segmentation.light import estimate_light
from leukospike.segmentation.likeness import MIN_LIKENESS, Likeness, Measures, measured, standardised
from leukospike.segmentation.sharpness import edges_of
from leukospike.smears import CellKind, draw_cell, draw_field, subject_style
from research.segmentation import not_smears, shifts

LABORATORIES = {
    "bccd": ("bccd/images/*", 150),
    "tecom": ("wbc-seg/tecom/*", 150),
    "cellavision": ("wbc-seg/cellavision/*", 60),
    "pbc": ("pbc/*/*", 160),
    "raabin": ("raabin/images/*", 150),
    "chula": ("chula/images/*", 100),
    "c-nmc": ("c-nmc/fold_*/*/UID_*", 150),
}
"""Where each one's images lie, and how many are taken, evenly by name."""

GENERATED, DRAWN = "generated", "drawn"
N_GENERATED, N_DRAWN = 120, 2400

_CUT_OUT_OF = {"bccd": "bccd/masks/{}.png", "tecom": "{}_mask.png", "cellavision": "{}_mask.png"}
_CHANGED = 2  # times that every image is changed
_LARGEST_PX = 640  # longest side at which an image is changed
_CUT_OUT = 0.2  # share of black from which a picture is of a cell cut out
_BLACK = 6  # grey levels up to which JPEG and blur leave what was black
_CUT = 0.2  # share of drawings of which a round piece is cut out on black, too
_GREY = 0.25  # share of drawings that are shown in grey, too
_RIDGE = 0.05  # inverse strength of the pull of coefficients to 0
_SMEARS_WEIGH = 8.0  # all smears together, over all drawings: to doubt a smear costs more than to believe a drawing

Rng = np.random.Generator


@dataclass(frozen=True)
class Sample:
    """What is measured of one picture."""

    source: str
    """Its laboratory, `GENERATED` or `DRAWN`."""
    kind: str
    """Name of the image, or kind of drawing."""
    is_changed: bool
    cut_out: bool
    measures: Measures


def even_light(pixels: np.ndarray, *, cut_out: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Show an image as even white light would, and tell where a slide is seen; not a cell cut out on black."""
    if cut_out:
        return pixels, None
    light = estimate_light(pixels)
    lit = Image.fromarray(light.lit.astype(np.uint8) * 255).resize(pixels.shape[1::-1], Image.Resampling.NEAREST)
    usable = np.asarray(lit) > 0
    return light.correct(pixels), None if usable.all() or not usable.any() else usable


def is_cut_out(pixels: np.ndarray) -> bool:
    """Tell whether a fifth or more is black."""
    return float((pixels[::4, ::4].max(axis=2) <= _BLACK).mean()) > _CUT_OUT


def image_paths(laboratory: str, folder: Path, count: int) -> list[Path]:
    """List images of one laboratory, evenly by name."""
    pattern, _ = LABORATORIES[laboratory]
    paths = [path for path in sorted(folder.glob(pattern)) if path.suffix != ".csv" and "_mask" not in path.stem]
    return [paths[place] for place in np.unique(np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int))]


def samples_of(pixels: np.ndarray, source: str, kind: str, *, is_changed: bool = False) -> Iterator[Sample]:
    """Measure an image in even light, and as it is if its own light is even enough."""
    cut_out = is_cut_out(pixels)
    looks = [even_light(pixels, cut_out=cut_out)]
    if not cut_out and not is_changed and source != "chula":
        looks.append((pixels, None))
    for shown, usable in looks:
        found = measured(shown, edges_of(shown, usable=usable), usable=usable)
        if found is not None:
            yield Sample(source, kind, is_changed, found.cut_out, found.measures)


def smears(laboratory: str) -> list[Sample]:
    """Measure the smears of one laboratory, as they are, changed, and with cells cut out where masks are drawn."""
    folder, count = data_folder(), LABORATORIES[laboratory][1]
    samples: list[Sample] = []
    for place, path in enumerate(image_paths(laboratory, folder, count)):
        rng = np.random.default_rng([0, place])
        pixels = read_image(path).pixels
        pictures = [pixels]
        if laboratory in _CUT_OUT_OF and place % 2 == 0:
            mask = (folder if laboratory == "bccd" else path.parent) / _CUT_OUT_OF[laboratory].format(path.stem)
            pictures += _cell_cut_out(pixels, mask)
        for picture in pictures:
            samples += samples_of(picture, laboratory, path.stem)
            for _ in range(_CHANGED):
                samples += samples_of(changed(picture, rng), laboratory, path.stem, is_changed=True)
    return samples


def generated() -> list[Sample]:
    """Measure generated fields and cells."""
    samples: list[Sample] = []
    for place in range(N_GENERATED):
        rng = np.random.default_rng([1, place])
        kinds = (CellKind.LYMPHOBLAST, CellKind.LYMPHOCYTE)
        style = subject_style(rng)
        drawn = draw_field(kinds, style, rng) if place % 2 else draw_cell(kinds[place // 2 % 2], style, rng)
        samples += samples_of(drawn.pixels, GENERATED, str(place))
        samples += samples_of(changed(drawn.pixels, rng), GENERATED, str(place), is_changed=True)
    return samples


def drawn() -> list[Sample]:
    """Measure drawings that are no smears, some of them cut out on black."""
    samples: list[Sample] = []
    for place, pixels in enumerate(not_smears.training_pictures(N_DRAWN, seed=0)):
        kind = not_smears.KINDS[place % len(not_smears.KINDS)]
        samples += samples_of(pixels, DRAWN, kind)
        rng = np.random.default_rng([2, place])
        if rng.random() < _GREY:
            grey = np.asarray(Image.fromarray(pixels).convert("L").convert("RGB"))
            samples += samples_of(grey, DRAWN, kind)
        if rng.random() < _CUT:
            rows, columns = np.indices(pixels.shape[:2])
            middle, radius = np.array(pixels.shape[:2]) / 2, min(pixels.shape[:2]) * rng.uniform(0.2, 0.5)
            away = np.hypot((rows - middle[0]) * rng.uniform(0.7, 1.3), columns - middle[1])
            samples += samples_of(np.where(away[..., None] < radius, pixels, 0), DRAWN, kind)
    return samples


def changed(pixels: np.ndarray, rng: Rng) -> np.ndarray:
    """Change an image in one to three ways."""
    if max(pixels.shape) > _LARGEST_PX:
        pixels = shifts.resize(pixels, _LARGEST_PX / max(pixels.shape))
    cut_out = is_cut_out(pixels)
    ways = _OF_CELLS if cut_out else (*_OF_CELLS, *_OF_FIELDS)
    for place in rng.permutation(len(ways))[: rng.integers(1, 4)]:
        black = pixels.max(axis=2) <= _BLACK
        pixels = ways[place](pixels, rng)
        if cut_out and pixels.shape[:2] == black.shape:
            pixels = np.where(black[..., None], np.uint8(0), pixels)
    return pixels


def _cell_cut_out(pixels: np.ndarray, mask: Path) -> list[np.ndarray]:
    """Cut out the cells of a drawn mask, with some black around; nothing where there are none or all is cell."""
    drawn_mask = np.array(Image.open(mask)) > 0
    if not 0.005 < drawn_mask.mean() < 0.75:
        return []
    rows, columns = (np.flatnonzero(drawn_mask.any(axis=axis)) for axis in (1, 0))
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    around = max(drawn_mask[window].shape) // 3
    cell = np.where(drawn_mask[..., None], pixels, 0)[window]
    return [np.pad(cell, ((around, around), (around, around), (0, 0)))]


def _empty_colour(pixels: np.ndarray) -> np.ndarray:
    """Take the brightest of an image for the colour of an empty place, or white around a cell cut out."""
    if is_cut_out(pixels):
        return np.full(3, 255.0)
    return np.maximum(np.percentile(pixels[::4, ::4].reshape(-1, 3), 90, axis=0), 1)


def _rounded(values: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)


def _other_densities(pixels: np.ndarray, rng: Rng) -> np.ndarray:
    """Change how much of each colour the stains absorb."""
    light = _empty_colour(pixels)
    return _rounded(light * (np.maximum(pixels, 1) / light) ** rng.uniform(0.6, 1.6, 3))


def _greyer(pixels: np.ndarray, rng: Rng) -> np.ndarray:
    """Take away some of the stain's colour; half the time, of red cells more than of nuclei."""
    light = _empty_colour(pixels)
    density = -np.log(np.maximum(pixels, 1) / light)
    grey, share = density.mean(axis=2, keepdims=True), rng.uniform(0.1, 0.6)
    if rng.random() < 0.5:
        share = share * expit(6 * (0.6 - grey / max(float(np.percentile(grey, 97)), 0.05)))
    return _rounded(light * np.exp(-((1 - share) * density + share * grey)))


def _bluer_red_cells(pixels: np.ndarray, rng: Rng) -> np.ndarray:
    """Let pale cells absorb more red and less blue, as in a smear of too high a pH, and dark nuclei hardly."""
    light = _empty_colour(pixels)
    density = -np.log(np.maximum(pixels, 1) / light)
    grey = density.mean(axis=2, keepdims=True)
    paleness = expit(6 * (0.6 - grey / max(float(np.percentile(grey, 97)), 0.05)))
    factor = rng.uniform((1.0, 0.8, 0.3), (2.5, 1.2, 1.0))
    return _rounded(light * np.exp(-density * (1 + paleness * (factor - 1))))


def _stretched(pixels: np.ndarray, rng: Rng) -> np.ndarray:
    """Change the ratio of the sides, as where images are brought to a square."""
    rows, columns = pixels.shape[0], round(pixels.shape[1] * float(np.exp(rng.uniform(-0.3, 0.3))))
    return np.asarray(Image.fromarray(pixels).resize((columns, rows), Image.Resampling.BICUBIC))


def _noise(pixels: np.ndarray, rng: Rng) -> np.ndarray:
    """Add a camera's noise, of each pixel or a little wider."""
    noise = rng.normal(size=pixels.shape)
    if rng.random() < 0.5:
        noise = gaussian_filter(noise, (*[rng.uniform(0.4, 1)] * 2, 0))
    return _rounded(pixels + rng.uniform(2, 14) * noise / noise.std())


def _ramp(pixels: np.ndarray, rng: Rng) -> np.ndarray:
    """Let the light fall to one side, or towards the rim, down to half."""
    rows, columns = (np.indices(pixels.shape[:2]).T / pixels.shape[1::-1][::-1]).T - 0.5
    turn = rng.uniform(0, 2 * np.pi)
    is_straight = rng.random() < 0.5
    share = rows * np.sin(turn) + columns * np.cos(turn) + 0.5 if is_straight else 1.4 * np.hypot(rows, columns)
    return _rounded(pixels * (1 - np.clip(share, 0, 1)[..., None] * rng.uniform(0, 0.5, rng.choice([1, 3]))))


def _crop(pixels: np.ndarray, rng: Rng) -> np.ndarray:
    """Take a part."""
    rows, columns = (int(side * rng.uniform(0.35, 0.9)) for side in pixels.shape[:2])
    top, left = rng.integers(0, pixels.shape[0] - rows + 1), rng.integers(0, pixels.shape[1] - columns + 1)
    return np.ascontiguousarray(pixels[top : top + rows, left : left + columns])


def _mirrored(pixels: np.ndarray, _: Rng) -> np.ndarray:
    """Show four times as many cells, half as large."""
    two = np.concatenate([pixels, pixels[:, ::-1]], axis=1)
    return shifts.resize(np.concatenate([two, two[::-1]]), min(1, _LARGEST_PX / max(two.shape)))


def _stray_light(pixels: np.ndarray, rng: Rng) -> np.ndarray:
    """Add light that did not pass the slide."""
    share = rng.uniform(0.35, 0.9)
    return _rounded(share * pixels + (1 - share) * rng.uniform(0.6, 1) * np.percentile(pixels, 95))


def _fringes(pixels: np.ndarray, rng: Rng) -> np.ndarray:
    """Move red and blue by a few pixels, as a poor lens does."""
    furthest = min(3.0, 0.006 * max(pixels.shape))
    moves = np.rint(rng.uniform(-furthest, furthest, (2, 2))).astype(int).tolist()
    red, blue = (np.roll(pixels[:, :, band], move, (0, 1)) for band, move in zip((0, 2), moves, strict=True))
    return np.stack([red, pixels[:, :, 1], blue], axis=2)


def _rims(pixels: np.ndarray, rng: Rng) -> np.ndarray:
    """Draw bright and dark rims around cells, as beside the focus."""
    sigma = rng.uniform(0.004, 0.012) * max(pixels.shape)
    values = pixels.astype(np.float32)
    return _rounded(values + rng.uniform(0.5, 1.5) * (values - gaussian_filter(values, (sigma, sigma, 0))))


_OF_CELLS: tuple[Callable[[np.ndarray, Rng], np.ndarray], ...] = (
    lambda pixels, rng: shifts.brightness(pixels, rng.uniform(0.7, 1.15)),
    lambda pixels, rng: shifts.gamma(pixels, rng.uniform(0.7, 1.4)),
    lambda pixels, rng: shifts.hue(pixels, rng.uniform(-10, 10)),
    lambda pixels, rng: shifts.blur(pixels, rng.uniform(0.5, 1.5)),
    lambda pixels, rng: shifts.jpeg(pixels, int(rng.integers(40, 95))),
    lambda pixels, rng: shifts.resize(pixels, float(rng.choice([0.5, 2]))),
    lambda pixels, rng: _rounded(pixels * rng.uniform(0.75, 1.05, 3)),
    _other_densities,
    _other_densities,
    _greyer,
    _noise,
)
_OF_FIELDS: tuple[Callable[[np.ndarray, Rng], np.ndarray], ...] = (
    _bluer_red_cells,
    _bluer_red_cells,
    _stretched,
    _ramp,
    _crop,
    _mirrored,
    _stray_light,
    _fringes,
    _rims,
    _noise,
)


def fit(samples: Sequence[Sample]) -> Likeness:
    """Fit the regression; every source of smears counts by the root of its number.

    Parameters
    ----------
    samples : sequence of Sample

    Returns
    -------
    Likeness
    """
    measures = np.array([sample.measures for sample in samples])
    cut_out = np.array([sample.cut_out for sample in samples])
    sources = np.array([sample.source for sample in samples])
    is_drawn = sources == DRAWN
    of_sources = [measures[(sources == source) & ~cut_out] for source in np.unique(sources[~is_drawn])]
    of_sources = [one for one in of_sources if len(one)]
    middles = np.array([np.median(one, axis=0) for one in of_sources])
    centre = middles.mean(axis=0)
    spread = np.sqrt(np.mean([one.var(axis=0) for one in of_sources], axis=0) + middles.var(axis=0)) + 1e-3
    _, places, counts = np.unique(sources, return_inverse=True, return_counts=True)
    weight = 1 / np.sqrt(counts[places])
    for chosen, share in ((is_drawn, 1.0), (~is_drawn, _SMEARS_WEIGH)):
        weight[chosen] *= share * len(samples) / 2 / weight[chosen].sum()
    z = standardised(measures, centre, spread, cut_out)
    model = LogisticRegression(C=_RIDGE, max_iter=2000).fit(np.hstack([z, z**2]), is_drawn, sample_weight=weight)
    linear, square = np.split(model.coef_[0], 2)
    return Likeness(centre, spread, linear, square, float(model.intercept_[0]))


def validate(samples: Sequence[Sample]) -> None:
    """Print how many smears of a source left out are doubted, and how many drawings of kinds left out are not."""
    sources = [*LABORATORIES, GENERATED]
    for number, source in enumerate(sources):
        kinds = set(not_smears.KINDS[number % 4 :: 4])
        left_out = [one for one in samples if one.source == source or (one.source == DRAWN and one.kind in kinds)]
        model = fit([one for one in samples if one.source != source and (one.source != DRAWN or one.kind not in kinds)])
        smears_left = [one for one in left_out if one.source == source]
        shares: list[str] = []
        for name, chosen in (
            ("as they are", [one for one in smears_left if not one.is_changed and not one.cut_out]),
            ("on black", [one for one in smears_left if not one.is_changed and one.cut_out]),
            ("changed", [one for one in smears_left if one.is_changed]),
            ("drawings of kinds left out", [one for one in left_out if one.source == DRAWN]),
        ):
            doubted = sum(model.of(one.measures, cut_out=one.cut_out) < MIN_LIKENESS for one in chosen)
            shares.append(f"{name} {doubted} of {len(chosen)}")
        print(f"{source} left out, doubted: {', '.join(shares)}", flush=True)


def write(model: Likeness, path: Path) -> None:
    """Write what was fitted, with numbers of six digits."""
    columns = ("centre", "spread", "linear", "square")
    rows = {
        name: {column: float(f"{getattr(model, column)[place]:.6g}") for column in columns}
        for place, name in enumerate(Measures._fields)
    }
    text = json.dumps({"columns": columns, "measures": rows, "intercept": round(model.intercept, 6)}, indent=1)
    path.write_text(text + "\n", encoding="utf-8")


def report() -> None:
    """Print what is said of held-out pictures and of the smears, with what is written."""
    strange = {quality.Quality.NOT_A_SMEAR, quality.Quality.INVERTED, quality.Quality.BLANK}
    counts: dict[str, int] = {}
    missed: list[str] = []
    for name, pixels in not_smears.test_pictures().items():
        advice = _advice(pixels)
        for one in advice:
            counts[one.quality] = counts.get(one.quality, 0) + 1
        if not strange.intersection(one.quality for one in advice):
            missed.append(name + "".join(f", {one}" for one in advice))
    print(f"held-out pictures: {counts}; not told ({len(missed)}): {'; '.join(missed)}", flush=True)
    for laboratory in LABORATORIES:
        counts = {}
        paths = image_paths(laboratory, data_folder(), LABORATORIES[laboratory][1])
        for path in paths:
            for one in _advice(read_image(path).pixels):
                counts[one.quality] = counts.get(one.quality, 0) + 1
        print(f"{laboratory}: {counts} of {len(paths)}", flush=True)


def _advice(pixels: np.ndarray) -> tuple[quality.Advice, ...]:
    """Return advice on an image in even light."""
    cut_out = is_cut_out(pixels)
    shown, usable = even_light(pixels, cut_out=cut_out)
    light = None if cut_out else estimate_light(pixels).colour
    return quality.quality_of(shown, usable=usable, light=light)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, validate, fit, write and report."""
    parser = argparse.ArgumentParser(prog="python -m research.segmentation.fit_quality", description=__doc__)
    default = Path(likeness.__file__).with_name(likeness.FITTED)
    parser.add_argument("--out", type=Path, default=default, help="file to write")
    parser.add_argument("--report", action="store_true", help="only report on what is shipped")
    options = parser.parse_args(arguments)
    if not options.report:
        with ProcessPoolExecutor(2) as pool:
            waiting = [pool.submit(drawn), *(pool.submit(smears, one) for one in LABORATORIES), pool.submit(generated)]
            samples = list(chain.from_iterable(one.result() for one in waiting))
        print(f"{len(samples)} samples", flush=True)
        validate(samples)
        write(fit(samples), options.out)
    report()
    return 0


if __name__ == "__main__":
    warnings.simplefilter("error")
    sys.exit(main())
