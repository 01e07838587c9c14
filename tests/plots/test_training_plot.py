"""The plot of a training: it draws what `history.csv` has, whatever is missing there."""

import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfpipe.plots import training
from tfpipe.plots.training import plot_history

HEAD = "phase,epoch,learning_rate,loss,top1,top5,val_loss,val_top1,val_top5,soft_loss\n"
DISTILL = "distill,1,0.001,2.0,0.3,0.6,1.9,0.35,0.7,1.1\ndistill,2,0.0005,1.5,0.5,0.8,1.6,0.45,0.8,0.9\n"
FINETUNE = "finetune,1,0.0001,0.9,0.6,0.9,1.4,0.55,0.85,\n"


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[str, list[float]]]]:
    """Label and values of each line, of each panel, as they are saved."""
    panels: list[list[tuple[str, list[float]]]] = []
    save = training.save_png

    def look(figure: object, path: Path) -> None:
        for axes in figure.axes:
            panels.append([(line.get_label(), np.asarray(line.get_ydata()).tolist()) for line in axes.lines])
        save(figure, path)

    monkeypatch.setattr(training, "save_png", look)
    return panels


def plot(folder: Path, text: str) -> Image.Image:
    (folder / "history.csv").write_text(text)
    plot_history(folder / "history.csv", folder / "training.png")
    return Image.open(BytesIO((folder / "training.png").read_bytes()))


def test_phases_stand_one_behind_the_other_and_the_best_epoch_is_marked(
    tmp_path: Path, drawn: list[list[tuple[str, list[float]]]]
) -> None:
    plot(tmp_path, HEAD + DISTILL + FINETUNE)
    loss, top1, top5, rate = drawn
    assert loss[:3] == [("training", [2.0, 1.5, 0.9]), ("validation", [1.9, 1.6, 1.4]), ("best: epoch 3", [1.4])]
    assert top1[1] == ("validation", [0.35, 0.45, 0.55])
    assert top5[2] == ("best: epoch 3", [0.85])
    assert rate[0] == ("training", [0.001, 0.0005, 0.0001])
    # A line where each phase begins.
    assert [len(panel) for panel in drawn] == [5, 5, 5, 3]


def test_a_column_that_is_missing_or_empty_leaves_a_gap(
    tmp_path: Path, drawn: list[list[tuple[str, list[float]]]]
) -> None:
    plot(tmp_path, "phase,epoch,loss,top1,val_top1\nteach,1,2.0,0.1,\nteach,2,nan,0.2,0.3\n")
    loss, top1, top5, rate = drawn
    np.testing.assert_array_equal(loss[0][1], [2.0, np.nan])
    np.testing.assert_array_equal(top1[1][1], [np.nan, 0.3])
    assert top5 == rate == []


@pytest.mark.parametrize("epochs", [1, 100])
def test_one_epoch_and_many_can_be_drawn(tmp_path: Path, epochs: int) -> None:
    lines = "".join(f"teach,{n},0.1,{1 / n},{1 - 1 / n},1,{1 / n},{1 - 1 / n},1\n" for n in range(1, epochs + 1))
    image = plot(tmp_path, HEAD.replace(",soft_loss", "") + lines)
    assert image.size == (1400, 896)
    assert len(np.unique(np.asarray(image.convert("L")))) > 50


def test_equal_histories_are_equal_bytes(tmp_path: Path) -> None:
    plot(tmp_path, HEAD + DISTILL)
    first = (tmp_path / "training.png").read_bytes()
    plot(tmp_path, HEAD + DISTILL)
    assert (tmp_path / "training.png").read_bytes() == first


def test_no_display_or_global_state_is_touched(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text(HEAD + DISTILL)
    script = (
        "import sys; from pathlib import Path; from tfpipe.plots.training import plot_history; "
        "light = 'matplotlib' not in sys.modules; plot_history(Path('history.csv'), Path('training.png')); "
        "print(light, 'matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]
