"""Segmentation of white cells: cross-validated Dice per set and pooled, boxes of fields, and the fall under shifts."""
