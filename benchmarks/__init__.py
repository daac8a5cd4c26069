"""Benchmarks: speed, evidence and calibration, measured; each is run by `python -m benchmarks.NAME`."""
