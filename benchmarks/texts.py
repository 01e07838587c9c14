"""How well emotions are told from diary texts, over several seeds: leak-free, and on the split that scripts make.

    python -m benchmarks.texts --seeds 1 2 3

TF-IDF and the models of `configs/emotions_*.yaml`, each on data that is split anew by texts; TF-IDF and the teacher
also row by row, as the plan's script splits, where a text that many wrote stands in train and in test.
What is trained stays trained; the table is written to benchmarks/TEXTS.md after every seed.
"""

import argparse
from datetime import date
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import yaml

from benchmarks.seeded import seeded_copies
from tfpipe.stages.runner import run_step

UNITS = {"cluster": "leak-free", "row": "row by row"}
"""`split.unit` → what the table calls it."""
DATASET = "emotions_dataset"
SCORES = ("top1_accuracy", "macro_f1")


def main() -> None:
    """Train and evaluate, seed by seed, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--models", nargs="*", default=["emotions_teacher", "emotions_student"], help="by stem")
    parser.add_argument("--leaky", nargs="*", default=["emotions_teacher"], help="those of them also row by row")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("TEXTS.md"))
    arguments = parser.parse_args()
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for number, seed in enumerate(arguments.seeds, start=1):
        for unit, models in (("cluster", arguments.models), ("row", arguments.leaky)):
            paths = _settings(seed, unit)
            found.setdefault(("TF-IDF", unit), []).append(run_step("baseline", paths[DATASET]))
            for model in models:
                found.setdefault((model, unit), []).append(run_step("evaluate", paths[model]))
        arguments.output.write_text(to_markdown(found, arguments.seeds[:number]), encoding="utf-8")
    print(arguments.output.read_text(encoding="utf-8"))


def _settings(seed: int, unit: str) -> dict[str, Path]:
    """Copies of the settings by stem, all of them on data that are split in this way."""
    paths = {path.stem: path for path in seeded_copies(Path("configs"), seed)}
    if unit == "cluster":
        return paths
    changed = {}
    for stem, path in paths.items():
        if not stem.startswith("emotions"):
            continue
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        if stem == DATASET:
            document |= {"dataset": f"{document['dataset']}_{unit}", "split": document["split"] | {"unit": unit}}
        else:
            document["data"] = document["data"] | {"config": f"{DATASET}-{unit}.yaml"}
            for teacher in document.get("teachers", []):
                teacher["config"] = teacher["config"].replace(".yaml", f"-{unit}.yaml")
        changed[stem] = path.with_name(f"{stem}-{unit}.yaml")
        changed[stem].write_text(yaml.safe_dump(document), encoding="utf-8")
    return changed


def to_markdown(found: dict[tuple[str, str], list[dict[str, Any]]], seeds: list[int]) -> str:
    """Means over the seeds, with standard deviations."""
    rows = [
        f"| {model} | {UNITS[unit]} | {' | '.join(_spread([one[name] for one in metrics]) for name in SCORES)} |"
        for (model, unit), metrics in found.items()
    ]
    return (
        f"# Emotions in diary texts\n\n{date.today().isoformat()}, seeds {seeds}, mean ± standard deviation on test, "
        "in percent. Row by row, a text that many wrote stands in train and in test.\n\n"
        "| | split | accuracy | macro F1 |\n|---|---|---:|---:|\n" + "\n".join(rows) + "\n"
    )


def _spread(values: list[float]) -> str:
    return f"{100 * mean(values):.1f}" + (f" ± {100 * stdev(values):.1f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
