"""Landmarks of millions of photos with Ray Data, for `facekd bulk`."""
