"""Figures of one model or of two, with their intervals."""
