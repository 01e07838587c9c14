"""Backends of TensorFlow.js that start, run, and compute nonsense: to be appended to the script of wasm."""


def _patch(name: str, body: str) -> str:
    return f"""
;(() => {{
  const kernel = tf.getKernel("{name}", "wasm");
  tf.unregisterKernel("{name}", "wasm");
  const kernelFunc = ({{ inputs, backend, attrs }}) => {{ {body} }};
  tf.registerKernel({{ ...kernel, kernelFunc }});
}})();
"""


WITHOUT_ACTIVATION = _patch(
    "FusedDepthwiseConv2D",
    'return kernel.kernelFunc({ inputs, backend, attrs: { ...attrs, activation: "linear" } });',
)
"""Depthwise convolutions forget their ReLU6."""

NOT_NUMBERS = _patch(
    "_FusedMatMul",
    """
    const output = kernel.kernelFunc({ inputs, backend, attrs });
    backend.typedArrayFromHeap(output).fill(NaN);
    return output;
    """,
)
"""The last layer gives what is no number, even where a network has learned nothing yet."""
