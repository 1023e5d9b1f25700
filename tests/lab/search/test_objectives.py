"""What a search makes of a trial that has ended."""

from __future__ import annotations

import pandas as pd
import pytest

from slm_lightning.errors import UsageError
from slm_lightning.lab.analysis import session_scalars, trial_scalars
from slm_lightning.lab.result import Result, SessionResult
from slm_lightning.lab.running.job import Outcome
from slm_lightning.lab.search.objectives import ended
from tests.lab.compared import curve
from tests.lab.searching import planned


def result(tables: list[pd.DataFrame], statuses: list[str]) -> Result:
    sessions = [
        SessionResult(f"s{i}", Outcome(status), table, session_scalars(table, None))
        for i, (table, status) in enumerate(zip(tables, statuses))
    ]
    return Result("run", "tiny_t0", sessions, trial_scalars(tables, None, len(tables)), {})


def test_a_column_counts_by_its_last_values() -> None:
    tables = [curve(score).assign(loss=[score] * 9 + [0.5 * score]) for score in (100.0, 200.0)]
    found = ended(result(tables, ["done", "done"]), planned(objective={"loss": "minimize"}), 0)
    assert found.values == [75.0]
    assert ended(result(tables, ["done", "failed"]), planned(objective="loss"), 0).values is None


@pytest.mark.parametrize("objective", ["state", "stat"])
def test_what_is_no_number_is_no_objective(objective: str) -> None:
    with pytest.raises(UsageError, match=f'no session has the objective "{objective}"') as error:
        ended(result([curve(100.0)], ["done"]), planned(objective=objective), 0)
    assert 'did you mean "state"' not in str(error.value)
