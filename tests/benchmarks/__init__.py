"""What the service costs, measured as ratios within one run: `python -m tests.benchmarks`."""
