"""The version, in a file of its own, so that modules can name it without importing all that `facekd` gives outside."""

__version__ = "0.1.0"
