"""The programs that benchmarks compare, one per file. A benchmark runs each of them in a process of its own."""
