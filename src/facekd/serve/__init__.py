"""Landmarks over HTTP: a server with a page, for `facekd serve`."""
