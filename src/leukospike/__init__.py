"""leukospike: blood smears, spikes and leukemia, with figures to believe. Research use only, not a diagnosis."""
