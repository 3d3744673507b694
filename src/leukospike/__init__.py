"""leukospike: blood smears, spikes and leukemia, with figures that can be believed. Research use only, not a diagnosis."""
