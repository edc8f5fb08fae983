"""Real processes and how they end: what becomes of the events that were dispatched right before.

`python -m tests.lifetimes` prints the table. The files without an underscore run inside the processes of a row; those
with one start, end and judge them.
"""
