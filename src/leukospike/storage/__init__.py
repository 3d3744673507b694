"""Files that are whole or absent: results, weights, the state of a training."""
