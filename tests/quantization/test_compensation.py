"""GPTQ against plain rounding, and against the best of all roundings."""

from itertools import product

import numpy as np

from tfpipe.quantization.compensation import round_compensated
from tfpipe.quantization.grid import from_int8, to_int8


def problem(num_inputs: int = 100, num_outputs: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (500, num_inputs) that hang together, and weights."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(500, 5)) @ rng.normal(size=(5, num_inputs)) + 0.3 * rng.normal(size=(500, num_inputs)) + 1
    return inputs, rng.normal(size=(num_inputs, num_outputs)).astype(np.float32)


def test_outputs_are_closer_than_with_plain_rounding() -> None:
    inputs, weights = problem()
    integers, scales = to_int8(weights)
    found = round_compensated(weights, scales, inputs.T @ inputs / 500)
    error = np.square(inputs @ (found - weights)).mean()
    assert error < 0.2 * np.square(inputs @ (from_int8(integers, scales) - weights)).mean()


def test_independent_inputs_leave_nothing_to_make_up_for() -> None:
    _, weights = problem()
    integers, scales = to_int8(weights)
    found = round_compensated(weights, scales, np.diag(np.linspace(1, 3, 100)))
    np.testing.assert_array_equal(found, from_int8(integers, scales))


def test_weights_on_the_grid_stay() -> None:
    inputs, weights = problem()
    integers, scales = to_int8(weights)
    on_grid = from_int8(integers, scales)
    np.testing.assert_array_equal(round_compensated(on_grid, scales, inputs.T @ inputs), on_grid)


def test_it_is_nearly_the_best_of_all_roundings() -> None:
    """Of four weights, each up or down."""
    inputs, weights = problem(4, 1)
    scales = np.array([0.5], np.float16)
    below = np.floor(weights[:, 0] / 0.5) * 0.5
    candidates = [below + 0.5 * np.array(up) for up in product((0, 1), repeat=4)]
    errors = sorted(np.square(inputs @ (candidate - weights[:, 0])).mean() for candidate in candidates)
    found = round_compensated(weights, scales, inputs.T @ inputs / 500)
    assert np.square(inputs @ (found - weights)).mean() <= errors[2]


def test_inputs_that_are_always_zero_are_no_error() -> None:
    _, weights = problem(4, 2)
    integers, scales = to_int8(weights)
    np.testing.assert_array_equal(round_compensated(weights, scales, np.zeros((4, 4))), from_int8(integers, scales))
