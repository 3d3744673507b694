"""The published system, step by step: maps from spikes, components, the 31-layer network and its training."""
