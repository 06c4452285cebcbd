"""Training: views, sampling, the loop, the optimiser, teachers, weight averaging, logs."""
