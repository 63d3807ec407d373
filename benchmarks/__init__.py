"""Measurements, run by hand: `python -m benchmarks NAME [--json]`. Ratios of sides that alternate in one run."""
