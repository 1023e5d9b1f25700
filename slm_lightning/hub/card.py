"""The card of a repository: its metadata, and what of an older one stays."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from huggingface_hub import DatasetCardData, EvalResult, ModelCardData, RepoCard

from slm_lightning.hub.address import LIBRARY, Kind

CARD = "README.md"
BEGIN, END = "<!-- slm-lightning: begin -->", "<!-- slm-lightning: end -->"
"""Around what the lab writes of a card; the rest is somebody else's, and stays."""


@dataclass(frozen=True)
class Score:
    """One row of a card's ``model-index``."""

    environment: str
    metric: str
    name: str
    value: str | float


def front_matter(
    kind: Kind, name: str, tags: Sequence[str], scores: Sequence[Score], **more: Any
) -> str:
    """The metadata of a card, as YAML, by the Hub's own classes."""
    every = [*tags, "reinforcement-learning", LIBRARY]
    if kind == "dataset":
        data: Any = DatasetCardData(
            pretty_name=name, tags=every, task_categories=["reinforcement-learning"], **more
        )
        return data.to_yaml()
    results = [
        EvalResult(
            task_type="reinforcement-learning",
            task_name="reinforcement-learning",
            dataset_name=score.environment,
            dataset_type=score.environment,
            metric_type=score.metric,
            metric_name=score.name,
            metric_value=score.value,
            verified=False,
        )
        for score in scores
    ]
    data = ModelCardData(
        library_name=LIBRARY,
        pipeline_tag="reinforcement-learning",
        tags=every,
        model_name=name,
        eval_results=results,
        **more,
    )
    return data.to_yaml()


def merged(card: str, there: str, former_tags: Collection[str] = ()) -> str:
    """``card`` with what others wrote into the one that is ``there``: keys of its metadata, tags that
    are not among the lab's ``former_tags``, other scores of the same environment, and all text outside
    the lab's marks."""
    if not there.strip():
        return card
    ours, (old, text) = RepoCard(card), _parts(there)
    new = ours.data.__dict__
    tags = old.get("tags")
    theirs = [tag for tag in tags if tag not in former_tags] if isinstance(tags, list) else []
    new |= {key: value for key, value in old.items() if key not in new}
    new["tags"] = list(dict.fromkeys([*new.get("tags", []), *theirs]))
    if "model-index" in new:
        mine = new["model-index"][0]["results"]
        mine += [row for row in _rows(old) if _place(row) not in map(_place, mine)
                 and _place(row)[0] == _place(mine[0])[0]]  # fmt: skip
    before, begin, rest = text.partition(BEGIN)
    after = rest.partition(END)[2] if begin else f"\n\n{text.strip()}\n"
    ours.text = (before if begin else "\n") + ours.text.strip() + after
    return str(ours)


def _parts(card: str) -> tuple[dict[str, Any], str]:
    """Metadata and text of a card; no metadata where they are none."""
    try:
        parsed = RepoCard(card, ignore_metadata_errors=True)
    except (ValueError, yaml.YAMLError):
        return {}, card
    return parsed.data.to_dict(), parsed.text


def _rows(metadata: Mapping[str, Any]) -> list[Any]:
    try:
        return [row for row in metadata["model-index"][0]["results"] if _place(row)[0]]
    except (KeyError, IndexError, TypeError):
        return []


def _place(row: Any) -> tuple[Any, Any]:
    """Environment and metric of a row of a ``model-index``."""
    try:
        return row["dataset"]["type"], row["metrics"][0]["type"]
    except (KeyError, IndexError, TypeError):
        return None, None
