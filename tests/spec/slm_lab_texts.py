"""Files of SLM Lab that are more than a mapping of specs: templates, anchors and variables."""

TEMPLATES = """
_meta: &meta {distributed: false, log_frequency: 5e4, max_session: 4, max_trial: 1}
_adam: &adam
  name: AdamW
  lr: 3e-4
_body: &body
  modules:
    body:
      Sequential:
        - LazyLinear: {out_features: 64}
        - Tanh:
        - LazyLinear: {out_features: 64}
        - Tanh:
  graph: {input: x, modules: {body: [x]}, output: body}
_conv: &conv
  modules:
    body:
      Sequential:
        - LazyConv2d: {out_channels: 32, kernel_size: 8, stride: 4}
        - ReLU:
        - Flatten:
        - LazyLinear: {out_features: 256}
        - ReLU:
  graph: {input: x, modules: {body: [x]}, output: body}
_base: &base
  agent:
    name: PPO
    algorithm: &ppo
      name: PPO
      action_pdtype: default
      gamma: 0.99
      lam: 0.95
      clip_eps_spec: {name: no_decay, start_val: 0.2}
      entropy_coef_spec: {name: no_decay, start_val: 0.01, end_val: 0.01, start_step: 0, end_step: 0}
      val_loss_coef: 0.5
      time_horizon: 30
      minibatch_size: 4096
      training_epoch: 4
    memory: {name: OnPolicyBatchReplay}
    net: &net
      type: TorchArcNet
      shared: false
      arc: *body
      hid_layers_activation: tanh
      init_fn: orthogonal_
      clip_grad_val: 0.5
      optim_spec: *adam
      lr_scheduler_spec: {name: LinearToMin, frame: "${max_frame}", min_factor: 0.1}
      gpu: auto
  env: &env {name: "${env}", num_envs: 16, max_frame: "${max_frame}", normalize_obs: true}
  meta: *meta

ppo_mujoco_arc:
  <<: *base

ppo_playground:
  <<: *base
  env: {<<: *env, num_envs: 2048, reward_scale: 10.0, device: auto}

ppo_playground_humanoid:
  agent:
    name: PPO
    algorithm: {<<: *ppo, action_pdtype: NormalTanh, clip_eps_spec: {name: no_decay, start_val: 0.3}}
    memory: {name: OnPolicyBatchReplay}
    net:
      <<: *net
      actor_arc: *body
      critic_arc: *body
      critic_optim_spec: {<<: *adam, lr: "1e-3"}
  env: {<<: *env, num_envs: 2048}
  meta: *meta

ppo_atari_arc:
  agent:
    name: PPO
    algorithm: *ppo
    memory: {name: OnPolicyBatchReplay}
    net: {<<: *net, arc: *conv, shared: true, normalize: true}
  env: {name: "${env}", num_envs: 16, max_frame: 1e7, life_loss_info: true}
  meta: *meta
  search:
    agent.algorithm.gamma__uniform: [0.99, 0.999]
    agent.net.optim_spec.lr__loguniform: [1e-5, 1e-2]
"""

BARE = """{"ppo_hopper": {
  "agent": %s,
  "env": {"name": "Hopper-v5", "num_envs": 16, "max_frame": ${max_frame}},
  "meta": {}
}}"""
