"""`python -m facekd.cli`, for torchrun."""

from facekd.cli import main

main()
