"""What training on the int8 grid gains over rounding: both, of the same student, on the same test photos.

    python -m benchmarks.quantization_aware --seeds 1 2 3

Teacher, labels and student of `configs/flowers` once a seed, then `quantize` with `method: aware`, whose table has both
ways: some 20 minutes a seed on two cores (estimated). What is trained stays trained: the same command goes on after an
interruption, and more seeds add to the table, which is written to benchmarks/QUANTIZATION_AWARE.md after every seed.
"""

import argparse
from datetime import date
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.seeded import seeded_copies
from tfpipe.stages.quantize.report import NAMES
from tfpipe.stages.runner import run_step

HOW = """One student a seed, everything drawn, split and trained anew. Differences are to float32, of the same student
and photos. ECE is at the temperature that validation gave for float32."""
Metrics = dict[str, Any]


def main() -> None:
    """Train and measure, seed by seed, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("configs/flowers"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("QUANTIZATION_AWARE.md"))
    arguments = parser.parse_args()
    of_seeds: list[Metrics] = []
    for seed in arguments.seeds:
        (student,) = (path for path in seeded_copies(arguments.folder, seed) if path.name == "student.yaml")
        overrides = ("quantize.method=aware", f"quantize.epochs={arguments.epochs}")
        of_seeds.append(run_step("quantize", student, overrides))
        seeds = arguments.seeds[: len(of_seeds)]
        arguments.output.write_text(to_markdown(of_seeds, seeds, arguments.epochs), encoding="utf-8")
    print(arguments.output.read_text(encoding="utf-8"))


def to_markdown(of_seeds: list[Metrics], seeds: list[int], epochs: int) -> str:
    """The table: means over the seeds, with standard deviations."""
    head = "| | top-1, % | difference, pp | same answer as float32, % | ECE | bytes |\n|---|---:|---:|---:|---:|---:|"
    lines = [_row(name, [found["precisions"][name] for found in of_seeds]) for name in of_seeds[0]["precisions"]]
    gains = [_top1(found, "aware") - _top1(found, "post_training") for found in of_seeds]
    chosen = sum(found["chosen"] == "aware" for found in of_seeds)
    return (
        f"# Quantization-aware training against rounding\n\n{HOW}\n\n{date.today().isoformat()}, seeds {seeds}, "
        f"{of_seeds[0]['num_examples']} test photos each; {epochs} epochs on the grid.\n\n{head}\n"
        + "\n".join(lines)
        + f"\n\nTraining less rounding: {_spread(gains, sign='+')} pp of top-1. Validation chose the trained one for "
        f"{chosen} of {len(of_seeds)} seeds.\n"
    )


def _row(name: str, lines: list[Metrics]) -> str:
    columns = {key: [line[key] for line in lines] for key in ("top1_accuracy", "top1_difference", "agreement")}
    return (
        f"| {NAMES[name]} | {_spread(columns['top1_accuracy'])} | {_spread(columns['top1_difference'], sign='+')} | "
        f"{_spread(columns['agreement'])} | {mean(line['ece'] for line in lines):.4f} | {lines[0]['bytes']:,} |"
    )


def _top1(metrics: Metrics, name: str) -> float:
    return float(metrics["precisions"][name]["top1_accuracy"])


def _spread(values: list[float], *, sign: str = "") -> str:
    """Mean and standard deviation in percent."""
    return f"{100 * mean(values):{sign}.2f}" + (f" ± {100 * stdev(values):.2f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
