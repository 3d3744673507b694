"""Classification of cells: nested cross-validation by subject on C-NMC, row by row, calibration, sets, and outliers."""
