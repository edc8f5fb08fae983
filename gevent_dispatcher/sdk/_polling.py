"""The SDK's polling for the datafile, once per process."""

from __future__ import annotations

import threading
from typing import Any

from optimizely.config_manager import AuthDatafilePollingConfigManager, PollingConfigManager

from gevent_dispatcher._pid import this_process
from gevent_dispatcher.sdk._loop import Loop

# What the SDK waits for its polling thread when it is stopped, in seconds.
_STOP_PATIENCE = 0.2


class _Poller(Loop):
    """Fetches the datafile again and again.

    Attributes:
        ready: set when a first datafile has come, or none will.
    """

    def __init__(self, manager: GeventPollingConfigManager) -> None:
        super().__init__()
        self._manager = manager
        self._stopped = threading.Event()
        self.ready = threading.Event()

    def work(self) -> None:
        try:
            while not self._stopped.is_set() and self.is_ours():
                with self.busy():
                    self._manager.fetch_datafile()
                # Only now, not as soon as the datafile is there: who waits for it may fork, and the request is over.
                if self._manager.has_loaded:
                    self.ready.set()
                self._stopped.wait(self._manager.update_interval)
        except Exception as error:
            self._manager.logger.error(f"Polling for the datafile has failed and ends. Error: {error}")
            raise
        finally:
            self.ready.set()

    def end(self) -> None:
        self._stopped.set()
        self.ready.set()
        self.join(_STOP_PATIENCE)


class GeventPollingConfigManager(PollingConfigManager):
    """The SDK's PollingConfigManager, with a poller in each process.

    Polling starts at construction, as the SDK's does, and in the child of a fork at the first use of the client there.
    The child serves the datafile that the parent had, at once. Give the client the same `notification_center`.

    Attributes:
        has_loaded: whether a datafile has come, a good one or not.

    Args:
        *args: what the SDK's PollingConfigManager takes.
        **kwargs: the same, by name; update_interval and blocking_timeout are in seconds.

    Raises:
        optimizely.exceptions.InvalidInputException: as the SDK's does.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._pollers: dict[tuple[int, int], _Poller] = {}
        self._may_start = False  # a listener may ask for the datafile before we know where to poll
        self.has_loaded = False
        super().__init__(*args, **kwargs)
        self._may_start = True

    def get_config(self) -> Any:
        """The datafile's ProjectConfig; waits for the first, at most `blocking_timeout` seconds.

        Returns:
            None when none has come.
        """
        poller = self._poller()
        if poller.is_unstarted and self._may_start:
            poller.start()
        if self._config is None and poller.is_alive():
            poller.ready.wait(self.blocking_timeout)
        return self._config

    def stop(self) -> None:
        """Stop polling, in this process and in those that it forks from now on; waits briefly for the end."""
        self._may_start = False
        self._poller().end()

    @property
    def _polling_thread(self) -> Any:
        """Started at the end of the SDK's constructor, and asked whether it is alive."""
        return self._poller()

    @_polling_thread.setter
    def _polling_thread(self, thread: Any) -> None:
        """The SDK's own thread, which is never started."""

    def _poller(self) -> _Poller:
        found = self._pollers.get(this_process())
        return found if found is not None else self._pollers.setdefault(this_process(), _Poller(self))

    def _set_config(self, datafile: Any) -> None:
        if datafile or self.has_loaded:
            # Past PollingConfigManager, whose event another process's thread may have left locked.
            super(PollingConfigManager, self)._set_config(datafile=datafile)
            self.has_loaded = True


class GeventAuthDatafilePollingConfigManager(GeventPollingConfigManager, AuthDatafilePollingConfigManager):
    """The SDK's AuthDatafilePollingConfigManager, with a poller in each process.

    Args:
        *args: what the SDK's AuthDatafilePollingConfigManager takes, `datafile_access_token` first.
        **kwargs: the same, by name.
    """
