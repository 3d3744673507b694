"""Who trains on whom, what is kept of it, and what it came to: splits, runs, systems."""
