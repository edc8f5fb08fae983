"""The SDK's own tests, run with our dispatcher and event processor in place of the built-in ones."""
