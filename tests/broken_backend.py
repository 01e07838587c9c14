"""Backends of TensorFlow.js that start, run, and compute nonsense: to be appended to the script of wasm."""

_PATCH = """
;(() => {
  const kernel = tf.getKernel("FusedDepthwiseConv2D", "wasm");
  tf.unregisterKernel("FusedDepthwiseConv2D", "wasm");
  const kernelFunc = ({ inputs, backend, attrs }) => { %s };
  tf.registerKernel({ ...kernel, kernelFunc });
})();
"""

WITHOUT_ACTIVATION = (
    _PATCH % 'return kernel.kernelFunc({ inputs, backend, attrs: { ...attrs, activation: "linear" } });'
)
"""Depthwise convolutions forget their ReLU6."""

NOT_NUMBERS = (
    _PATCH
    % """
    const output = kernel.kernelFunc({ inputs, backend, attrs });
    backend.typedArrayFromHeap(output).fill(NaN);
    return output;
"""
)
"""Depthwise convolutions give what is no number, even where a network has learned nothing yet."""
