"""Metadata as the Hub's own classes read it, and what of a card stays that others have written into."""

from __future__ import annotations

import pytest
from huggingface_hub import DatasetCard, ModelCard

from slm_lightning.hub import BEGIN, END, Score, front_matter, merged

ODD = ("", "---\n: [\n---\n", "---\n- 1\n---\n", "---\ntags: 5\n---\n")
SCORES = [Score("Pong", "mean_reward", "mean_reward", "20.00 +/- 0.50")]


def card(scores: list[Score] = SCORES, text: str = "ours") -> str:
    return f"---\n{front_matter('model', 'PPO', ['Pong'], scores)}\n---\n{BEGIN}\n{text}\n{END}\n"


def test_a_model_is_found_by_what_it_is() -> None:
    data = ModelCard(card()).data
    assert (data.library_name, data.pipeline_tag) == ("slm-lightning", "reinforcement-learning")
    assert data.tags == ["Pong", "reinforcement-learning", "slm-lightning"]
    (found,) = data.eval_results
    assert (found.task_type, found.dataset_type) == ("reinforcement-learning", "Pong")
    assert (found.metric_type, found.metric_value) == ("mean_reward", "20.00 +/- 0.50")


def test_a_dataset_too() -> None:
    data = DatasetCard(f"---\n{front_matter('dataset', 'a search', ['Pong'], [])}\n---\n").data
    assert data.task_categories == ["reinforcement-learning"] and "slm-lightning" in data.tags


@pytest.mark.parametrize("there", ["", "\n"])
def test_a_new_card_is_as_it_was_written(there: str) -> None:
    assert merged(card(), there) == card()


def test_it_takes_the_place_of_the_former_one_and_of_nothing_else() -> None:
    there = card(text="former").replace("tags:\n", "license: mit\ntags:\n- theirs\n", 1)
    there = there.replace(BEGIN, f"before\n{BEGIN}") + "after\n"
    for _ in range(2):
        there = merged(card(), there, ["Pong"])
    found = ModelCard(there)
    assert found.text.split() == f"before {BEGIN} ours {END} after".split()
    assert found.data.license == "mit"
    assert found.data.tags == ["Pong", "reinforcement-learning", "slm-lightning", "theirs"]


def test_a_tag_of_the_former_one_goes() -> None:
    there = card().replace("- Pong\n", "- Breakout\n", 1)
    assert "Breakout" not in ModelCard(merged(card(), there, ["Breakout"])).data.tags


def test_scores_that_others_measured_stay() -> None:
    theirs = [Score("Pong", "human_score", "human", 1.0), Score("Breakout", "mean_reward", "m", "1")]
    found = ModelCard(merged(card(), card(theirs))).data.eval_results
    assert [(r.dataset_type, r.metric_type) for r in found] == [
        *(("Pong", "mean_reward"), ("Pong", "human_score")),
    ]


@pytest.mark.parametrize("there", [f"{metadata}# Theirs" for metadata in ODD])
def test_words_without_metadata_stay_below(there: str) -> None:
    now = merged(card(), there)
    assert "# Theirs" in now and now.index("ours") < now.index("# Theirs")
    assert ModelCard(now).data.library_name == "slm-lightning"
