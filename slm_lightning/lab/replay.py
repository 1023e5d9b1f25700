"""A trained policy out of the record: in one's own program, in a window, as a video, as numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from slm_lightning.core import Keys, Stream
from slm_lightning.data import sealed
from slm_lightning.data.evaluate import evaluate
from slm_lightning.data.recall import Recall
from slm_lightning.envs import make_env
from slm_lightning.errors import (
    CrashError,
    IntegrityError,
    MissingError,
    SpecError,
    UsageError,
)
from slm_lightning.lab.bundle import WEIGHTS, open_bundle, read_weights
from slm_lightning.lab.report.findings import findings
from slm_lightning.registry import REGISTRY
from slm_lightning.rl.normalizers import Normalizers
from slm_lightning.spec.load import load_spec
from slm_lightning.spec.model import Spec
from slm_lightning.spec.resolve import resolve
from slm_lightning.spec.trust import refuse_code
from slm_lightning.tracking import RESOLVED, Record

Which = Literal["best", "last"]
TOGETHER = 32
"""Episodes that are played side by side where none is shown."""
POLICY = "policy"
"""The artifact with the bundle of a run that was brought from elsewhere."""
VIDEO = "without a window: --video replay.mp4"
GIF: dict[str, Any] = {
    "codec": "gif",
    "pix_fmt_out": "pal8",
    "macro_block_size": 1,
    "output_params": [
        "-vf",
        "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1:dither=none",
    ],
}
"""A palette for every picture, so that none has to wait for the last one."""


@dataclass(frozen=True)
class Files:
    """Where a policy lies: its resolved spec, its checkpoint, and the name of its run."""

    name: str
    spec: Path
    checkpoint: Path
    """A checkpoint of the record, or the safetensors file of a bundle."""
    is_foreign: bool = False
    """Whether they come from anywhere, so that none of them may run code."""
    run_id: str = ""
    """The session in the record."""


def find_policy(run: str, record: Record, which: Which = "best") -> Files:
    """The files of ``run``: a folder, or the id, prefix or name of a session, trial or experiment; of
    this the best trial, of a trial the session with the highest score. A folder outside the record's
    own is a bundle. Raises UsageError where there is no such policy, and as ``open_bundle``."""
    folder = Path(run)
    if (folder / RESOLVED).is_file():
        if not folder.resolve().is_relative_to(record.root.resolve()):
            return Files(folder.resolve().name, *open_bundle(folder), is_foreign=True)
        return _checked(Files(folder.name, folder / RESOLVED, _ckpt(folder, which)))
    info = record.find(run)
    if info.kind == "experiment":
        best = findings(record, info.run_id).best
        if not best:
            raise UsageError(f"no trial of {info.name} has come to its end")
        info = record.get(best[0].run_id)
    if info.kind == "trial":
        sessions = [s for s in record.children(info.run_id) if "score" in s.metrics]
        if not sessions:
            raise UsageError(f"no session of {info.name} has a score yet")
        info = max(sessions, key=lambda session: session.metrics["score"])
    if which == "best" and f"{POLICY}/{WEIGHTS}" in record.artifacts(info.run_id):
        bundle = open_bundle(record.download(info.run_id, POLICY))
        return Files(info.name, *bundle, is_foreign=True, run_id=info.run_id)
    try:
        checkpoint = record.download(info.run_id, f"checkpoints/ckpt-{which}.ckpt")
    except UsageError:
        raise UsageError(f"{info.name} ({info.status.lower()}) has no ckpt-{which}") from None
    return Files(info.name, record.download(info.run_id, RESOLVED), checkpoint, run_id=info.run_id)


def _ckpt(folder: Path, which: Which) -> Path:
    return folder / "checkpoints" / f"ckpt-{which}.ckpt"


def _checked(files: Files) -> Files:
    if not files.checkpoint.is_file():
        raise UsageError(f"no {files.checkpoint.name} in {files.checkpoint.parent}")
    return files


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint of the record: its ``state_dict`` and plain data. Raises IntegrityError where it is
    damaged, RefusedError where it asks for anything else to be made."""
    checkpoint = sealed.load(path)
    try:
        return {**checkpoint, "state_dict": dict(checkpoint["state_dict"])}
    except (TypeError, KeyError, ValueError) as error:
        raise IntegrityError(f"{path} holds no policy") from error


class Policy:
    """A trained agent with the normaliser statistics it was trained with.

    Raises IntegrityError where the checkpoint does not fit the spec or is damaged, RefusedError where a
    policy from elsewhere is more than data.
    """

    def __init__(self, files: Files):
        self.name = files.name
        self.spec: Spec = resolve(load_spec(files.spec), REGISTRY)
        if files.is_foreign:
            refuse_code(self.spec)
            weights = read_weights(files.checkpoint)
        else:
            weights = read_checkpoint(files.checkpoint)["state_dict"]
        env: Any = make_env(self.spec.env, self.keys(), num_envs=1)
        env.close()
        self.info, self.to_env, self.from_env = env.info, env.actions, env.from_env
        algorithm = self.spec.agent.algorithm
        self.agent = REGISTRY.algorithms[algorithm.name].build(self.spec.agent, env.info)
        self.normalizers = Normalizers(
            self.spec.env, env.info.obs_shape, algorithm.gamma, env.info.mask_size
        )
        try:
            modules = torch.nn.ModuleDict({"agent": self.agent, "normalizers": self.normalizers})
            modules.load_state_dict(weights)
        except Exception as error:
            raise IntegrityError(f"{files.checkpoint} does not fit its spec: {error}") from error
        self.agent.frame = self.spec.env.max_frame
        self.agent.eval()
        self.recall: Recall | None = None

    def keys(self, seed: int | None = None) -> Keys:
        """Keys for replays; other than the training's wherever ``seed`` is given."""
        return Keys(self.spec.meta.seed if seed is None else seed)

    @torch.inference_mode()
    def act(self, obs: np.ndarray, explore: bool = False) -> Any:
        """The action for one observation of the environment, as its ``step`` takes it; or a batch of
        actions for a batch ``[N, *obs_shape]``. Greedy unless ``explore``.

        A recurrent policy remembers what it is shown; tell it by ``forget`` where an episode begins.
        All episodes do where there are more or fewer observations than the last time."""
        tensor = torch.as_tensor(self.from_env(obs))
        single = tensor.shape == self.info.obs_shape
        rows = self.normalizers.obs(tensor[None] if single else tensor)
        if self.recall is None or self.recall.num_envs != len(rows):
            self.recall = Recall(self.agent, len(rows), rows.device)
        actions = self.to_env(self.agent.act(self.recall(rows), explore))
        return actions[0] if single else actions

    def forget(self, over: np.ndarray | None = None) -> None:
        """What ``act`` is shown next begins an episode: everywhere, or where ``over [N]`` bool."""
        if over is None or self.recall is None:
            self.recall = None
        else:
            self.recall.forget(torch.as_tensor(over))

    def play(
        self,
        episodes: int,
        explore: bool = False,
        seed: int | None = None,
        video: Path | None = None,
        window: bool = False,
    ) -> np.ndarray:
        """Raw returns ``[episodes]``; on the way a ``video`` file (mp4 or gif), or a window where the
        environment has one.

        Raises MissingError where the environment cannot be rendered into a video, or no window opens.
        """
        keys = self.keys(seed)
        keys.seed_generators(Stream.ENJOY)
        env = self._open(keys, episodes, "rgb_array" if video else "human" if window else None)
        each = math.ceil(episodes / env.info.num_envs)
        try:
            with Camera(env, video) as camera:
                return evaluate(
                    self.agent, self.normalizers, env, each, explore, camera if video else None
                ).flatten()[:episodes]
        except CrashError as error:
            if not window:
                raise
            raise MissingError(f"no window shows it: {error}", VIDEO) from error
        finally:
            env.close()

    def _open(self, keys: Keys, episodes: int, render_mode: str | None) -> Any:
        """Some environments side by side, or one that is rendered."""
        if render_mode is None:
            sync = self.spec.env.model_copy(update={"vectorization_mode": "sync"})
            return make_env(sync, keys, Stream.ENJOY, num_envs=min(episodes, TOGETHER))
        try:
            return make_env(self.spec.env, keys, Stream.ENJOY, num_envs=1, render_mode=render_mode)
        except SpecError:  # the spec has run before, so it is render_mode that is not taken
            if render_mode == "human":
                return self._open(keys, episodes, None)
            raise MissingError(f"{self.info.name} cannot be rendered") from None


class Camera:
    """Takes a picture of an environment at every call, into an mp4 or gif file.

    Raises UsageError where the file cannot be written, MissingError where there is nothing to see.
    """

    def __init__(self, env: Any, path: Path | None):
        self.env, self.path = env, path
        self.writer: Any = None
        if path is not None and path.suffix.lower() not in (".mp4", ".gif"):
            raise UsageError(f"{path} is neither .mp4 nor .gif")

    def __enter__(self) -> Callable[[], None]:
        return self.shoot

    def shoot(self) -> None:
        name = self.env.info.name
        try:
            frame = self.env.render()
        except Exception as error:  # whatever the renderer misses, in a library of its own
            raise MissingError(f"{name} cannot be rendered: {error}") from error
        if frame is None:
            raise MissingError(f"{name} cannot be rendered")
        if self.writer is None:
            assert self.path is not None
            self.writer = self._open(self.path, frame.shape)
        self.writer.send(np.ascontiguousarray(frame))

    def _open(self, path: Path, shape: tuple[int, ...]) -> Any:
        """A generator that encodes what it is sent, in a process of its own."""
        from imageio_ffmpeg import write_frames

        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.open("wb").close()
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from None
        fps = self.env.envs.metadata.get("render_fps") or 30
        options = GIF if path.suffix.lower() == ".gif" else {"macro_block_size": 2}
        writer = write_frames(str(path), (shape[1], shape[0]), fps=fps, **options)
        writer.send(None)
        return writer

    def __exit__(self, *_) -> None:
        if self.writer is not None:
            self.writer.close()
