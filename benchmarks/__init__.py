"""The benchmark: `make bench`, or `python -m benchmarks --help`."""
