"""Speed of the engine against what a user would write: `python -m benchmarks --help`."""
