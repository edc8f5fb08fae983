"""Progress while a command works: a bar on a terminal, elsewhere a line in the log now and then."""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager, suppress
from importlib import import_module
from time import monotonic
from typing import Any, Callable, Iterator, NamedTuple, Protocol

import gevent

from gevent_dispatcher._log import about, logger

# How often a bar is drawn, in seconds.
_REDRAW = 0.5
# Between two looks lies so many times what the last one took: a look at a queue of millions takes a second.
_SPARING = 10
# How often a line is logged, in seconds, unless an option says otherwise.
LINE_INTERVAL = 60.0


class Work(NamedTuple):
    """How far a command has come.

    Attributes:
        done: units.
        total: units, as far as that can be known.
        text: counts, for the log.
        note: the few of them that fit behind a bar.
    """

    done: int
    total: int | None
    text: str
    note: str = ""


class Progress(Protocol):
    """Where progress is shown."""

    interval: float

    def show(self, work: Work) -> None:
        """Show how far the command has come."""
        ...

    def say(self, line: str) -> None:
        """Write a line of the log."""
        ...

    def close(self) -> None:
        """Leave the terminal as it should be."""
        ...


class LogLines:
    """A line in the log at each interval.

    Args:
        interval: seconds.
        unit: what the rate counts.
    """

    def __init__(self, interval: float, unit: str) -> None:
        self.interval = interval
        self._unit = unit
        self._last = (monotonic(), 0)

    def show(self, work: Work) -> None:
        now = monotonic()
        since, before = self._last
        rate = (work.done - before) / max(now - since, 0.001)
        self._last = (now, work.done)
        logger.info(
            "%s; %.0f %s/s",
            work.text,
            rate,
            self._unit,
            extra=about("progress", done=work.done, total=work.total, per_second=round(rate, 1)),
        )

    def say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        pass


class Bar:
    """A bar of tqdm's on standard error, and the lines of the log above it.

    Args:
        tqdm: the class.
        unit: what is counted.
    """

    interval = _REDRAW

    def __init__(self, tqdm: Any, unit: str) -> None:
        tqdm.monitor_interval = 0  # its thread would watch over bars that are drawn too seldom; this one is not
        self._tqdm = tqdm
        self._bar = tqdm(unit=f" {unit}", dynamic_ncols=True, mininterval=0, file=sys.stderr)

    def show(self, work: Work) -> None:
        self._bar.total = work.total
        self._bar.set_postfix_str(work.note, refresh=False)
        self._bar.update(work.done - self._bar.n)
        self._bar.refresh()

    def say(self, line: str) -> None:
        self._tqdm.write(line, file=sys.stderr)

    def close(self) -> None:
        self._bar.close()


def make_progress(unit: str, interval: float = LINE_INTERVAL) -> Progress:
    """A bar where standard error is a terminal and tqdm is installed, else lines; the log goes there, too.

    Args:
        unit: what is counted.
        interval: of lines, in seconds.
    """
    tqdm = _tqdm() if sys.stderr.isatty() else None
    progress = LogLines(interval, unit) if tqdm is None else Bar(tqdm, unit)
    _log_to(progress.say)
    if tqdm is None and sys.stderr.isatty():
        logger.info("pip install 'gevent-dispatcher[progress]' brings a progress bar", extra=about("no_progress_bar"))
    return progress


def _tqdm() -> Any:
    try:
        return import_module("tqdm").tqdm
    except ImportError:
        return None


@contextmanager
def shown(progress: Progress, look: Callable[[], Work]) -> Iterator[None]:
    """Show progress while the block runs, and once more at its end, in the log too.

    Args:
        progress: where.
        look: how far the command has come; may wait.
    """
    showing = gevent.spawn(_show, progress, look)
    try:
        yield
    finally:
        showing.kill()
        work = look()
        if isinstance(progress, Bar):
            progress.show(work)
        progress.close()
        logger.info("at the end: %s", work.text, extra=about("ended", done=work.done, total=work.total))


def _show(progress: Progress, look: Callable[[], Work]) -> None:
    cost = 0.0
    while True:
        gevent.sleep(max(progress.interval, _SPARING * cost))
        begin = monotonic()
        progress.show(look())
        cost = monotonic() - begin


class _Handler(logging.Handler):
    def __init__(self, say: Callable[[str], object]) -> None:
        super().__init__()
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(BrokenPipeError):  # a line that nobody reads ends no command
            self._say(self.format(record))


def _log_to(say: Callable[[str], object]) -> None:
    """Have the log written. What others say below a warning may carry paths and queries."""
    handler = _Handler(say)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logger.setLevel(logging.INFO)
