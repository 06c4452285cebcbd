"""Run a recipe in a process of its own, with a checkpoint after every epoch: RECIPE PACK OUT [CHANGE ...]."""

import sys

from facekd.data.pack import Pack
from facekd.pipeline.distill import distill
from facekd.recipes.load import load
from facekd.training import loop

loop._SAVE_EVERY = 0
distill(load(sys.argv[1], sys.argv[4:]), Pack.open(sys.argv[2]), sys.argv[3], accelerator="cpu")
