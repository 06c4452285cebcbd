"""From a trained network to files that others run."""
