"""Models as ONNX graphs, for other run-times. Needs the extra `onnx`."""
