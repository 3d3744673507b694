"""Many images and a model: cells, what is said of each, and of each subject."""
