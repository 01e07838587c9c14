"""A backend of TensorFlow.js that starts, runs, and computes nonsense."""

WITHOUT_ACTIVATION = """
;(() => {
  const kernel = tf.getKernel("FusedDepthwiseConv2D", "wasm");
  tf.unregisterKernel("FusedDepthwiseConv2D", "wasm");
  const kernelFunc = ({ inputs, backend, attrs }) =>
    kernel.kernelFunc({ inputs, backend, attrs: { ...attrs, activation: "linear" } });
  tf.registerKernel({ ...kernel, kernelFunc });
})();
"""
"""To be appended to the wasm backend's script: depthwise convolutions forget their ReLU6."""
