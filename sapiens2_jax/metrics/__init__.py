"""What the tasks are measured by: sums over a whole set, in NumPy."""
