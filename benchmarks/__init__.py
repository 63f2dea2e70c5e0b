"""What the package costs, measured: `python -m benchmarks`. README.md explains the figures."""
