"""The original's front end: the input that its network receives from a picture."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from leukospike.images import Picture, luma
from leukospike.original.preprocessing import Augmentation, spike_map


@dataclass(frozen=True)
class SpikeFrontEnd:
    """The original's front end: the map of first spikes, blurred and resized; float32, 0 to 1."""

    size: int
    """Side of the maps, pixels."""
    window: int
    """Side of the blur's kernel, pixels."""
    dtype = np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, ...]:
        """Return rows and columns of a map."""
        return self.size, self.size

    def settings(self) -> dict[str, object]:
        """Return size and window."""
        return {"size": self.size, "window": self.window}

    def see(self, picture: Picture) -> Float[np.ndarray, "rows columns"]:
        """Compute the spike map of a picture."""
        return spike_map(luma(picture.pixels), size=self.size, window=self.window)

    def changed(
        self, seen: Float[np.ndarray, "n rows columns"], augmentation: Augmentation
    ) -> Float[np.ndarray, "n rows columns"]:
        """Flip, rotate, zoom and shift maps."""
        return augmentation.apply(torch.from_numpy(seen)).numpy()
