"""A trial that goes on beyond the frames it was planned with."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slm_lightning.data import sealed
from slm_lightning.data.checkpoint_files import LAST
from slm_lightning.data.memory import PastEpisodes, PrioritizedReplay
from slm_lightning.data.rollout_data import KEPT_MEMORY, RolloutData
from slm_lightning.errors import StorageError, UsageError
from slm_lightning.lab.preflight import check_agent, look_at
from slm_lightning.lab.trial import EXTENDED, Trial, write_json
from slm_lightning.spec.blanks import refuse_blanks
from slm_lightning.spec.load import load_spec
from slm_lightning.spec.model import Spec
from slm_lightning.spec.wording import shown
from slm_lightning.tracking import RESOLVED, Record, RunInfo, read_rows

KEY = "env.max_frame"
"""What may be raised: all else would make it another trial."""
JOURNAL = "metrics.jsonl"
TAG = "slm.extended"
ANEW = "start a new run with it: slm-lightning run SPEC --set KEY=VALUE"


def extend(info: RunInfo, record: Record, asked: Mapping[str, Any]) -> list[str]:
    """Gives trial ``info`` the budget that is ``asked`` for: whatever then resumes it goes on to that.
    Returns what keeps it from equalling a trial that had this budget from the start.

    The specs in the record get the new budget; the parameter keeps the first, and tag ``slm.extended``
    tells both. Raises LockedError, and UsageError where that cannot be done, and then changes nothing.
    """
    if info.kind != "trial":
        raise UsageError(f"{info.name} is a search, and --extend is for trials", "raise --trials")
    trial = Trial.recorded(info, record, settled=())
    refuse_blanks(trial.spec.to_dict())
    before, after = trial.spec.env.max_frame, _budget(asked)
    if after <= before:
        raise UsageError(f"{info.name} has {before:,} frames already", f"give {KEY} more than that")
    spec = with_frames(trial.spec, after)
    check_agent(spec, look_at(spec.env).info)
    for run_id in (info.run_id, *trial.session_ids):
        record.hold(run_id)
    for run_id in trial.session_ids:
        _bring_back(run_id, record, spec)
    doubts = _doubts(trial, record)
    for run_id in trial.session_ids:
        record.set_tags(run_id, {"slm.status": "stopped", "slm.reason": "to be extended"})
    history = info.tags.get(TAG, f"{before}") + f" -> {after}"
    record.set_tags(info.run_id, {"slm.status": "stopped", TAG: history})
    if doubts:
        Trial.doubt(info, record, EXTENDED)
    record.set_status(info.run_id, "RUNNING")  # from here on any resume goes on
    for run_id in (*trial.session_ids, info.run_id):
        write_json(record.folder(run_id) / RESOLVED, spec.to_dict())
        record.log_artifacts(run_id, record.folder(run_id) / RESOLVED)
    written = load_spec(record.download(info.run_id, "spec.json"), overrides={KEY: after})
    write_json(record.folder(info.run_id) / "spec.json", {written.name: written.data})
    record.log_artifacts(info.run_id, record.folder(info.run_id) / "spec.json")
    if any(record.deliver(run_id) for run_id in (*trial.session_ids, info.run_id)):
        raise StorageError(f"{record} does not take the new budget now", "resume goes on when it does")
    return doubts


def with_frames(spec: Spec, frames: int) -> Spec:
    """The spec with another budget."""
    return spec.model_copy(update={"env": spec.env.model_copy(update={"max_frame": frames})})


def _budget(asked: Mapping[str, Any]) -> int:
    for key in asked:
        if key not in (KEY, "max_frame"):
            raise UsageError(f"{key} cannot be changed in a trial that has begun", ANEW)
    *_, value = asked.values()
    try:
        frames = float(value)
    except (TypeError, ValueError):
        frames = math.nan
    if not frames.is_integer():
        raise UsageError(f"{KEY}: expected a whole number of frames, not {shown(value)}")
    return int(frames)


def _bring_back(run_id: str, record: Record, spec: Spec) -> None:
    """Puts the files of a session that is done where it goes on from them. Raises UsageError."""
    stored, folder = set(record.artifacts(run_id)), record.working_folder(run_id)
    last = folder / "checkpoints" / LAST
    if not last.is_file():
        if not {JOURNAL, f"checkpoints/{LAST}"} <= stored:
            raise UsageError(f"run {run_id[:8]} has kept nothing to go on from", ANEW)
        if spec.meta.workers > 1:
            raise UsageError("of several workers only the first has kept its state", ANEW)
        shutil.copytree(record.download(run_id, "checkpoints"), last.parent, dirs_exist_ok=True)
        shutil.copyfile(record.download(run_id, JOURNAL), folder / JOURNAL)
    if not _has_memory(last, spec):
        raise UsageError(
            f"the replay memory of run {run_id[:8]} was not kept when it was done: it has more than"
            f" {KEPT_MEMORY // 2**20} MiB",
            ANEW,
        )


def _has_memory(checkpoint: Path, spec: Spec) -> bool:
    if not (spec.agent.memory.replay or isinstance(spec.agent.memory, PastEpisodes)):
        return True
    return "memory" in sealed.load(checkpoint)[RolloutData.__qualname__]


def _doubts(trial: Trial, record: Record) -> list[str]:
    """What the old budget has left in the numbers."""
    spec, memory = trial.spec, trial.spec.agent.memory
    past = memory.past if isinstance(memory, PastEpisodes) else memory
    doubts = []
    if isinstance(past, PrioritizedReplay) and past.beta not in (0.0, 1.0):
        doubts.append("beta of the prioritised memory rose to 1 with the old budget")
    if memory.whole_episodes:
        doubts.append("the old budget may have cut its last episode short")
    if not all(_ends_with_a_row(spec, record.working_folder(run_id)) for run_id in trial.session_ids):
        doubts.append(f"it has a row at its old end, which is no multiple of {spec.meta.log_frequency}")
    return doubts


def _ends_with_a_row(spec: Spec, folder: Path) -> bool:
    """Whether a longer session would have the last row too."""
    rows = read_rows(folder / JOURNAL)
    if not rows:
        return True
    stride, frame = spec.env.num_envs * spec.meta.workers, int(rows[-1]["frame"])
    mark = frame // spec.meta.log_frequency * spec.meta.log_frequency
    return math.ceil(mark / stride) * stride == frame
