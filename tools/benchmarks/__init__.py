"""Benchmarks against ONNX Runtime and onnx2tf, both sides in one run; `tools/bench` starts them."""
