"""The commands of `python -m gevent_dispatcher`: each adds itself to a parser, and says what to run."""
