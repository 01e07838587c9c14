"""What was measured, for the eye: PNG files, TensorBoard, and a page. Values come in; nothing is computed here."""
