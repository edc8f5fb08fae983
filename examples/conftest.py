"""The fixtures of gevent_dispatcher.testing, for the tests in this directory."""

pytest_plugins = ["gevent_dispatcher.testing.fixtures"]
