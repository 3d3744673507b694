"""Analysis of many images with a model: results for each cell and each subject."""
