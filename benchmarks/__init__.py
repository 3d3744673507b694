"""Speed and memory of leukospike, as ratios measured in one run: `python -m benchmarks --help`."""
