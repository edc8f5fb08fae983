"""The test process is patched, as the servers are that the library is made for."""

from gevent import monkey

monkey.patch_all()
