"""Parts shared by all trainings: running means of weights, random numbers, and the record of each epoch."""
