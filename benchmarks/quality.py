"""How good the models of a folder of settings are, over several seeds: mean and spread.

    python -m benchmarks.quality configs/flowers --seeds 1 2 3

Each seed splits the data anew and trains everything anew, in runs/<folder>-seed<n>/.
"""

import argparse
import json
from pathlib import Path
from statistics import mean, stdev

from benchmarks.seeded import seeded_copies
from tfpipe.core.config import load_config
from tfpipe.stages.runner import run_step


def main() -> None:
    """Run `evaluate` for every model of the folder, seed by seed; `verify` too if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--models", nargs="+", help="settings files by stem; all by default")
    parser.add_argument("--verify", action="store_true")
    arguments = parser.parse_args()
    top1: dict[str, list[float]] = {}
    for seed in arguments.seeds:
        for path in seeded_copies(arguments.folder, seed):
            config = load_config(path)
            if config.role == "dataset" or (arguments.models and path.stem not in arguments.models):
                continue
            metrics = run_step("evaluate", path)
            top1.setdefault(path.stem, []).append(metrics["top1_accuracy"])
            if arguments.verify and config.role == "student":
                print(json.dumps(run_step("verify", path)))
        for name, values in top1.items():
            spread = stdev(values) if len(values) > 1 else 0.0
            print(f"{name}: top-1 {mean(values):.4f} ± {spread:.4f} over {len(values)} seeds {values}", flush=True)


if __name__ == "__main__":
    main()
