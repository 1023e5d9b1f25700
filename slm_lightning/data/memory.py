"""Memories as a spec names them: what an agent learns from, and how much of it at a time."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from slm_lightning.spec.model import Count, Fraction, Int, MemoryParams, NonNegative, Positive

_REPLAY_KEYS = dict.fromkeys(
    ("sil_replay_name", "batch_size", "max_size", "use_cer"),
    "an on-policy memory is emptied by every update, and only SIL and PPOSIL keep past episodes",
)


class OnPolicyBatchReplay(MemoryParams):
    """A fixed number of vector steps, from all sub-environments."""

    unread: ClassVar[dict[str, str]] = _REPLAY_KEYS


class OnPolicyReplay(MemoryParams):
    """A fixed number of whole episodes, one after the other (``env.num_envs`` 1)."""

    unread: ClassVar[dict[str, str]] = _REPLAY_KEYS
    whole_episodes: ClassVar[bool] = True


class OnPolicyCrossEntropy(OnPolicyReplay):
    """As OnPolicyReplay, but only its best episodes are learned from: those whose undiscounted return
    is at or above a quantile of the returns (the cross-entropy method, de Boer et al. 2005)."""

    cross_entropy: Fraction = 1.0
    """The quantile: 0.8 keeps about the best fifth; 1 keeps all."""


class Replay(MemoryParams):
    """The latest transitions, drawn uniformly."""

    replay: ClassVar[bool] = True

    batch_size: Count
    """Transitions B of a minibatch."""
    max_size: Count
    """Transitions kept; the oldest make room."""
    use_cer: bool = False
    """Combined experience replay: the newest transitions stand in the first minibatch of a round
    (Zhang & Sutton 2017)."""
    num_step_returns: Annotated[Int, Field(ge=1, le=1000)] = 1
    """n of n-step returns: rewards summed before the value of the successor is used."""


class PrioritizedReplay(Replay):
    """The latest transitions, drawn in proportion to their TD errors (Schaul et al. 2016)."""

    alpha: NonNegative
    """Exponent of the priorities ``(|δ| + ε)^α``."""
    epsilon: NonNegative
    """ε, which keeps transitions without error in play."""
    beta: Fraction = 0.4
    """Exponent of the importance weights at frame 0; it rises linearly to 1 at ``max_frame``."""


class PastEpisodes(MemoryParams):
    """Keys of the past episodes that are kept beside an on-policy memory, to be imitated."""

    unread: ClassVar[dict[str, str]] = {}

    sil_replay_name: Literal["Replay", "PrioritizedReplay"]
    """How they are drawn: uniformly, or in proportion to how much better they were than expected."""
    batch_size: Count
    """Transitions B of a minibatch of past episodes."""
    max_size: Count
    """Transitions kept; the oldest make room."""
    use_cer: bool = False
    """The transitions of the newest episodes stand in the first minibatch of a round."""
    alpha: NonNegative = 0.6
    """``PrioritizedReplay``: exponent of the priorities ``((R - V)₊ + ε)^α``."""
    epsilon: Positive = 1e-6
    """``PrioritizedReplay``: ε, which keeps all transitions in play."""
    beta: Fraction = 0.1
    """``PrioritizedReplay``: exponent of the importance weights at frame 0; it rises linearly to 1 at
    ``max_frame``."""

    @property
    def past(self) -> PrioritizedReplay:
        """Their memory; a uniform draw is one in proportion to priorities that are all 1."""
        uniform = self.sil_replay_name == "Replay"
        return PrioritizedReplay(
            name=self.sil_replay_name,
            batch_size=self.batch_size,
            max_size=self.max_size,
            use_cer=self.use_cer,
            alpha=0.0 if uniform else self.alpha,
            epsilon=1.0 if uniform else self.epsilon,
            beta=0.0 if uniform else self.beta,
        )


class BatchWithPast(PastEpisodes, OnPolicyBatchReplay):
    """OnPolicyBatchReplay of an algorithm that imitates."""


class EpisodesWithPast(PastEpisodes, OnPolicyReplay):
    """OnPolicyReplay of an algorithm that imitates."""


MEMORIES: dict[str, type[MemoryParams]] = {
    kind.__name__: kind
    for kind in (
        *(OnPolicyBatchReplay, OnPolicyReplay, OnPolicyCrossEntropy),
        *(Replay, PrioritizedReplay),
    )
}
IMITATION_MEMORIES: dict[str, type[MemoryParams]] = MEMORIES | {
    "OnPolicyBatchReplay": BatchWithPast,
    "OnPolicyReplay": EpisodesWithPast,
}
"""The same for algorithms that imitate past episodes (``AlgorithmParams.imitates``)."""
