"""Measure speed and quality by hand: `python -m benchmarks NAME [--json]`. Figures are ratios of sides that alternate
in one run."""
