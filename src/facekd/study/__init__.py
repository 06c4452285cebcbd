"""Comparing networks: a grid of recipes, trained once each, in one table."""
