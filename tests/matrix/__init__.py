"""The versions that the library is for, really run: each row is an interpreter, a stack of its own and the wheel.

`python -m tests.matrix` runs them; see its `--help`. What came of it is kept in results.md beside this file.
"""
