"""The package's classifier, continued on the user's own cells.

`labels` reads what each cell is, `cells` reads the cells as an analysis would, `validation` cross-validates by subject,
and `run` conducts it all and writes the folder.
"""
