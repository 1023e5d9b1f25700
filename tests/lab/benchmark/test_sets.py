"""What a set says, and what its rows are called."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from slm_lightning.errors import SpecError, UsageError
from slm_lightning.lab.baselines import registered_name
from slm_lightning.lab.benchmark.sets import Row, read_sets, resolved, setting_key
from slm_lightning.lab.report.known_scores import known_scores
from slm_lightning.spec.load import load_spec
from tests.lab.benchmark.support import two_specs, write_set
from tests.support import REPOSITORY, tiny, write_spec


@pytest.fixture
def shipped(monkeypatch: pytest.MonkeyPatch) -> dict[str, Row]:
    """The rows of the repository's sets."""
    monkeypatch.chdir(REPOSITORY)
    return {row.id: row for each in read_sets() for row in each.rows}


def rows(path: Path) -> tuple[Row, ...]:
    return read_sets([path])[0].rows


def test_shipped_sets_have_every_row_that_was_published(shipped: dict[str, Row]) -> None:
    """On the published frames, so that scores can be compared."""
    lacking = []
    for environment in {row.environment for row in shipped.values()}:
        for algorithm, known in known_scores().get(environment, {}).items():
            row = shipped.get(f"{environment}/{algorithm}")
            if row is None:
                lacking.append(f"{environment}/{algorithm}")
            else:
                assert row.spec.env.max_frame == known.frames, row.id
    assert lacking == ["ALE/Pong-v5/CrossQ"], "of which there is no spec"


def test_rows_of_an_environment_have_as_many_sessions_and_frames(shipped: dict[str, Row]) -> None:
    assert {row.spec.meta.sessions for row in shipped.values()} == {4}
    frames = {"CartPole-v1": 200_000, "BipedalWalker-v3": 1_000_000}
    small = [row for row in shipped.values() if row.environment[-1] in "0123"]
    for row in small:
        assert row.spec.env.max_frame == frames.get(row.environment, 300_000), row.id
    assert {row.environment for row in small} == {
        *("CartPole-v1", "Acrobot-v1", "Pendulum-v1", "MountainCar-v0"),
        *("LunarLander-v3", "LunarLanderContinuous-v3", "BipedalWalker-v3"),
    }


def test_a_row_by_its_command_is_the_same_setting(shipped: dict[str, Row]) -> None:
    row = shipped["Pendulum-v1/SAC"]
    _, verb, spec, *options = shlex.split(row.command)
    overrides = dict(option.split("=") for option in options[1::2])
    assert verb == "run" and options[::2] == ["--set"] * len(overrides)
    assert overrides["meta.seed"] == "1000" and overrides["env.max_frame"] == "300000"
    made = resolved(load_spec(spec, overrides=overrides).data | {"name": "x"})
    assert (made.env, made.meta) == (row.spec.env, row.spec.meta)


def test_what_rows_are_called(tmp_path: Path) -> None:
    a2c, reinforce = map(str, two_specs(tmp_path))
    overrides = {"env.name": "LunarLander-v3", "env.continuous": True}
    path = write_set(
        tmp_path,
        [a2c, reinforce, {"spec": a2c, "label": "mine"}, {"spec": a2c, "overrides": overrides}],
        overrides={"meta.seed": 7},
    )
    found = rows(path)
    assert [row.id for row in found] == [
        *("CartPole-v1/A2C", "CartPole-v1/REINFORCE", "CartPole-v1/mine"),
        "LunarLanderContinuous-v3/A2C",
    ]
    assert {row.spec.meta.seed for row in found} == {7}
    assert registered_name("LunarLander-v3", {"gravity": -5.0}) == 'LunarLander-v3 {"gravity": -5.0}'


def test_a_folder_of_specs_is_a_set(tmp_path: Path) -> None:
    two_specs(tmp_path)
    assert [row.label for row in rows(tmp_path)] == ["A2C", "REINFORCE"]


def test_one_algorithm_in_one_environment_is_one_row(tmp_path: Path) -> None:
    a2c, _ = map(str, two_specs(tmp_path))
    with pytest.raises(UsageError, match="both A2C in CartPole-v1"):
        rows(write_set(tmp_path, [a2c, {"spec": a2c, "overrides": {"meta.seed": 8}}]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "line 1, column 2"),
        ("[]", "holds no set"),
        ('{"title": "x", "rows": []}', "rows: expected a list, each entry a section or text, not []"),
        ('{"tilte": "x", "rows": ["a.json"]}', 'tilte: unknown key, did you mean "title"?'),
        ('{"title": "x", "title": "y", "rows": ["a.json"]}', "title: stands there twice"),
        ('{"title": "x", "rows": [{"specs": "a.json"}]}', "rows.0.specs: unknown key, did you"),
        ('{"title": "x", "rows": ["a.json", {"spec": 3}]}', "rows.1.spec: expected text, not 3"),
        ('{"title": "x", "rows": [["a.json"]]}', "rows.0: expected a section, not a list"),
        (
            '{"title": "x", "rows": [{"spec": "a.json", "variables": {"n": 3}}]}',
            'rows.0.variables: expected a section, each value text, not {"n": 3}',
        ),
        ('{"title": "x", "rows": ["nowhere.json"]}', "rows.0 (nowhere.json): no such file"),
    ],
)
def test_a_faulty_set_says_where(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "set.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError) as raised:
        rows(path)
    assert said in str(raised.value)
    assert str(raised.value).startswith(str(path)) and "Input" not in str(raised.value)


def test_every_faulty_row_is_named(tmp_path: Path) -> None:
    whole, _ = map(str, two_specs(tmp_path))
    open_one = str(write_spec(tmp_path / "open.json", tiny("open", env={"name": "${env}"})))
    path = write_set(
        tmp_path, [whole, open_one, {"spec": whole, "overrides": {"env.max_fram": 8}, "label": "b"}]
    )
    with pytest.raises(SpecError) as raised:
        rows(path)
    unset, misspelt = map(str, raised.value.problems)
    assert unset == f'{path}: rows.1 ({open_one}): env.name: "${{env}}" has no value'
    assert misspelt.startswith(f"{path}: rows.2 ({whole}): env.max_fram: unknown key, did you mean")
    assert raised.value.hint == 'give the row "variables": {"env": "VALUE"}'


def test_what_a_result_depends_on(tmp_path: Path) -> None:
    """Not its name, nor a key that a later version knows and an older record lacks."""

    def key(name: str = "one", **sections: dict) -> str:
        return setting_key(resolved(write_spec(tmp_path / "spec.json", tiny(name, **sections))))

    assert key() == key("other")
    assert key() != key(meta={"seed": 4})
    assert key() != key(algorithm={"gamma": 0.98})
    spec = resolved(tiny()).to_dict()
    assert spec["meta"].pop("rigorous_eval") == 0
    assert setting_key(resolved(json.loads(json.dumps(spec)))) == key()
