"""A policy of the record as a bundle, to hand on."""

from __future__ import annotations

from pathlib import Path

from slm_lightning.errors import RefusedError, UsageError
from slm_lightning.lab.bundle import write_bundle
from slm_lightning.lab.replay import Which, find_policy, read_checkpoint
from slm_lightning.registry import REGISTRY
from slm_lightning.spec.load import load_spec
from slm_lightning.spec.resolve import resolve
from slm_lightning.spec.trust import code_in
from slm_lightning.tracking import Record


def export_policy(run: str, folder: Path, record: Record, which: Which = "best") -> Path:
    """Writes the policy that ``find_policy`` finds into the new ``folder``, and returns that.

    Raises as ``find_policy`` and ``write_bundle``, and RefusedError where nobody else could use it.
    """
    files = find_policy(run, record, which)
    if files.is_foreign:
        raise UsageError(f"{run} is a bundle already", "copy the folder")
    spec = resolve(load_spec(files.spec), REGISTRY)
    if code := code_in(spec):
        raise RefusedError(
            f"{files.name} needs {code}, which a bundle cannot carry",
            "share the code of the environment and the spec, for others to train",
        )
    checkpoint = read_checkpoint(files.checkpoint)
    tags = record.get(files.run_id).tags if files.run_id else {}
    about: dict[str, object] = {"name": files.name, "run_id": files.run_id, "checkpoint": which}
    about |= {key: checkpoint[key] for key in ("frame", "total_reward_ma") if key in checkpoint}
    origin = {"version": "slm.version", "commit": "mlflow.source.git.commit"}
    about |= {key: tags[tag] for key, tag in origin.items() if tag in tags}
    write_bundle(folder, spec.to_dict(), checkpoint["state_dict"], about)
    return folder
