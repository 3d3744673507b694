"""Spiking vision: images become first-spike latencies, one byte per pixel, for layers of neurons that spike once."""

from leukospike.spikes.colour import opponent_channels, optical_density, stain_channels
from leukospike.spikes.convolution import SpikingConv2d
from leukospike.spikes.decision import Decisions, decide
from leukospike.spikes.encoding import (
    BINS,
    SILENT,
    LatencyMap,
    first_wave,
    latency_map,
    rank_order_latency,
    value_latency,
)
from leukospike.spikes.gabor import edge_responses, gabor_bank, gabor_kernel
from leukospike.spikes.gaussians import difference_of_gaussians_bank, spot_responses
from leukospike.spikes.inhibition import feature_inhibition, lateral_inhibition, pointwise_inhibition
from leukospike.spikes.plasticity import (
    Reinforcement,
    RewardRates,
    StdpRates,
    kept_features,
    reward_modulated_stdp,
    stdp,
    winner_times,
)
from leukospike.spikes.pooling import pool_intensity, pool_latency
from leukospike.spikes.waves import Spikes, from_wave, to_wave
from leukospike.spikes.winners import k_winners

__all__ = [
    "BINS",
    "SILENT",
    "Decisions",
    "LatencyMap",
    "Reinforcement",
    "RewardRates",
    "Spikes",
    "SpikingConv2d",
    "StdpRates",
    "decide",
    "difference_of_gaussians_bank",
    "edge_responses",
    "feature_inhibition",
    "first_wave",
    "from_wave",
    "gabor_bank",
    "gabor_kernel",
    "k_winners",
    "kept_features",
    "latency_map",
    "lateral_inhibition",
    "opponent_channels",
    "optical_density",
    "pointwise_inhibition",
    "pool_intensity",
    "pool_latency",
    "rank_order_latency",
    "reward_modulated_stdp",
    "spot_responses",
    "stain_channels",
    "stdp",
    "to_wave",
    "value_latency",
    "winner_times",
]
