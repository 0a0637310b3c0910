"""What docs/benchmarks.md shows: `make bench` measures it, `python -m bench --write` writes it down."""
