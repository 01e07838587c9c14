"""What a late step would refuse is refused before the first one runs."""

from pathlib import Path

import pytest

from tfpipe.core.config import load_config
from tfpipe.core.errors import ConfigError
from tfpipe.core.workspace import Workspace
from tfpipe.stages import distill, runner

STUDENT = Path(__file__).parents[2] / "configs" / "student.yaml"


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("model={name: mobilnetv2}", r"student\.yaml: model\.name: 'mobilnetv2' is no model; near are .*mobilenetv2"),
        ("model={name: roberta}", r"roberta is for texts, and the records hold images"),
        ("model={name: resnet50}", r"student\.yaml: model\.name: resnet50 uses operations that browsers lack"),
    ],
)
def test_a_network_that_a_late_step_cannot_take_is_refused_before_any_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, override: str, told: str
) -> None:
    monkeypatch.setattr(runner, "run_node", lambda node, **_: pytest.fail(f"{node.title} ran"))
    with pytest.raises(ConfigError, match=told):
        runner.run_all([STUDENT], (override,), workspace=Workspace(tmp_path))


def test_a_student_that_is_only_served_may_be_any_network() -> None:
    distill.vet(load_config(STUDENT, ("model={name: resnet50}",)))
