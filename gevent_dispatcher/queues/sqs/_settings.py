"""What a `SqsQueue` accepts, and why. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from gevent_dispatcher import _url
from gevent_dispatcher._ranges import seconds, whole
from gevent_dispatcher.queues._legacy import LegacyFormat

# A message, and all of a SendMessageBatch together (Amazon SQS Developer Guide, "Message quotas"). It was 262 144
# before August 2025, and still is for some queues and for most stand-ins.
LARGEST_BYTES = 1_048_576
# A request to SQS is paid for by pieces of 64 KB (Amazon SQS pricing): room for attributes and a grain of salt.
PACKED_BYTES = 60_000
# The header of a message is a line of some 200 bytes and the path of the url.
HEADER_BYTES = 500
# What a dead letter has besides: its reason and a few numbers.
ATTRIBUTE_BYTES = 1_024

# A call takes 5 to 20 ms. One that takes longer than this has come to nothing; in seconds.
DEFAULT_TIMEOUT = 10.0
# The longest that ReceiveMessage waits (Amazon SQS API Reference), in seconds.
LONGEST_POLL = 20
# The longest that a message can be invisible, from its receipt on (Developer Guide, "Visibility timeout"), in seconds.
LONGEST_INVISIBLE = 43_200
# The longest that a new message can be delayed (Developer Guide, "Message quotas"), in seconds.
LONGEST_DELAY = 900

_REGION_IN_HOST = (
    re.compile(r"(?:^|\.)sqs(?:-fips)?\.([a-z]{2}(?:-[a-z]+)+-\d+)\."),
    re.compile(r"^([a-z]{2}(?:-[a-z]+)+-\d+)\.queue\.amazonaws\.com"),
)
# The endpoint of a queue url of the first years; the region's own endpoint serves such a queue, too.
_OLD_HOST = re.compile(r"(?:^|\.)queue\.amazonaws\.com(\.cn)?\Z")
_REGION = re.compile(r"[a-z0-9-]{1,40}\Z")


@dataclass(frozen=True)
class Settings:
    """All that a `SqsQueue` was told.

    Raises:
        ValueError: a setting is outside its accepted range; the message has name, value and range.
    """

    queue_url: str
    dead_letter_url: str | None
    region: str | None
    client: Any
    packed_bytes: int
    largest_bytes: int
    polls: int
    timeout: float
    longest_delay: float
    legacy: LegacyFormat | None

    def __post_init__(self) -> None:
        origin = _check_url("queue_url", self.queue_url)
        if self.dead_letter_url is not None:
            _check_dead_letter_url(self.dead_letter_url, origin, self.queue_url)
        if self.region is not None and not _is_region(self.region):
            raise ValueError(f"region={self.region!r}: must be the name of a region, such as 'eu-west-1'")
        if self.region is not None and self.client is not None:
            raise ValueError(f"region={self.region!r}: would be ignored beside client=; the client has a region")
        if self.client is not None and not is_client(self.client) and not callable(self.client):
            raise ValueError(f"client={self.client!r}: must be a botocore client for sqs, or make one when called")
        if self.legacy is not None and not isinstance(self.legacy, LegacyFormat):
            raise ValueError(f"legacy={self.legacy!r}: must be a LegacyFormat or None")
        whole("max_message_bytes", self.largest_bytes, 4_000, LARGEST_BYTES, "bytes")
        whole("message_bytes", self.packed_bytes, 2_000, self.largest_bytes, "bytes")
        whole("polls", self.polls, 1, 50, "calls")
        seconds("timeout", self.timeout, 0.1, 300)
        seconds("longest_delay", self.longest_delay, 0, LONGEST_INVISIBLE)

    @property
    def endpoint(self) -> str | None:
        """Where calls go: to the host of the queue's url; None is the region's own."""
        origin = _url.parse(self.queue_url).origin
        return None if _OLD_HOST.search(origin.host) else str(origin)

    @property
    def region_of_url(self) -> str | None:
        """The region that the queue's url names, None when it names none."""
        host = _url.parse(self.queue_url).origin.host
        found = [match.group(1) for match in (pattern.search(host) for pattern in _REGION_IN_HOST) if match]
        return found[0] if found else "us-east-1" if host == "queue.amazonaws.com" else None


def _is_region(value: object) -> bool:
    return isinstance(value, str) and bool(_REGION.match(value))


def is_client(client: object) -> bool:
    """Whether it has the calls of a client."""
    return all(hasattr(client, name) for name in ("send_message_batch", "receive_message", "delete_message_batch"))


def _check_url(name: str, value: object) -> _url.Origin:
    try:
        address = _url.parse(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}; give the url that the queue has in SQS") from None
    if address.authorization or "?" in address.target or address.target == "/":
        raise ValueError(f"{name}: is not like https://HOST/ACCOUNT/NAME; give the url that the queue has in SQS")
    if address.target.endswith(".fifo"):
        raise ValueError(
            f"{name}={value!r}: is a FIFO queue. Events need no order, and one that waits would hold up its group: "
            "give the url of a standard queue"
        )
    return address.origin


def _check_dead_letter_url(value: object, origin: _url.Origin, queue_url: str) -> None:
    if _check_url("dead_letter_url", value) != origin:
        raise ValueError(f"dead_letter_url={value!r}: must have the scheme, host and port of queue_url")
    if value == queue_url:
        raise ValueError(f"dead_letter_url={value!r}: must be another queue than queue_url")
