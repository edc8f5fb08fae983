"""What is done to many messages of one queue of SQS at once, and done again where that helps."""

from __future__ import annotations

from typing import Any, Callable, Iterable, Mapping, Sequence

from gevent_dispatcher.queues._protocol import QueueUnavailable
from gevent_dispatcher.queues.sqs._batch import portions
from gevent_dispatcher.queues.sqs._client import Client
from gevent_dispatcher.queues.sqs._faults import outcomes_of

# How often an entry that failed by no fault of its own is tried at once.
_MOST_TRIES = 3

Entry = Mapping[str, Any]


class Changes:
    """Changes of the messages of one queue. Each call tells the receipts that were stale.

    Args:
        client: makes the calls.
        url: of the queue.
    """

    def __init__(self, client: Client, url: str) -> None:
        self._client = client
        self._url = url

    def delete(self, receipts: Iterable[str]) -> list[str]:
        """Delete messages.

        Raises:
            QueueError: not all are deleted.
        """
        return self._change("delete_message_batch", receipts, lambda receipt: {})

    def hide(self, seconds: Mapping[str, int]) -> list[str]:
        """Have messages be received no earlier than after some seconds from now; 0 gives them back.

        Raises:
            QueueError: not all are hidden.
        """
        more = {receipt: {"VisibilityTimeout": each} for receipt, each in seconds.items()}
        return self._change("change_message_visibility_batch", seconds, more.__getitem__)

    def _change(self, operation: str, receipts: Iterable[str], more: Callable[[str], Entry]) -> list[str]:
        stale: list[str] = []
        for portion in portions(list(dict.fromkeys(receipts))):
            stale += self._change_some(operation, portion, more)
        return stale

    def _change_some(self, operation: str, receipts: Sequence[str], more: Callable[[str], Entry]) -> list[str]:
        stale: list[str] = []
        left, codes = list(receipts), {""}
        for _ in range(_MOST_TRIES):
            entries = [{"Id": str(at), "ReceiptHandle": each, **more(each)} for at, each in enumerate(left)]
            answer = self._client.call(operation, QueueUrl=self._url, Entries=entries)
            outcomes = outcomes_of(answer, len(left))
            faults = {receipt: fault for receipt, fault in zip(left, outcomes) if fault is not None}
            stale += [receipt for receipt, fault in faults.items() if fault.is_stale]
            left = [receipt for receipt, fault in faults.items() if not fault.is_stale]
            if not left:
                return stale
            codes = {faults[receipt].code for receipt in left}
        raise QueueUnavailable(f"SQS did not do so for {len(left)} messages ({', '.join(sorted(codes))})")
