"""What the segmenter learns from: crops of labelled images, changed as other laboratories would change them.

All of it is arithmetic on batches, so that it runs where the network does.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional

from leukospike.segmentation.light import EMPTY
from leukospike.segmentation.network import CLASSES

RED_CELL = CLASSES.index("red cell")
"""Label of a pixel of a red cell."""

CELL, REST, UNKNOWN = len(CLASSES), len(CLASSES) + 1, len(CLASSES) + 2
"""Labels of a pixel of a white cell, whether cytoplasm or nucleus; of one that is of no white cell, whether of a red
cell or not; and of one of which nothing is known, which teaches nothing."""

MAY_BE = (
    (True, False, False, False),
    (False, True, False, False),
    (False, False, True, False),
    (False, False, False, True),
    (False, True, True, False),
    (True, False, False, True),
    (True, True, True, True),
)
"""The classes that a pixel of each label may have."""

_PLACES = 64  # places of white cells that are kept of an image, to centre crops on
_NEAR_CELL = 0.75  # share of crops with a white cell about their middle
_PIECED = 0.25  # share of crops pieced together of four: most images show one cell, and fields show several
_CROWDED = 0.35  # share of crops into which another's white cell is moved, so that cells touch
_CUT_OUT = 0.1  # share of the crops whose every pixel is known that are shown on black, as C-NMC's are
_AS_IT_IS = 0.15  # share of crops whose look is not changed
_LUMA = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))  # JPEG's, ITU-R 601
_JPEG_STEPS = (  # ITU-T T.81, table K.1: of luma at quality 50
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55), (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62), (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip


@dataclass(frozen=True)
class LabelledImage:
    """An image at its working size, in even light, and what each pixel of it is."""

    group: str
    """Where it comes from; groups are drawn in given shares."""
    pixels: UInt8[np.ndarray, "rows columns 3"]
    """RGB, 0-255."""
    labels: UInt8[np.ndarray, "rows columns"]
    """0 rest, 1 cytoplasm, 2 nucleus, 3 red cell, `CELL`, `REST` or `UNKNOWN`."""
    boxed: Int64[np.ndarray, "cells 4"] = field(default_factory=lambda: np.zeros((0, 4), np.int64))
    """White cells that nobody drew: top, left, bottom, right of each, half open; the network draws them itself."""
    is_centred: bool = False
    """Whether a white cell that nobody drew or boxed is in the middle; the network draws it, too."""
    is_complete: bool = True
    """Whether all white cells are drawn or boxed."""


@dataclass(frozen=True)
class Bank:
    """The images of one group, laid side by side."""

    pixels: UInt8[Tensor, "n 3 rows columns"]
    labels: UInt8[Tensor, "n rows columns"]
    sizes: Float[Tensor, "n 2"]
    """Rows and columns of each image; beyond, nothing is shown."""
    places: Float[Tensor, "n places 2"]
    """Row and column of pixels of white cells, drawn at random; NaN of an image without."""

    @classmethod
    def of(cls, images: Sequence[LabelledImage], device: torch.device, *, seed: int) -> "Bank":
        """Lay images side by side."""
        rows, columns = (max(image.labels.shape[axis] for image in images) for axis in (0, 1))
        pixels = np.zeros((len(images), 3, rows, columns), np.uint8)
        labels = np.full((len(images), rows, columns), UNKNOWN, np.uint8)
        places = np.full((len(images), _PLACES, 2), np.nan, np.float32)
        rng = np.random.default_rng(seed)
        for number, image in enumerate(images):
            height, width = image.labels.shape
            pixels[number, :, :height, :width] = image.pixels.transpose(2, 0, 1)
            labels[number, :height, :width] = image.labels
            of_cells = np.argwhere(np.isin(image.labels, (1, 2, CELL)))
            if len(of_cells):
                places[number] = of_cells[rng.integers(len(of_cells), size=_PLACES)]
        sizes = np.array([image.labels.shape for image in images], np.float32)
        return cls(*(torch.from_numpy(part).to(device) for part in (pixels, labels, sizes, places)))


def training_batch(
    banks: Mapping[str, Bank],
    counts: Mapping[str, int],
    side: int,
    rng: np.random.Generator,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "batch 3 side side"], Int64[Tensor, "batch side side"]]:
    """Return crops of the groups' images, some of them pieced together or crowded, with their look changed.

    Parameters
    ----------
    banks : mapping of str to Bank
    counts : mapping of str to int
        Crops of each group.
    side : int
        Rows and columns of a crop.
    rng : Generator
        Of NumPy, for what is decided once a batch.
    generator : torch.Generator
        On the banks' device.

    Returns
    -------
    pixels : Tensor of shape (batch, 3, side, side), float32
        RGB, whole numbers 0-255.
    labels : Tensor of shape (batch, side, side), int64
    """
    crops = [_crops(banks[name], count, side, generator) for name, count in counts.items() if count]
    pixels, labels = torch.cat([one for one, _ in crops]), torch.cat([one for _, one in crops])
    order = torch.randperm(len(pixels), generator=generator, device=pixels.device)
    pixels, labels = pixels[order], labels[order]
    pixels, labels = _pieced(pixels, labels, generator)
    pixels, labels = _crowded(pixels, labels, generator)
    changed = _changed_look(pixels, labels, rng, generator)
    return _on_black(changed, labels, generator)


def _random(generator: torch.Generator, *shape: int) -> Tensor:
    """Return numbers from 0 to 1."""
    return torch.rand(*shape, generator=generator, device=generator.device)


def _normal(generator: torch.Generator, *shape: int) -> Tensor:
    """Return normal numbers."""
    return torch.randn(*shape, generator=generator, device=generator.device)


def _spread(generator: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    """Return numbers from low to high."""
    return low + (high - low) * _random(generator, *shape)


def _some(generator: torch.Generator, n: int, share: float) -> Bool[Tensor, " n"]:
    """Choose each with a chance."""
    return _random(generator, n) < share


def _crops(bank: Bank, count: int, side: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Cut squares out of images, turned, mirrored and scaled; what lies beyond an image is its mirror, unlabelled."""
    chosen = torch.randint(len(bank.pixels), (count,), generator=generator, device=bank.pixels.device)
    sizes = bank.sizes[chosen]
    scale = torch.exp((0.32 * _normal(generator, count)).clamp(-0.9, 0.75))
    stretch = torch.exp(0.06 * _normal(generator, count))
    angle = _spread(generator, -math.pi, math.pi, count) * _some(generator, count, 0.6)
    mirror = 1 - 2.0 * _some(generator, count, 0.5)
    reach = side / scale
    place = torch.randint(_PLACES, (count,), generator=generator, device=chosen.device)
    near = bank.places[chosen, place] + reach[:, None] / 8 * _normal(generator, count, 2)
    anywhere = _random(generator, count, 2) * sizes
    centre = torch.where((_some(generator, count, _NEAR_CELL) & ~near.isnan().any(1))[:, None], near, anywhere)
    half = torch.minimum(reach[:, None] / 2, sizes / 2)
    centre = torch.maximum(torch.minimum(centre, sizes - half), half)
    steps = torch.arange(side, device=chosen.device) + 0.5 - side / 2
    down, across = torch.meshgrid(steps, steps, indexing="ij")
    along, aside = (turn / scale for turn in (torch.cos(angle), torch.sin(angle)))

    def source(of_down: Tensor, of_across: Tensor, start: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        places = start[:, None, None] + of_down[:, None, None] * down + of_across[:, None, None] * across
        length = length[:, None, None]
        # Mirrored at the image's borders, as often as it takes.
        inside = (places % (2 * length)).minimum(2 * length - places % (2 * length))
        return inside, (places >= 0) & (places < length)

    rows, seen_rows = source(along / stretch, aside * mirror * stretch, centre[:, 0], sizes[:, 0])
    columns, seen_columns = source(-aside / stretch, along * mirror * stretch, centre[:, 1], sizes[:, 1])
    height, width = bank.labels.shape[1:]
    grid = torch.stack([2 * columns / width - 1, 2 * rows / height - 1], dim=-1)
    pixels = functional.grid_sample(bank.pixels[chosen].float(), grid, align_corners=False, padding_mode="border")
    labels = functional.grid_sample(bank.labels[chosen, None].float(), grid, mode="nearest", align_corners=False)
    known = seen_rows & seen_columns
    return pixels, torch.where(known, labels[:, 0].round().long(), UNKNOWN)


def _pieced(pixels: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Let quarters of some crops be of others, meeting in a point about the middle."""
    n, side = len(pixels), pixels.shape[-1]
    row, column = ((side * _spread(generator, 0.3, 0.7, n)).long()[:, None, None] for _ in range(2))
    steps = torch.arange(side, device=pixels.device)
    below, right = steps[None, :, None] >= row, steps[None, None, :] >= column
    quarter = below * 2 + right * 1
    chosen = _some(generator, n, _PIECED)[:, None, None]
    for number in (1, 2, 3):
        other = torch.roll(torch.arange(n, device=pixels.device), number)
        here = chosen & (quarter == number)
        pixels = torch.where(here[:, None], pixels[other], pixels)
        labels = torch.where(here, labels[other], labels)
    return pixels, labels


def _crowded(pixels: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Move the white cells of some crops into others, with a line of rest where two meet."""
    n, side = len(pixels), pixels.shape[-1]
    other = torch.roll(torch.arange(n, device=pixels.device), n // 2)
    down, across = ((side * _spread(generator, -0.5, 0.5, n)).long() for _ in range(2))
    steps = torch.arange(side, device=pixels.device)
    rows, columns = steps[None, :] - down[:, None], steps[None, :] - across[:, None]
    inside = ((rows >= 0) & (rows < side))[:, :, None] & ((columns >= 0) & (columns < side))[:, None, :]
    rows, columns = rows.clamp(0, side - 1)[:, :, None], columns.clamp(0, side - 1)[:, None, :]
    moved_labels = labels[other[:, None, None], rows, columns]
    moved = pixels[other[:, None, None], :, rows, columns].permute(0, 3, 1, 2)
    is_cell = inside & ((moved_labels == 1) | (moved_labels == 2))
    is_cell &= _some(generator, n, _CROWDED)[:, None, None]
    around = functional.max_pool2d(is_cell[:, None].float(), 3, 1, 1)[:, 0] > 0
    line = around & ~is_cell & (labels != UNKNOWN)
    pixels = torch.where(is_cell[:, None], moved, pixels)
    return pixels, torch.where(is_cell, moved_labels, torch.where(line, 0, labels))


def _changed_look(
    pixels: Float[Tensor, "n 3 side side"],
    labels: Int64[Tensor, "n side side"],
    rng: np.random.Generator,
    generator: torch.Generator,
) -> Float[Tensor, "n 3 side side"]:
    """Change stain, light, focus, noise, resolution and compression, each now and then."""
    n = len(pixels)
    look = _restained(pixels, labels, generator)
    look = _relit(look, generator)
    look = _refocused(look, generator)
    coarse = _some(generator, n, 0.2)
    if bool(coarse.any()):
        look = torch.where(coarse[:, None, None, None], _coarsened(look, float(rng.uniform(1.3, 4.0))), look)
    noise = _spread(generator, 1, 10, n, 1, 1, 1) * _some(generator, n, 0.35)[:, None, None, None]
    look = look + noise * _normal(generator, *look.shape)
    packed = _some(generator, n, 0.3)
    look = torch.where(packed[:, None, None, None], _packed(look, _spread(generator, 0.3, 2.5, n)), look)
    same = _some(generator, n, _AS_IT_IS)
    return torch.where(same[:, None, None, None], pixels, look).clamp(0, 255).round()


def _restained(pixels: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """Multiply and mix the optical densities of the three colours; those of red cells by themselves, too."""
    n = len(pixels)
    density = -torch.log(pixels.clamp(min=1) / EMPTY)
    mix = torch.diag_embed(
        torch.exp(
            _spread(generator, -0.5, 0.5, n, 3) * _some(generator, n, 0.6)[:, None]
            + _spread(generator, -0.45, 0.35, n, 1) * _some(generator, n, 0.5)[:, None]
        )
    )
    mix = mix + 0.1 * _normal(generator, n, 3, 3) * _some(generator, n, 0.4)[:, None, None]
    changed = torch.einsum("nij,njrc->nirc", mix, density)
    # Eosin may be as grey as azure, or pale: how red cells look says little of how nuclei do.
    red = functional.avg_pool2d((labels == RED_CELL)[:, None].float(), 5, 1, 2)
    apart = changed * torch.exp(_spread(generator, -0.6, 0.4, n, 3))[:, :, None, None]
    grey = _spread(generator, 0, 1.4, n) * _some(generator, n, 0.6)
    apart[:, 0] += grey[:, None, None] * apart[:, 1]
    share = red * _some(generator, n, 0.45)[:, None, None, None]
    changed = changed + share * (apart - changed)
    return EMPTY * torch.exp(-changed)


def _relit(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Leave some of the light's unevenness and tint, as an estimate of it does."""
    n, side = len(pixels), pixels.shape[-1]
    line = torch.linspace(-1, 1, side, device=pixels.device)
    down, across = torch.meshgrid(line, line, indexing="ij")
    terms = torch.stack([down, across, down * across, down**2, across**2])
    slopes = 0.05 * _normal(generator, n, 1, 5) + 0.02 * _normal(generator, n, 3, 5)
    uneven = torch.einsum("nct,trs->ncrs", slopes, terms) * _some(generator, n, 0.4)[:, None, None, None]
    level = 0.05 * _normal(generator, n, 3) + 0.06 * _normal(generator, n, 1)
    # Where no empty place is seen, the light is guessed, and may be off by far.
    far = _spread(generator, -0.45, 0.15, n, 1) * _some(generator, n, 0.12)[:, None]
    return pixels * torch.exp(uneven + (level + far)[:, :, None, None])


def _refocused(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Blur some crops, a third of them towards one side only, as a lens does at its rim; give others dark rims."""
    n, side = len(pixels), pixels.shape[-1]
    width = _spread(generator, 0.4, 2.4, n)
    steps = torch.arange(-6, 7, device=pixels.device)
    kernel = torch.exp(-0.5 * (steps[None] / width[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(3, dim=0)
    planes = functional.pad(pixels.reshape(1, 3 * n, side, side), (6, 6, 6, 6), mode="reflect")
    planes = functional.conv2d(planes, kernel[:, None, :, None], groups=3 * n)
    blurred = functional.conv2d(planes, kernel[:, None, None, :], groups=3 * n).reshape(pixels.shape)
    line = torch.linspace(-1, 1, side, device=pixels.device)
    turn = _spread(generator, 0, 2 * math.pi, n)[:, None, None]
    towards = torch.cos(turn) * line[None, :, None] + torch.sin(turn) * line[None, None, :]
    share = torch.where(_some(generator, n, 0.33)[:, None, None], (towards + 0.5).clamp(0, 1), 1.0)
    share = share * _some(generator, n, 0.4)[:, None, None]
    # Out of focus the other way, or with a narrow condenser, edges are dark lines with bright ones beside them.
    rims = _some(generator, n, 0.15)[:, None, None]
    share = torch.where(rims, -_spread(generator, 0.5, 3.0, n)[:, None, None], share)
    return pixels + share[:, None] * (blurred - pixels)


def _coarsened(pixels: Tensor, factor: float) -> Tensor:
    """Show crops as enlarged from a coarser picture."""
    side = pixels.shape[-1]
    small = functional.interpolate(pixels, size=max(8, round(side / factor)), mode="area")
    return functional.interpolate(small, size=side, mode="bicubic", align_corners=False)


def _packed(pixels: Tensor, steps: Float[Tensor, " n"]) -> Tensor:
    """Round blocks of 8 x 8 pixels as JPEG does, colours at half the resolution; `steps` of 1 is quality 50."""
    side = pixels.shape[-1]
    fill = -side % 16
    padded = functional.pad(pixels, (0, fill, 0, fill), mode="reflect")
    to_luma = torch.tensor(_LUMA, device=pixels.device)
    from_luma = torch.linalg.inv(torch.tensor(_LUMA)).to(pixels.device)
    planes = torch.einsum("ij,njrc->nirc", to_luma, padded)
    table = torch.tensor(_JPEG_STEPS, device=pixels.device, dtype=pixels.dtype)
    chroma = functional.avg_pool2d(planes[:, 1:], 2)
    luma = _rounded_blocks(planes[:, :1], table, steps)
    chroma = functional.interpolate(_rounded_blocks(chroma, table.clamp(min=17), steps), scale_factor=2.0)
    back = torch.einsum("ij,njrc->nirc", from_luma, torch.cat([luma, chroma], dim=1))
    return back[..., :side, :side]


def _rounded_blocks(planes: Tensor, table: Tensor, steps: Float[Tensor, " n"]) -> Tensor:
    """Round the cosine transform of blocks to multiples of a table times each image's step."""
    n, channels, rows, columns = planes.shape
    places = torch.arange(8, device=planes.device)
    basis = torch.cos((2 * places[None, :] + 1) * places[:, None] * math.pi / 16) / 2
    basis[0] /= math.sqrt(2)
    blocks = planes.reshape(n, channels, rows // 8, 8, columns // 8, 8).permute(0, 1, 2, 4, 3, 5)
    unit = table * steps[:, None, None, None, None, None]
    rounded = (basis @ blocks @ basis.T / unit).round() * unit
    return (basis.T @ rounded @ basis).permute(0, 1, 2, 4, 3, 5).reshape(planes.shape)


def _on_black(pixels: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Blacken what is no white cell in some crops of which all is known: nobody drew the nuclei of cells on black."""
    cell = (labels == 1) | (labels == 2)
    around = functional.max_pool2d(cell[:, None].float(), 3, 1, 1)[:, 0] > 0
    known = (labels != CELL).flatten(1).all(1) & ~(around & (labels == UNKNOWN)).flatten(1).any(1)
    chosen = known & (labels == 2).flatten(1).any(1) & _some(generator, len(pixels), _CUT_OUT)
    shown = torch.where((chosen[:, None, None] & ~cell)[:, None], 0.0, pixels)
    return shown, torch.where(chosen[:, None, None] & ~cell, 0, labels)
