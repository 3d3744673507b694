"""Spiking vision: images become first-spike latencies."""
