"""The test process is patched, as the servers are that the library is made for."""

from gevent import monkey

monkey.patch_all()

from hypothesis import settings  # noqa: E402  # after the patch

# A property is tried on a machine that may be busy: an example that takes longer than usual is no failure.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
