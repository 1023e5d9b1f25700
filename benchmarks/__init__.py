"""How fast the lab is; run as ``python -m benchmarks.NAME`` from the root of the repository."""
