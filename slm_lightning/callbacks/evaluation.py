"""Greedy episodes of the policy in training."""

from __future__ import annotations

import math
from typing import Any

import torch
from lightning import Trainer

from slm_lightning.callbacks.after_round import AfterRound
from slm_lightning.core import Keys, Stream
from slm_lightning.data.evaluate import evaluate
from slm_lightning.data.rollout_data import RolloutData
from slm_lightning.envs import make_env
from slm_lightning.session import Session
from slm_lightning.spec.model import Spec

FINAL_EPISODES = 30
EVAL_ENVS = 32
"""Evaluation episodes that are played side by side."""


class Evaluation(AfterRound):
    """Greedy episodes in environments of their own: where ``rigorous_eval`` asks for them every
    ``eval_frequency`` frames, at the next row of the record; and always of the final policy. Of several
    workers the first plays them."""

    def __init__(self, spec: Spec, keys: Keys):
        self.spec, self.keys = spec, keys
        self.next_frame = spec.meta.eval_frequency

    def after_round(self, trainer: Trainer, session: Session, data: RolloutData) -> None:
        log_frequency = self.spec.meta.log_frequency
        has_row = data.frame // log_frequency > data.round_start // log_frequency
        due = self.spec.meta.rigorous_eval > 0 and data.frame >= self.next_frame
        if not ((due and has_row) or data.finished):
            return
        while self.next_frame <= data.frame:
            self.next_frame += self.spec.meta.eval_frequency
        if session.workers.first:
            self._evaluate(session, data.finished)

    def _evaluate(self, session: Session, finished: bool) -> None:
        episodes = self.spec.meta.rigorous_eval
        if finished:
            episodes = max(episodes, FINAL_EPISODES)
        together = min(episodes, EVAL_ENVS)
        sync = self.spec.env.model_copy(update={"vectorization_mode": "sync"})
        env = make_env(sync, self.keys, Stream.EVAL, num_envs=together)
        try:
            each = math.ceil(episodes / together)
            returns = evaluate(session.agent, session.normalizers, env, each).flatten()[:episodes]
        finally:
            env.close()
        std = returns.std(ddof=1) if episodes > 1 else 0.0
        found = {"return": returns.mean(), "std": std, "episodes": float(episodes)}
        for name, value in found.items():
            session.info[f"eval/{name}"] = torch.tensor(value, device=session.device)

    def state_dict(self) -> dict[str, Any]:
        return {"next_frame": self.next_frame}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.next_frame = state["next_frame"]
