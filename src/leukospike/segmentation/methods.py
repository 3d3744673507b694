"""The segmenters of the package, each with the digest of its weights."""

from dataclasses import dataclass
from functools import cache, partial

from leukospike.segmentation import plastic
from leukospike.segmentation.class_maps import Segmenter, read_classes
from leukospike.segmentation.network import default_segmenter
from leukospike.storage.digests import digest_of


@dataclass(frozen=True)
class SegmentationMethod:
    """A segmenter and its identifier for records."""

    name: str
    segmenter: Segmenter
    digest: str
    """Of its weights."""


@cache
def surrogate() -> SegmentationMethod:
    """Return the spiking network trained by surrogate gradients: the default."""
    network = default_segmenter()
    return SegmentationMethod("surrogate", partial(read_classes, network), digest_of(network.state_dict().values()))


@cache
def stdp() -> SegmentationMethod:
    """Return the network that learned by spike times and reward."""
    network = plastic.default_plastic()
    digest = digest_of(network.state_dict().values())
    return SegmentationMethod("stdp", partial(plastic.read_classes, network), digest)
