"""Measurements of this project beside a peer or a limit: `python -m benchmarks [name ...]`. No tests, no fixtures."""
