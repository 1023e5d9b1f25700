"""MLflow's pages: their addresses, and the table of a search's trials as the lab lays it out."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from slm_lightning.tracking.query import Reader, RunInfo

ADDRESS = "http://127.0.0.1:5000"
"""Where MLflow's UI answers unless it is given another port."""
TRAINING = "workflowType=machine_learning"
"""Without it MLflow's pages are about language models."""
VIEW = "mlflow.sharedViewState."
"""Beginning of the tag of an experiment by which MLflow keeps a view of its table; its key follows."""
VIEW_LIMIT = 5000
"""Characters of such a tag that MLflow keeps."""
TRIALS = "tags.`slm.study` = '{}' AND tags.`slm.kind` = 'trial'"
"""The trials of a search, in MLflow's language of filters."""
HEADLINES = ("score", "score_ci_low", "score_ci_high", "eval_score", "strength")
"""Metrics that every table of trials shows."""


def links(record: Reader, run_id: str | None = None, base: str = ADDRESS) -> dict[str, str]:
    """Addresses by what is seen there, first what to look at first: of a search its ``page`` and its
    ``trials``, of any run the ``run`` itself and its ``graph``. Without ``run_id`` those of the newest
    search or, where a trial alone is newer, the ``charts`` of all runs of its spec.

    ``base`` is where the UI answers, unless the store is a server itself.
    """
    base = record.uri.rstrip("/") if record.is_server else base
    newest = [] if run_id else record.top(limit=1)
    if not run_id and not newest:
        return {"MLflow": base}
    run = record.get(run_id) if run_id else newest[0]
    table = f"{base}/#/experiments/{run.experiment_id}/runs"
    if run.kind != "experiment" and not run_id:
        return {"charts": f"{table}?{TRAINING}&compareRunsMode=CHART"}
    here = f"{table}/{run.run_id}"
    drawn = next((name for name in record.artifacts(run.run_id) if name.endswith(".html")), None)
    graph = f"{here}/artifacts/{drawn}?{TRAINING}"
    found = {"run": f"{here}?{TRAINING}"}
    if run.kind != "experiment":
        return found | ({"graph": graph} if drawn else {})
    trials = {"trials": f"{table}?{TRAINING}&{_rows(record, run)}"}
    return ({"page": graph} if drawn else {}) | trials | found


def save_trials_view(
    record: Reader, run: RunInfo, drawn: Sequence[str], objectives: Mapping[str, str]
) -> None:
    """Lays out the table of the trials of search ``run``: a row for each, by the first objective, the
    best first, with what was ``drawn`` (as many of these paths as MLflow keeps) and its headlines.

    MLflow lists it under "Views". ``objectives``: ``maximize`` or ``minimize`` by metric. Raises
    StorageError.
    """
    (objective, direction), *_ = objectives.items()
    metrics = list(dict.fromkeys([*objectives, *HEADLINES]))
    rows = {
        "searchFilter": TRIALS.format(run.run_id),
        "orderByKey": f"metrics.`{objective}`",
        "orderByAsc": direction == "minimize",
    }
    for count in range(len(drawn), -1, -1):
        view = _view(f"trials of {run.run_id[:8]}", rows, drawn[:count], metrics)
        if len(view) <= VIEW_LIMIT:
            break
    with record.guard():
        record.client.set_experiment_tag(run.experiment_id, VIEW + run.run_id, view)


def _rows(record: Reader, run: RunInfo) -> str:
    """The part of the address that selects the trials of a search: the view that is laid out for them,
    or only the filter where somebody has deleted that."""
    with record.guard():
        kept = record.client.get_experiment(run.experiment_id).tags
    if VIEW + run.run_id in kept:
        return f"viewStateShareKey={run.run_id}"
    return f"searchFilter={quote(TRIALS.format(run.run_id))}"


def _view(name: str, rows: Mapping[str, object], params: Sequence[str], metrics: Sequence[str]) -> str:
    """A view in the words of MLflow's UI."""
    columns = [f"params.`{path}`" for path in params] + [f"metrics.`{name}`" for name in metrics]
    now = round(time.time() * 1000)
    columns.append("tags.`slm.status`")
    state = json.dumps({**rows, "selectedColumns": columns, "columnOrder": columns})
    return json.dumps({"name": name, "createdAt": now, "updatedAt": now, "state": state})
