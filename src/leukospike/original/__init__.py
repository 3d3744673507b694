"""The published system, step by step: spikes to maps, components, the network of 31 layers, its training."""
