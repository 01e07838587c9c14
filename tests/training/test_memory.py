"""How many examples fit, told from two small steps."""

import numpy as np
import pytest

from tfpipe.training import memory
from tfpipe.training.memory import largest_that_fits

MIB = 2**20


def hungry(size: int) -> None:
    """A step that takes 30 MiB, and 20 MiB an example."""
    np.ones((30 + 20 * size) * MIB, np.uint8).sum()


@pytest.mark.parametrize(("free_mib", "expected"), [(900, 32), (780, 16), (150, 4), (70, 1), (30, None)])
def test_the_largest_is_that_whose_peak_is_within_a_share_of_what_is_free(
    monkeypatch: pytest.MonkeyPatch, free_mib: int, expected: int | None
) -> None:
    """0.8 · free ≥ 30 + 20 · size; 32 examples take 670 MiB, 16 take 350, 4 take 110, one takes 50."""
    monkeypatch.setattr(memory, "free_bytes", lambda: free_mib * MIB)
    assert largest_that_fits(hungry, [1, 2, 4, 8, 16, 32]) == expected
