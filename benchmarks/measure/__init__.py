"""What the benchmarks share: clocks, works, one training by one library, and pages."""
