"""All kinds of files, by name."""

from __future__ import annotations

from file_kinds import FILE_KINDS
from network_kinds import NETWORK_KINDS
from run_kinds import RUN_KINDS

KINDS = {kind.name: kind for kind in (*FILE_KINDS, *NETWORK_KINDS, *RUN_KINDS)}
