"""A run that the others are compared with."""

import pytest
from small_runs import Run, Saves, make_plan, train


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    plan = make_plan(folder)
    return Run(folder, plan, *train(plan, Saves()))
