"""Memories of on-policy algorithms: what one round collects before the agent learns from all of it."""

from __future__ import annotations

from typing import ClassVar

from slm_lightning.spec.model import MemoryParams

_REPLAY_KEYS = dict.fromkeys(
    ("batch_size", "max_size", "use_cer"), "an on-policy memory is emptied by every update"
)


class OnPolicyBatchReplay(MemoryParams):
    """A fixed number of vector steps, from all sub-environments."""

    unread: ClassVar[dict[str, str]] = _REPLAY_KEYS


class OnPolicyReplay(MemoryParams):
    """A fixed number of whole episodes, one after the other (``env.num_envs`` 1)."""

    unread: ClassVar[dict[str, str]] = _REPLAY_KEYS
    whole_episodes: ClassVar[bool] = True


MEMORIES: dict[str, type[MemoryParams]] = {
    "OnPolicyBatchReplay": OnPolicyBatchReplay,
    "OnPolicyReplay": OnPolicyReplay,
}
