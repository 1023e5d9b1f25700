"""Run as ``unshare -m python -m tests.updates.full_disk FOLDER``: a disk with no room for a graph."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from torch import nn

from slm_lightning.data.workers import Workers
from slm_lightning.errors import StorageError
from slm_lightning.updates import Updates
from tests.callbacks.small_disk import mount
from tests.updates.test_stepper import learner


def main() -> None:
    place = Path(sys.argv[1]) / "small"
    mount(place, "size=16k")
    os.environ["XDG_CACHE_HOME"] = str(place)
    weights = nn.Parameter(torch.ones(3))
    updates = Updates({"net": learner([weights])}, Workers(), compiled=True)
    try:
        updates(("net",), lambda x: ((weights * x).sum(), {}), torch.ones(3))
    except StorageError as error:
        print(error)


if __name__ == "__main__":
    main()
