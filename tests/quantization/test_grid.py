"""The int8 grid against TensorFlow's own fake quantization, and what must hold on any weights."""

import numpy as np
import pytest
import tensorflow as tf

from tfpipe.core.errors import TfpipeError
from tfpipe.quantization.grid import from_int8, on_grid, to_int8


def some_weights() -> np.ndarray:
    """(3, 3, 8, 16): channels from tiny to huge, as folded depthwise kernels have them, one of zeros."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(3, 3, 8, 16)) * np.geomspace(1e-6, 1e4, 16)
    weights[..., 5] = 0
    return weights.astype(np.float32)


def test_it_rounds_as_tensorflow_does_on_the_same_scales() -> None:
    weights = some_weights()
    integers, scales = to_int8(weights)
    limits = np.where(scales > 0, scales.astype(np.float32) * 127, 1)
    expected = tf.quantization.fake_quant_with_min_max_vars_per_channel(weights, -limits, limits, narrow_range=True)
    np.testing.assert_allclose(from_int8(integers, scales), expected, rtol=1e-5)


def test_no_weight_is_further_off_than_half_a_scale() -> None:
    weights = some_weights()
    integers, scales = to_int8(weights)
    assert integers.dtype == np.int8
    assert scales.dtype == np.float16
    assert scales.shape == (16,)
    off = np.abs(from_int8(integers, scales).astype(np.float64) - weights)
    assert (off <= scales.astype(np.float64) / 2 * (1 + 1e-6)).all()


def test_scales_are_no_larger_than_the_weights_need() -> None:
    weights = some_weights()
    integers, scales = to_int8(weights)
    largest = np.abs(integers).max(axis=(0, 1, 2))
    assert (largest[scales > 6.2e-5] == 127).all()
    assert largest[5] == 0
    assert integers.min() == -127


def test_a_channel_of_zeros_has_scale_zero_and_stays_zero() -> None:
    integers, scales = to_int8(some_weights())
    assert scales[5] == 0
    assert (from_int8(integers, scales)[..., 5] == 0).all()


def test_weights_on_a_grid_are_met_exactly() -> None:
    """Those that were trained to lie on one must not move."""
    integers, scales = to_int8(some_weights())
    weights = from_int8(integers, scales)
    again, same_scales = to_int8(weights)
    np.testing.assert_array_equal(from_int8(again, same_scales), weights)
    normal = scales > 6.2e-5
    np.testing.assert_array_equal(again[..., normal], integers[..., normal])


def test_a_grid_is_found_whose_last_points_no_weight_has() -> None:
    """As rounding leaves them that makes up for errors; `to_int8` would round once more."""
    rng = np.random.default_rng(2)
    integers = rng.integers(-90, 91, (4, 4, 32)).astype(np.int8)
    integers[..., 7] = 0
    scales = rng.uniform(1e-6, 1e-1, 32).astype(np.float16)
    weights = from_int8(integers, scales)
    found, found_scales = on_grid(weights)
    np.testing.assert_array_equal(from_int8(found, found_scales), weights)
    assert found_scales[7] == 0
    assert not np.array_equal(from_int8(*to_int8(weights)), weights)


def test_weights_on_no_grid_are_told() -> None:
    with pytest.raises(TfpipeError, match="the weights of 1 channels lie on no int8 grid"):
        on_grid(np.array([[1.0, 1.0], [2.0, np.pi / 2]], np.float32))


def test_steps_of_a_grid_with_float32_scales_are_kept() -> None:
    """As TF-MOT trains them; only the scale moves, by a float16's precision."""
    rng = np.random.default_rng(1)
    integers = rng.integers(-127, 128, (64, 32)).astype(np.int8)
    integers[0] = 127
    scales = rng.uniform(1e-3, 1e-1, 32).astype(np.float32)
    found, found_scales = to_int8(integers * scales)
    np.testing.assert_array_equal(found, integers)
    np.testing.assert_allclose(found_scales, scales, rtol=2**-11)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_not_a_number_is_refused(wrong: float) -> None:
    weights = some_weights()
    weights[0, 1, 2, 3] = wrong
    with pytest.raises(TfpipeError, match="not a finite number"):
        to_int8(weights)


def test_what_float16_scales_cannot_hold_is_refused() -> None:
    with pytest.raises(TfpipeError, match=r"a weight is 1e\+07: int8 holds 8\.32e\+06 at most"):
        to_int8(np.full((2, 2), 1e7, np.float32))


def test_no_weights_at_all_are_no_error() -> None:
    integers, scales = to_int8(np.zeros((0, 4), np.float32))
    assert integers.shape == (0, 4)
    assert (scales == 0).all()
