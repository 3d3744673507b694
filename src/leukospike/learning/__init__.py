"""What all trainings share: running means of weights, and what is noted of each epoch."""
