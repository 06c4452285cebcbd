"""Recipes that come with the package: settings of whole runs that are known to work."""
