"""What is kept in files: weights, and the folder of a run."""
