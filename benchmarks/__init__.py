"""Speed of tfpipe, as ratios anyone can measure again."""

import tfpipe  # noqa: F401 - sets what TensorFlow reads when it is imported: all sides have the same kernels
