"""Benchmarks: rates and distortions by real bytes, speed and memory. Run them with `vqcodec bench`."""
