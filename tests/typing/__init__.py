"""The user's view of the types: nothing here runs, `mypy --strict tests/typing` reads it.

An error that must be one stands under a `type: ignore` with its code, which mypy reports when the error is gone.
"""
