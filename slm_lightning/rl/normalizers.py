"""Running statistics that observations, rewards and value targets are normalised with.

All are modules whose float64 buffers travel in the checkpoint: a policy without its normaliser is
another policy.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from slm_lightning.spec.model import EnvParams


class RunningMoments(nn.Module):
    """Mean and variance of all rows seen so far, merged batch by batch (Chan et al. 1979)."""

    mean: Tensor
    var: Tensor
    count: Tensor

    def __init__(self, shape: tuple[int, ...] = ()):
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("var", torch.ones(shape, dtype=torch.float64))
        self.register_buffer("count", torch.tensor(1e-4, dtype=torch.float64))

    def update(self, rows: Tensor) -> None:
        """Merges ``rows [B, *shape]``, of which there may be none."""
        rows = rows.double()
        n = rows.shape[0]
        if n == 0:
            return
        total = self.count + n
        delta = rows.mean(0) - self.mean
        m2 = self.var * self.count + rows.var(0, correction=0) * n
        self.var.copy_((m2 + delta.square() * (self.count * n / total)) / total)
        self.mean.add_(delta * (n / total))
        self.count.copy_(total)

    def update_each(self, rows: Tensor) -> Tensor:
        """Merges ``rows [T, B]`` of numbers, T batches one after the other; returns the variance after
        each ``[T]``."""
        n, after = rows.shape[1], list[float]()
        mean, var, count = self.mean.item(), self.var.item(), self.count.item()
        moments = torch.stack(torch.var_mean(rows.double(), 1, correction=0), 1)
        for batch_var, batch_mean in moments.tolist():
            total, delta = count + n, batch_mean - mean
            m2 = var * count + batch_var * n
            var = (m2 + delta * delta * (count * n / total)) / total
            mean += delta * (n / total)
            count = total
            after.append(var)
        for name, value in (("mean", mean), ("var", var), ("count", count)):
            getattr(self, name).fill_(value)
        return rows.new_tensor(after)


class ObsNormalizer(nn.Module):
    """``(obs - mean) / sqrt(var + 1e-8)`` with the running moments, then clipped to ± ``clip``. The
    last ``mask_size`` entries of an observation stay as they are."""

    def __init__(
        self, obs_shape: tuple[int, ...], normalize: bool, clip: float | None, mask_size: int = 0
    ):
        super().__init__()
        shape = (obs_shape[0] - mask_size,) if mask_size else obs_shape
        self.moments = RunningMoments(shape) if normalize else None
        self.clip, self.mask_size = clip, mask_size

    def update(self, obs: Tensor) -> None:
        """Merges ``obs [N, *obs_shape]`` into the statistics."""
        if self.moments is not None:
            self.moments.update(obs[..., : -self.mask_size] if self.mask_size else obs)

    def forward(self, obs: Tensor) -> Tensor:
        if not self.mask_size:
            return self._normalize(obs)
        numbers, mask = obs[..., : -self.mask_size], obs[..., -self.mask_size :]
        return torch.cat([self._normalize(numbers), mask], -1)

    def _normalize(self, obs: Tensor) -> Tensor:
        if self.moments is not None:
            std = (self.moments.var + 1e-8).sqrt()
            obs = ((obs - self.moments.mean) / std).float()
        return obs if self.clip is None else obs.clamp(-self.clip, self.clip)


class RewardNormalizer(nn.Module):
    """Rewards divided by the running deviation of the discounted return, scaled and clipped.

    ``acc ← γ acc (1 - terminated) + r`` per sub-environment; ``r / sqrt(Var[acc] + 1e-8)``. The mean
    is not subtracted, so the sign of a reward is kept; truncation does not reset ``acc``.
    """

    returns: Tensor

    def __init__(
        self,
        num_envs: int,
        gamma: float,
        normalize: bool,
        scale: float,
        clip: tuple[float, float] | None,
    ):
        super().__init__()
        self.gamma, self.scale, self.clip = gamma, scale, clip
        self.moments = RunningMoments() if normalize else None
        self.register_buffer("returns", torch.zeros(num_envs, dtype=torch.float64))

    def forward(self, reward: Tensor, terminated: Tensor) -> Tensor:
        """Rewards of a rollout ``[T, N]`` as the agent learns from them; updates the statistics."""
        if self.moments is not None:
            reward = self._normalize(self.moments, reward, terminated)
        if self.scale != 1.0:
            reward = reward * self.scale
        return reward if self.clip is None else reward.clamp(*self.clip)

    def _normalize(self, moments: RunningMoments, reward: Tensor, terminated: Tensor) -> Tensor:
        """Each vector step by the statistics that have taken it in."""
        kept = self.gamma * (~terminated).double()
        returns = [self.returns]
        for r, k in zip(reward.double(), kept):
            returns.append(torch.addcmul(r, returns[-1], k))
        self.returns.copy_(returns[-1])
        std = (moments.update_each(torch.stack(returns[1:])) + 1e-8).sqrt()
        return (reward / std[:, None]).float()


class Normalizers(nn.Module):
    """What stands between an environment and its agent, by the keys of section ``env``."""

    def __init__(self, env: EnvParams, obs_shape: tuple[int, ...], gamma: float, mask_size: int = 0):
        super().__init__()
        clip_obs = env.clip_obs if env.clip_obs or not env.normalize_obs else 10.0
        clip = env.clip_reward if env.clip_reward or not env.normalize_reward else 10.0
        bounds = (-clip, clip) if isinstance(clip, float | int) else clip
        self.obs = ObsNormalizer(obs_shape, env.normalize_obs, clip_obs, mask_size)
        self.reward = RewardNormalizer(
            env.num_envs, gamma, env.normalize_reward, env.reward_scale, bounds
        )


class TargetScale(nn.Module):
    """Scale of value targets, ``max(1, sqrt(var + 1e-8))`` over all targets so far."""

    def __init__(self) -> None:
        super().__init__()
        self.moments = RunningMoments()

    def update(self, target: Tensor) -> Tensor:
        """Merges ``target [...]``; returns the scale, a scalar."""
        self.moments.update(target.flatten())
        return (self.moments.var + 1e-8).sqrt().clamp(min=1.0).float()


class PercentileScale(nn.Module):
    """Range between the 5th and the 95th percentile of advantages, as a moving average (0.99)
    never below 1 (Hafner et al. 2023, eq. 11)."""

    bounds: Tensor
    started: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("bounds", torch.zeros(2))
        self.register_buffer("started", torch.tensor(False))

    def update(self, advantage: Tensor) -> Tensor:
        """Merges ``advantage [...]``; returns the scale, a scalar."""
        quantiles = torch.quantile(advantage, torch.tensor([0.05, 0.95], device=advantage.device))
        moved = torch.where(self.started, torch.lerp(quantiles, self.bounds, 0.99), quantiles)
        self.bounds.copy_(moved)
        self.started.fill_(True)
        return (moved[1] - moved[0]).clamp(min=1.0)


def clamp_scaled(x: Tensor, scale: Tensor) -> Tensor:
    """``x / scale`` kept within ± 10."""
    return (x / scale).clamp(-10.0, 10.0)
