"""Atomic files: results, weights and training checkpoints are complete or absent."""
