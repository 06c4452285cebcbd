"""Landmark networks: backbones of timm under landmark heads, and the files they are kept in."""
