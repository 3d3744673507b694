"""Digests that identify weights permanently."""

import hashlib
from collections.abc import Iterable

from torch import Tensor


def digest_of(tensors: Iterable[Tensor]) -> str:
    """Return the SHA-256 digest of tensors in their order, on any device."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
