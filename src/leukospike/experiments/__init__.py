"""Experiments: splits, runs, systems, and their results."""
