"""From a recipe and a pack to trained networks: each stage trained once, finished, measured."""
