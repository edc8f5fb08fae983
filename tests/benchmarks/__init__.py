"""What a dispatcher costs a gevent worker, beside what a user would have instead: `python -m tests.benchmarks`."""
