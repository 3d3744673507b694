"""What makes the weights that ship and the tables of docs/results.md: `python -m research --help`."""
