"""Spec files: formats, names, variables and overrides."""

from __future__ import annotations

import json

import pytest

from slm_lightning.errors import SpecError, UsageError
from slm_lightning.spec.load import (
    RawSpec,
    fill,
    load_spec,
    parse_assignments,
    read_specs,
    variables_in,
)
from tests.spec.conftest import PPO

YAML = """
_meta: &meta
  distributed: false
  max_session: 4

_net: &net
  type: MLPNet
  hid_layers: [64]
  optim_spec: &adam
    name: Adam
    lr: 3e-4

one:
  agent:
    algorithm: {name: PPO}
    net:
      <<: *net
      hid_layers: [32]
      critic_optim_spec:
        <<: *adam
        lr: 1.0e-3
  env:
    name: ${env}
    max_frame: ${max_frame}
  meta: *meta

two:
  agent: {net: *net}
  env: {name: CartPole-v1}
  meta:
    <<: *meta
    max_session: 1
"""


def message_of(*args, **kwargs) -> str:
    with pytest.raises(SpecError) as caught:
        load_spec(*args, **kwargs)
    assert caught.value.exit_code == 2
    return f"{caught.value} | {caught.value.hint}"


class TestFormats:
    def test_json_and_yaml_say_the_same(self, write):
        assert load_spec(write({"a": PPO})).data == PPO
        assert load_spec(write(json.dumps({"a": PPO}), "spec.yaml")).data == PPO

    def test_yaml_anchors_and_merges(self, write):
        spec = load_spec(write(YAML, "spec.yml"), "one", {"env": "ALE/Pong-v5", "max_frame": "1e7"})
        net = spec.data["agent"]["net"]
        assert net["type"] == "MLPNet" and net["hid_layers"] == [32]
        assert net["critic_optim_spec"] == {"name": "Adam", "lr": 1e-3}
        assert spec.data["env"] == {"name": "ALE/Pong-v5", "max_frame": 10_000_000}
        assert spec.data["meta"] == {"distributed": False, "max_session": 4}

    def test_templates_are_no_specs(self, write):
        assert list(read_specs(write(YAML, "spec.yml"))) == ["one", "two"]

    def test_a_whole_spec_can_be_a_template(self, write):
        assert list(read_specs(write({"_a": PPO, "_b": {"x": 1}, "c": PPO}))) == ["c"]

    def test_but_where_there_is_nothing_else_it_is_a_spec(self, write):
        assert list(read_specs(write({"_a": PPO, "_b": {"x": 1}}))) == ["_a"]

    @pytest.mark.parametrize(
        "text, name",
        [
            ('{"a": {"agent": {"g": 1, "h": [{"i": 1, "i": 2}], "g": 2}}}', "spec.json"),
            ("a:\n  agent:\n    g: 1\n    h: [{i: 1, i: 2}]\n    g: 2", "spec.yaml"),
        ],
    )
    def test_of_a_key_given_twice_the_last_one_counts(self, write, text, name):
        raw = load_spec(write(text, name))
        assert raw.data["agent"] == {"g": 2, "h": [{"i": 2}]}
        assert raw.repeated == ("agent.g", "agent.h.0.i")

    def test_a_key_that_overrides_a_merged_one_is_no_second_one(self, write):
        text = "_x: &x {a: 1}\n_y: &y {<<: *x, a: 2}\ns: {agent: {<<: *y, a: 3}}\nt: {agent: *y}"
        assert load_spec(write(text, "spec.yaml"), "s").repeated == ()
        assert load_spec(write(text, "spec.yaml"), "t").repeated == ()

    def test_schema_key_is_for_editors(self, write):
        assert list(read_specs(write({"$schema": "schema.json", "a": PPO}))) == ["a"]

    def test_a_file_may_be_one_spec(self, write):
        spec = load_spec(write({"name": "alone", **PPO}))
        assert spec == RawSpec("alone", PPO, spec.path)

    def test_a_dict_is_read_like_a_file(self):
        assert load_spec({"a": PPO}).data == PPO
        assert load_spec({"name": "a", **PPO}) == RawSpec("a", PPO)
        assert (
            load_spec({"a": {**PPO, "env": {"name": "${env}"}}}, variables={"env": "X-v0"}).name
            == "a_x"
        )

    def test_a_byte_order_mark_is_no_error(self, write):
        assert load_spec(write(b"\xef\xbb\xbf" + json.dumps({"a": PPO}).encode())).name == "a"

    def test_yaml_dates_stay_text(self, write):
        path = write("a: {agent: {name: 2020-13-45}, env: {}, meta: {}}", "spec.yaml")
        assert load_spec(path).data["agent"]["name"] == "2020-13-45"

    def test_yaml_aliases_do_not_share(self, write):
        text = "a:\n  agent: {x: &x {lr: 1}, y: *x}\n  env: {}\n"
        spec = load_spec(write(text, "spec.yaml"), overrides={"agent.x.lr": 2})
        assert spec.data["agent"] == {"x": {"lr": 2}, "y": {"lr": 1}}


class TestNames:
    def test_the_only_spec_needs_no_name(self, write):
        assert load_spec(write({"only": PPO})).name == "only"

    def test_several_specs_need_one(self, write):
        assert "name one of a, b" in message_of(write({"b": PPO, "a": PPO}))

    def test_a_wrong_name_gets_the_nearest(self, write):
        path = write({"ppo_cartpole": PPO, "a2c_pendulum": PPO})
        message = message_of(path, "ppo_cartpol")
        assert 'did you mean "ppo_cartpole"?' in message and "a2c_pendulum, ppo_cartpole" in message

    def test_the_only_spec_under_another_name(self, write):
        assert "has no spec" in message_of(write({"a": PPO}), "b")

    @pytest.mark.parametrize(
        "name",
        [
            "../../x",
            "/etc/x",
            "a\0b",
            "a" * 129,
            "ppo 🙂",
            "",
            ".",
            "..",
            ".a",
            "-a",
            "a b",
            "É",
            "a\n",
        ],
    )
    def test_names_are_never_paths(self, name):
        assert "cannot name a spec" in message_of({name: PPO}, name)

    @pytest.mark.parametrize("name", ["ppo_cartpole", "a", "_x", "0", "a.b-c_D", "PPO", "a" * 128])
    def test_good_names(self, name):
        assert load_spec({name: PPO}, name).name == name

    def test_a_single_spec_says_its_name(self):
        assert message_of(PPO).startswith("spec: name: missing")


class TestVariables:
    SPEC = '{"a": {"agent": {"x": "${lr}", "y": ${lr}, "z": "at ${lr}"}, "env": {"name": "${env}"}}}'

    @pytest.mark.parametrize(
        "text, number",
        [("4e6", 4_000_000), ("0.5", 0.5), ("10", 10), ("12345678901234567", 12345678901234567)],
    )
    def test_numbers_lose_their_quotes(self, write, text, number):
        spec = load_spec(write(self.SPEC), variables={"lr": text, "env": "X-v0"})
        assert spec.data["agent"] == {"x": number, "y": number, "z": f"at {number}"}
        assert type(spec.data["agent"]["x"]) is type(number)

    @pytest.mark.parametrize(
        "env, suffix",
        [
            ("ALE/Pong-v5", "pong"),
            ("playground/CartpoleBalance", "cartpolebalance"),
            ("CartPole-v1", "cartpole"),
            ("my_envs:Grid-v0", "grid"),
        ],
    )
    def test_env_becomes_a_suffix_of_the_name(self, write, env, suffix):
        path = write({"a": {"agent": {}, "env": {"name": "${env}"}}})
        spec = load_spec(path, variables={"env": env})
        assert spec.name == f"a_{suffix}" and spec.data["env"]["name"] == env

    def test_a_suffix_that_is_no_name(self, write):
        path = write({"a": {"agent": {}, "env": {"name": "${env}"}}})
        assert "cannot name a spec" in message_of(path, variables={"env": "Ünv-v0"})

    def test_what_is_left_is_listed_with_what_to_type(self, write):
        path = write(
            {"a": {"agent": {"x": ["${b} ${c}"]}, "env": {"name": "${env}"}}, "b": {"x": "${no}"}}
        )
        message = message_of(path, "a")
        assert 'agent.x.0: "${b} ${c}" has no value' in message
        assert 'env.name: "${env}" has no value' in message
        assert message.endswith("add -s b=VALUE -s c=VALUE -s env=VALUE")

    def test_a_bare_variable_in_json(self, write):
        message = message_of(write('{"a": {"agent": {"lr": ${lr}, "x": "${y}"}}}'))
        assert 'agent.lr: "${lr}" has no value' in message
        assert message.endswith("add -s lr=VALUE -s y=VALUE")

    @pytest.mark.parametrize(
        "line", ["x: ${n}", "x: [${n}, 1]", "x: {y: ${n}}", "x: {y: ${n} }", "x: [1, ${n}]"]
    )
    def test_a_bare_variable_in_yaml(self, write, line):
        path = write(f"a:\n  agent: {{}}\n  {line}\nb: {{agent: {{}}}}", "spec.yaml")
        assert load_spec(path, "b", {}).data == {"agent": {}}
        assert load_spec(path, "a", {"n": "1e3"}).data["x"] in (1000, [1000, 1], [1, 1000], {"y": 1000})
        assert '"${n}" has no value' in message_of(path, "a")

    def test_filling_in_what_is_parsed(self, write):
        variables = {"lr": "1e-3", "env": "ALE/Pong-v5"}
        data = read_specs(write(self.SPEC))["a"]
        assert fill(data, variables) == read_specs(write(self.SPEC), variables)["a"]
        assert fill({"x": ["${y}", 1, None]}, variables) == {"x": ["${y}", 1, None]}

    def test_other_specs_may_keep_theirs(self, write):
        path = write({"a": {"agent": {}, "env": {}}, "b": {"agent": {"x": "${y}"}}})
        assert load_spec(path, "a").data == {"agent": {}, "env": {}}

    def test_an_override_fills_one_too(self, write):
        path = write({"a": {"agent": {}, "env": {"name": "${env}"}}})
        assert load_spec(path, overrides={"env.name": "X-v0"}).data["env"]["name"] == "X-v0"

    def test_a_variable_that_is_not_there(self, write):
        path = write({"a": {"agent": {}, "env": {"x": "${max_frame}"}}})
        message = message_of(path, variables={"max_frames": "1e6"})
        assert "nothing here is ${max_frames}" in message and 'did you mean "max_frame"?' in message

    def test_numbers_that_are_not_finite_stay_text(self, write):
        path = write({"a": {"agent": {"x": "${x}"}, "env": {}}})
        assert load_spec(path, variables={"x": "nan"}).data["agent"]["x"] == "nan"

    def test_variables_in(self, write):
        assert variables_in(write(self.SPEC)) == {"lr", "env"}


class TestOverrides:
    @pytest.mark.parametrize(
        "text, value",
        [
            ("0.9", 0.9),
            ("1e7", 1e7),
            ("true", True),
            ("null", None),
            ("[64, 64]", [64, 64]),
            ('{"lr": 1}', {"lr": 1}),
            ("relu", "relu"),
            ('"3"', "3"),
            ("CartPole-v1", "CartPole-v1"),
            (7, 7),
        ],
    )
    def test_values_are_json_or_text(self, text, value):
        data = load_spec({"a": PPO}, overrides={"agent.net.hid_layers": text}).data
        assert data["agent"]["net"]["hid_layers"] == value

    def test_null_sections_are_opened(self):
        data = load_spec({"a": PPO}, overrides={"agent.algorithm.explore_var_spec.start_val": "1"}).data
        assert data["agent"]["algorithm"]["explore_var_spec"] == {"start_val": 1}

    def test_the_source_is_left_alone(self):
        source = {"a": {"agent": {"x": 1}, "env": {}}}
        load_spec(source, overrides={"agent.x": "2"})
        assert source == {"a": {"agent": {"x": 1}, "env": {}}}

    def test_a_name_can_be_overridden(self):
        assert load_spec({"a": PPO}, overrides={"name": "b"}) == RawSpec("b", PPO)

    def test_a_path_through_a_value(self):
        message = message_of({"a": PPO}, overrides={"env.name.x": "1"})
        assert message.startswith('env.name: is "CartPole-v1", so there is no env.name.x to set')

    @pytest.mark.parametrize("path", ["", ".", "a..b", ".a", "a."])
    def test_a_path_that_is_none(self, path):
        assert "write the path as a.b.c" in message_of({"a": PPO}, overrides={path: "1"})

    def test_assignments(self):
        assert parse_assignments(["a=1", "b.c=x=y", "d="], "-s") == {"a": "1", "b.c": "x=y", "d": ""}

    @pytest.mark.parametrize("text", ["a", "=1", ""])
    def test_what_is_no_assignment(self, text):
        with pytest.raises(UsageError, match="write it as KEY=VALUE"):
            parse_assignments([text], "--set")
