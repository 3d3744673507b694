"""Spiking vision: an image becomes first-spike latencies, one byte a pixel, exactly as the original system has them."""

from leukospike.spikes.encoding import BINS, SILENT, LatencyMap, first_wave, latency_map
from leukospike.spikes.gabor import gabor_bank, gabor_kernel

__all__ = ["BINS", "SILENT", "LatencyMap", "first_wave", "gabor_bank", "gabor_kernel", "latency_map"]
