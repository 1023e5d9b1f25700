"""``python -m slm_lightning``: the command line."""

from __future__ import annotations

from slm_lightning.cli import main

main()
