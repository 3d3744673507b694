"""Spiking vision: an image becomes first-spike latencies, one byte a pixel, and layers of neurons that spike once."""

from leukospike.spikes.convolution import SpikingConv2d
from leukospike.spikes.encoding import BINS, SILENT, LatencyMap, first_wave, latency_map
from leukospike.spikes.gabor import gabor_bank, gabor_kernel
from leukospike.spikes.inhibition import feature_inhibition, lateral_inhibition, pointwise_inhibition
from leukospike.spikes.pooling import pool_intensity, pool_latency
from leukospike.spikes.waves import Spikes, from_wave, to_wave
from leukospike.spikes.winners import k_winners

__all__ = [
    "BINS",
    "SILENT",
    "LatencyMap",
    "Spikes",
    "SpikingConv2d",
    "feature_inhibition",
    "first_wave",
    "from_wave",
    "gabor_bank",
    "gabor_kernel",
    "k_winners",
    "latency_map",
    "lateral_inhibition",
    "pointwise_inhibition",
    "pool_intensity",
    "pool_latency",
    "to_wave",
]
