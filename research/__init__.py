"""What makes the weights that ship and the tables of docs/results/: `python -m research --help`."""
