"""The training loop and what it is made of: views, sampling, teachers, averages, logs."""
