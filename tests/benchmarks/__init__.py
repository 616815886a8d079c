"""Measure what the service costs, as ratios within one run: `python -m tests.benchmarks`."""
