"""Which of several workers this process is, by `TF_CONFIG` or Slurm; without TensorFlow."""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from tfpipe.core.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True)
class Worker:
    """One process of a training run."""

    number: int = 0
    num_workers: int = 1

    @property
    def is_chief(self) -> bool:
        """Whether it writes the files that all share."""
        return self.number == 0


ALONE = Worker()


@dataclass(frozen=True)
class Share:
    """One of several equal parts of a step's pieces, each for a process of its own, such as `2/4`."""

    number: int
    """From 1 on."""
    num_shares: int

    @classmethod
    def parse(cls, text: str) -> "Share":
        """Reads `i/n`.

        Raises:
            ValueError: when it is none.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        share = cls(int(match[1]), int(match[2])) if match else None
        if share is None or not 1 <= share.number <= share.num_shares:
            raise ValueError(f"{text!r}: expected i/n, such as 1/4 for the first of four, up to 4/4 for the last")
        return share

    def part_of(self, pieces: Sequence[T]) -> Sequence[T]:
        """Every n-th piece."""
        return pieces[self.number - 1 :: self.num_shares]


def this_worker() -> Worker:
    """From the environment: `TF_CONFIG`, else Slurm's variables where a job has several tasks.

    Raises:
        ConfigError: when `TF_CONFIG` is not as TensorFlow documents it.
    """
    told = os.environ.get("TF_CONFIG")
    if not told:
        return Worker(int(os.environ.get("SLURM_PROCID", "0")), int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")))
    try:
        document = json.loads(told)
        cluster, task = document["cluster"], document["task"]
        workers = [*cluster.get("chief", []), *cluster["worker"]]
        number = int(task["index"]) + (len(cluster.get("chief", [])) if task["type"] == "worker" else 0)
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"TF_CONFIG: {error!r}. Expected JSON such as "
            '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}.'
        ) from None
    return Worker(number, len(workers))
