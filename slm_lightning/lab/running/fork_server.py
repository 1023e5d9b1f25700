"""What the fork server imports before it listens, so that sessions begin at once.

While it imports, which takes seconds, it would not see the end of the lab, so the kernel looks out for
that. What is imported stays: the garbage collector rests meanwhile, and frozen it is no work for it in
any session, nor at the end of the server.
"""

from __future__ import annotations

import gc
import logging

from slm_lightning.processes import ending_with_starter

logging.getLogger("matplotlib").setLevel(logging.ERROR)  # Lightning imports it, and nothing is drawn
gc.disable()
with ending_with_starter():
    import slm_lightning.lab.running.worker

gc.freeze()
gc.enable()

__all__ = ["slm_lightning"]
