"""Classic control as batched tensors: one file per environment, and the vector that runs them."""

from slm_lightning.envs.torch_native.vector import TorchVectorEnv

__all__ = ["TorchVectorEnv"]
