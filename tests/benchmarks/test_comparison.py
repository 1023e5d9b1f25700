from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.measure.comparison import ratios, speed, tables
from benchmarks.measure.ours import spec_of
from benchmarks.measure.works import WORKS
from benchmarks.peers import main, remake


def answer(cpu: float, training: float | None = None, greedy: float | None = None) -> dict[str, Any]:
    return {"frames": 1000, "cpu": cpu, "wall": cpu, "training": training, "greedy": greedy}


def pair(seed: int, ours: float, peer: float, **others: dict[str, Any]) -> dict[str, Any]:
    return {
        "work": "W3",
        "seed": seed,
        "frames": 1000,
        "cold": answer(2 * ours),
        "ours": answer(ours, 100.0 + seed, 200.0),
        "sb3": answer(peer, 90.0, 190.0) | {"whole": {"wall": 50.0, "cpu": 40.0}},
        "run": {"wall": 20.0, "cpu": 15.0},
        **others,
    }


def test_ratios_are_taken_within_a_pair() -> None:
    pairs = [pair(0, ours=1.0, peer=4.0), pair(1, ours=2.0, peer=4.0)]
    assert speed(pairs[0]["ours"]) == 1000
    assert ratios(pairs, "ours") == [4.0, 2.0]
    assert ratios(pairs, "cold") == [2.0, 1.0]


def test_a_variant_is_a_row_of_its_own_against_the_same_peer() -> None:
    bf16 = {"ours bf16-mixed": answer(0.5, 99.0), "cold bf16-mixed": answer(1.0)}
    pairs = [pair(0, ours=1.0, peer=4.0, **bf16), pair(1, ours=2.0, peer=4.0)]
    speeds, scores = (part.splitlines()[2:] for part in tables(pairs, WORKS.values()).split("\n\n"))
    assert [row.split(" | ")[0] for row in speeds] == ["| W3", "| W3 bf16-mixed"]
    assert (
        "| 2 | 250 (250–250) | 750 (500–1000) | **3.00 (2.00–4.00)** | 1.50 (1.00–2.00) |" in speeds[0]
    )
    assert "50.0 (50.0–50.0) s | 20.0 (20.0–20.0) s |" in speeds[0]
    assert "| 1 | 250 | 2000 | **8.00** | 4.00 | 50.0 s | – |" in speeds[1]
    assert scores[0].startswith("| W3 | 90.0, least 90.0 | 100.5, least 100.0 | 190.0, least 190.0 |")
    assert scores[1] == "| W3 bf16-mixed | 90.0 | 99.0 | 190.0 | – |"


def test_runs_of_other_lengths_are_not_mixed() -> None:
    short = pair(0, ours=1.0, peer=4.0) | {"frames": 10}
    rows = tables([pair(0, ours=1.0, peer=4.0), short], WORKS.values()).splitlines()
    assert [row.split(" | ")[1] for row in rows if row.startswith("| W3")][:2] == ["1,000", "10"]


@pytest.mark.parametrize("name", WORKS)
def test_every_work_is_a_spec_that_runs(name: str) -> None:
    spec = spec_of(WORKS[name], "", seed=3, frames=WORKS[name].frames)
    assert spec.name.startswith(name.lower())
    assert (spec.meta.seed, spec.meta.sessions) == (3, 1)
    assert spec.env.max_frame == WORKS[name].frames


def test_the_command_on_a_page_measures_what_the_page_shows() -> None:
    w2 = {"work": "W2", "frames": WORKS["W2"].frames}
    whole = [{"work": name, "frames": work.frames, "seed": 0} for name, work in WORKS.items()]
    assert remake([*whole, w2 | {"seed": 2}]) == "python -m benchmarks.peers --pairs 3"
    half = {"work": "W2", "frames": WORKS["W2"].frames // 2, "seed": 0}
    assert remake([half]) == "python -m benchmarks.peers --pairs 1 --works W2 --frames-scale 0.5"
    kept = "python -m benchmarks.peers --works --json pairs.jsonl --write"
    assert remake([half], Path("pairs.jsonl")) == kept


def test_pairs_that_were_kept_can_be_shown_without_a_measurement(tmp_path, monkeypatch, capsys) -> None:
    kept = tmp_path / "pairs.jsonl"
    kept.write_text(json.dumps(pair(0, ours=1.0, peer=4.0)) + "\n", encoding="utf-8")
    monkeypatch.setattr("benchmarks.peers.check_peer", lambda: None)
    monkeypatch.setattr("sys.argv", ["peers", "--works", "--json", str(kept)])
    main()
    assert "**4.00**" in capsys.readouterr().out
    assert len(kept.read_text(encoding="utf-8").splitlines()) == 1
