"""Inspect decoding steps and measure texts: step inspectors, text metrics, significance tests."""
