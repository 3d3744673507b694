"""Metrics of one model or two, with intervals."""
