"""Parts of maps of features, and how one is laid on the map of an image of one colour."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor


class Window(NamedTuple):
    """Places of a map of features: rows from `top` to before `bottom`, columns likewise."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def rows(self) -> slice:
        """To index with."""
        return slice(self.top, self.bottom)

    @property
    def columns(self) -> slice:
        """To index with."""
        return slice(self.left, self.right)

    def grown(self, by: int, rows: int, columns: int) -> "Window":
        """Take in what is around it, as far as a map of so many rows and columns has it."""
        return Window(
            max(self.top - by, 0), min(self.bottom + by, rows), max(self.left - by, 0), min(self.right + by, columns)
        )

    def of(self, features: Tensor, place: "Window") -> Tensor:
        """Cut this out of features that are those of another window."""
        rows, columns = (
            slice(self.top - place.top, self.bottom - place.top),
            slice(self.left - place.left, self.right - place.left),
        )
        return features[..., rows, columns]

    def doubled(self, rows: int | None = None, columns: int | None = None) -> "Window":
        """Return the same place in a map of twice the size, or of so many rows and columns: twice, or one less."""
        bottom, right = 2 * self.bottom, 2 * self.right
        return Window(
            2 * self.top,
            bottom if rows is None else min(bottom, rows),
            2 * self.left,
            right if columns is None else min(right, columns),
        )

    def halved(self) -> "Window":
        """Return the place in a map of half the size that has all of it."""
        return Window(self.top // 2, -(-self.bottom // 2), self.left // 2, -(-self.right // 2))


def laid(
    features: Tensor, window: Window, plain: Tensor, place: Window, size: tuple[int, int]
) -> Float[Tensor, "batch channels r c"]:
    """Lay features of a window on those of a plain image, stretched to a size, and cut out a place."""
    rows, columns = (_stretched(length, n_plain) for length, n_plain in zip(size, plain.shape[-2:], strict=True))
    # With the channels last, as they lie in memory: measured, a third of the time.
    taken = plain.permute(0, 2, 3, 1).index_select(1, rows[place.top : place.bottom])
    laid = taken.index_select(2, columns[place.left : place.right]).permute(0, 3, 1, 2)
    window.of(laid, place).copy_(features)
    return laid


def _stretched(length: int, n_plain: int) -> Int64[Tensor, " length"]:
    """Repeat what is in the middle of a plain map's side so that it gets another length: give the place of each."""
    places, middle = torch.arange(length), n_plain // 2
    from_end = (places - length + n_plain).clamp(min=middle)
    return torch.where(places < length // 2, places.clamp(max=middle), from_end)
