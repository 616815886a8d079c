"""The ground_truth function."""
