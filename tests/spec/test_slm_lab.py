"""Specs of SLM Lab load, all of them, and what they meant is what they mean here."""

from __future__ import annotations

import copy
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given

from slm_lightning.lab.preflight import shortened, with_one_round
from slm_lightning.lab.validation import Finding, check_paths, exit_code, summary
from slm_lightning.registry import REGISTRY
from slm_lightning.spec.load import RawSpec, load_spec
from slm_lightning.spec.model import Spec
from slm_lightning.spec.notes import notes
from slm_lightning.spec.resolve import resolve, resolve_dict
from slm_lightning.spec.slm_lab import FEED_FORWARD, WITH_CRITICS, as_meant
from tests.conftest import train
from tests.spec.conftest import set_at
from tests.spec.slm_lab import environments, pairings
from tests.spec.slm_lab_oddities import PPO, REMOVED, oddities
from tests.spec.slm_lab_texts import BARE, TEMPLATES
from tests.spec.test_malformed import JSON

ENTRIES = pairings() | environments() | oddities()


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Finding]:
    """What ``validate`` finds in a folder of all these specs, by their names."""
    folder = tmp_path_factory.mktemp("specs")
    (folder / "entries.json").write_text(json.dumps(ENTRIES))
    (folder / "removed.json").write_text(json.dumps(REMOVED))
    (folder / "templates.yaml").write_text(TEMPLATES)
    (folder / "bare.json").write_text(BARE % json.dumps(PPO["agent"]))
    (folder / "_baseline.json").write_text('{"CartPole-v1": {"mean": 22.9, "std": 1}, "X": null}')
    found = check_paths([folder], {})
    return {finding.spec.rpartition(":")[2]: finding for finding in found}


def test_every_entry_loads_but_for_what_exists_no_more(findings):
    templates = {"ppo_mujoco_arc", "ppo_playground", "ppo_playground_humanoid", "ppo_atari_arc"}
    assert findings.keys() == ENTRIES.keys() | REMOVED.keys() | templates | {"ppo_hopper"}
    refused = {name for name, finding in findings.items() if finding.verdict == "cannot run"}
    assert refused == REMOVED.keys(), [str(findings[name]) for name in refused - REMOVED.keys()]
    assert all(findings[name].gone and not findings[name].faulty for name in refused)
    assert exit_code(list(findings.values())) == 3
    counts = Counter(finding.verdict for finding in findings.values())
    said = summary(list(findings.values()))
    assert said.startswith(f"{len(findings)} specs: {counts['runs']} run, ")
    assert said.endswith(f", {len(REMOVED)} cannot run")


def test_variables_without_a_value_are_taken_to_be_what_is_usual(findings):
    assumed = {name: finding.assumed for name, finding in findings.items() if finding.assumed}
    frames = {"max_frame": "10000000"}
    assert assumed == {
        "ppo_hopper": frames,
        "ppo_mujoco_arc": frames | {"env": "Hopper-v5"},
        "ppo_playground": frames | {"env": "playground/CartpoleBalance"},
        "ppo_playground_humanoid": frames | {"env": "playground/CartpoleBalance"},
        "ppo_atari_arc": frames | {"env": "ALE/Pong-v5"},
    }
    assert "as with -s env=ALE/Pong-v5 -s max_frame=10000000" in str(findings["ppo_atari_arc"])


QUIRKS = {
    "Q2": "one_env",
    "Q4": "one_env",
    "Q5": "a2c_gae_pong",
    "Q6": "one_game",
    "Q8": "dqn_cartpole",
    "Q10": "dqn_prioritized_mlp_discrete",
    "Q11": "head_init",
    "Q12": "actorcritic_batch_rnn_discrete",
    "Q13": "log_std",
    "Q15": "polyak_0.9",
    "Q18": "dqn_cartpole",
    "Q19": "entropy_to_0",
    "Q20": "ppo_playground_horizon",
    "Q21": "sil_lunar",
    "Q22": "dqn_cartpole",
    "Q23": "a3c_synced_globaladam",
    "Q29": "sarsa_boltzmann",
}


@pytest.mark.parametrize("quirk, name", QUIRKS.items())
def test_a_note_says_which_quirk_a_spec_relied_on(findings, quirk, name):
    assert findings[name].verdict == "runs with notes"
    assert any(line.endswith(f"({quirk})") for line in findings[name].lines)


def test_a_search_that_makes_no_difference_is_told(findings):
    lines = [line for line in findings["search_stale"].lines if line.startswith("search.")]
    assert [line.partition(":")[0] for line in lines] == [
        "search.agent.net.lr_decay_frequency__choice",
        "search.agent.algorithm.clip_eps__uniform",
        "search.agent.agent.training_batch_iter__choice",
    ]
    assert "nothing reads agent.net.lr_decay_frequency, so" in lines[0]
    assert not any(line.startswith("search") for line in findings["search"].lines)


def test_a_search_of_older_specs(findings):
    searched = {"lam__uniform": [0.9, 1.0], "gamma__choice": [0.9, 0.99]}
    sections = {"algorithm": searched, "net": {"hid_layers__choice": [[64]]}}
    assert meant("search_old").search == {"agent": sections}
    assert [line for line in findings["search_old"].lines if line.startswith("search.")] == [
        "search.agent.algorithm.lam_uniform: read as lam__uniform",
        "search.agent.algorithm.gamma__grid_search: read as gamma__choice;"
        " the sampler grid of meta.search tries all",
    ]


def test_notes_are_few(findings):
    assert all(len(set(f.lines)) == len(f.lines) for f in findings.values())
    usual = pairings().keys() | environments().keys()
    common = [len(finding.lines) for name, finding in findings.items() if name in usual]
    assert sum(common) / len(common) < 2.5 and max(common) <= 5


def meant(name: str) -> Spec:
    return resolve(load_spec({name: ENTRIES[name]}), REGISTRY)


def test_ppo_of_episodes():
    """Without a horizon PPO learns from as many whole episodes as its author wrote, or steps."""
    lunar, batch, episodes = meant("ppo_lunar"), meant("ppo_lunar_batch"), meant("ppo_episodes")
    assert (lunar.agent.memory.name, lunar.agent.algorithm.horizon) == ("OnPolicyReplay", 1)
    assert (batch.agent.memory.name, batch.agent.algorithm.horizon) == ("OnPolicyBatchReplay", 20)
    assert (episodes.agent.memory.name, episodes.agent.algorithm.horizon) == (
        "OnPolicyBatchReplay",
        128,
    )


@pytest.mark.parametrize(
    "name, path, value",
    [
        ("gumbel", "agent.algorithm.action_pdtype", "default"),
        ("argmax_policy", "agent.algorithm.action_pdtype", "default"),
        ("temperature_as_epsilon", "agent.algorithm.action_policy", "boltzmann"),
        ("boltzmann_to_0", "agent.algorithm.explore_var_spec.end_val", 0.01),
        ("episodes_of_many", "env.num_envs", 1),
        ("sil_lunar", "agent.algorithm.training_iter", 4),
        ("sil_batch_sil_rnn_discrete", "agent.net.hid_layers", [32]),
        ("update_typo", "agent.net.update_frequency", 1),
        ("polyak_0", "agent.net.tau", 1.0),
        ("polyak_0.9", "agent.net.tau", pytest.approx(0.1)),
        ("head_init_plain", "agent.net.actor_init_std", None),
        ("critic_net_of_ppo", "agent.critic_net", None),
        ("old_env_keys", "env.frame_stack", 4),
        ("old_env_keys", "env.normalize_obs", True),
        ("old_env_keys", "env.clip_reward", 1.0),
        ("scaled_images", "agent.net.normalize", True),
        ("frames_text", "agent.net.lr_scheduler_spec.frame", 10_000_000),
    ],
)
def test_what_an_entry_means(name, path, value):
    found = meant(name)
    for key in path.split("."):
        found = getattr(found, key)
    assert found == value


@pytest.mark.parametrize("name", oddities())
def test_a_resolved_spec_stays_the_same(name):
    spec = meant(name)
    again = load_spec(json.loads(json.dumps(spec.to_dict())))
    assert resolve_dict(again.data | {"name": again.name}, REGISTRY) == spec
    assert not [note for note in notes(again, spec) if "not read" not in note]


def test_a_spec_of_this_lab_is_taken_as_it_stands():
    raw = load_spec({"test": set_at(ENTRIES["update_typo"], "meta.seed", 0)})
    with pytest.raises(Exception, match=r"update_frequency: expected a whole number"):
        resolve(raw, REGISTRY)
    raw = load_spec({"test": set_at(ENTRIES["search_old"], "meta.seed", 0)})
    with pytest.raises(Exception, match=r"search\.agent: say how it is drawn"):
        resolve(raw, REGISTRY)


@given(JSON)
def test_readings_take_anything(data):
    if isinstance(data, dict):
        as_meant(data)
    as_meant({"agent": {"algorithm": data, "memory": data, "net": data}, "env": data, "meta": data})


def test_what_the_readings_know_of_algorithms_is_true():
    kinds = REGISTRY.algorithms
    assert not any(kinds[name].recurrent for name in FEED_FORWARD)
    assert all(kinds[name].has_critics for name in WITH_CRITICS)


def test_a_folder_without_specs(tmp_path: Path):
    (tmp_path / "table.json").write_text('{"CartPole-v1": {"mean": 22.9}}')
    with pytest.raises(Exception, match="no spec files in this folder"):
        check_paths([tmp_path], {})


ODD = (
    *("ppo_lunar", "ppo_lunar_batch", "pposil_lunar", "sil_lunar", "ppo_tanh", "ppo_min", "ppo_values"),
    *("few_frames", "few_frames_replay", "early_start", "polyak_0", "temperature_as_epsilon"),
    *("crossq_mlp_norm", "loss_in_critic", "sac_everything", "gumbel", "argmax_policy", "one_game"),
    *("random_of_all", "update_typo_replace", "steps_lr", "rmsprop", "head_init", "log_std"),
)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*pairings(), *ODD])
def test_what_loads_learns(name):
    """Two rounds of each algorithm with each memory, net and kind of actions, and of what is odd."""
    data = copy.deepcopy(ENTRIES[name])
    algorithm = data["agent"]["algorithm"]
    data["env"] |= {"max_t": 30, "max_frame": 300}
    shorter = {"time_horizon": 16, "training_epoch": 1, "training_frequency": 8, "num_step_returns": 2}
    algorithm |= {key: value for key, value in shorter.items() if algorithm.get(key)}
    run = train(shortened(with_one_round(resolve(RawSpec(name, data), REGISTRY)), 2))
    assert len(run.metrics) >= 1
    assert all(abs(value) < 1e6 for info in run.metrics for value in info.values())
