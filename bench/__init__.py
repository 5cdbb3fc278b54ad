"""Benchmarks: how fast the suite is, each figure beside a peer's from the same run."""
