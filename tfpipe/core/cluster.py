"""Which of several workers this process is, by `TF_CONFIG` or Slurm; without TensorFlow."""

import json
import os
from dataclasses import dataclass

from tfpipe.core.errors import ConfigError


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
