"""A function of AWS Lambda that delivers what an SQS queue holds.

The queue's event source mapping calls `gevent_dispatcher.aws_lambda.handler` with some messages; what `SqsQueue` put
there, and messages of older formats, are delivered by the same consumer as a worker's: acknowledged after a 2xx and
never before, retried, taken apart when refused, kept from an origin that is away. What has not been delivered within
the function's time is named in the answer, and comes again after the queue's visibility timeout.

**The mapping must have `ReportBatchItemFailures`** in its `FunctionResponseTypes`. Without it Lambda takes any answer
for success, and *deletes* what the handler returned as failed. Where that cannot be made sure, `strict` raises when any
message failed: then the whole batch comes again, delivered ones too, whose uuids the Event API recognises.

Environment variables of the function, each beside the keyword of `make_handler` that does the same in a handler of your
own. An empty variable counts as not set. A wrong one, or one that does not exist, raises while the function starts;
`GEVENT_DISPATCHER_DISABLED`, the off switch of dispatchers, is not looked at.

| variable `GEVENT_DISPATCHER_...` | default | keyword |
|---|---|---|
| `ALLOW`: urls, with blanks between them, where requests may go, too | the Event API only | `destinations` |
| `ACCOUNT_ID`, `PROJECT_ID`: for messages of older formats | none | `legacy=LegacyFormat(...)` |
| `ANONYMIZE_IP`, `LEGACY_URL`: what else these lack | true, the Event API's | the same |
| `DEAD_LETTER_URL`: an SQS queue for what can never be delivered; needs the extra `sqs` | none | `dead_letter_url` |
| `STRICT`: raise when any message failed | false | `strict` |
| `MARGIN`: seconds of the function's time that are kept for the answer | 1 | `margin` |
| `POOL_SIZE`: most requests at once | 10 | `pool_size` |
| `CONNECT_TIMEOUT`, `READ_TIMEOUT`, `REQUEST_TIMEOUT`: seconds, as for a dispatcher | 3, 10, 15 | the same |

What becomes of a message:

- delivered: it is deleted, by Lambda.
- refused by the endpoint to its last event, addressed elsewhere, or unreadable: it goes to `dead_letter_url` at once
  and is deleted. Without that url it is returned, its reason is logged, and the queue's redrive policy takes it in the
  end.
- delivered in part, the rest refused: the rest alone goes to `dead_letter_url`. Without it the message is returned
  whole.
- not delivered yet, for whatever reason: it is returned. Of a FIFO queue so are those behind it in its group, which are
  not sent before it was delivered.
- there twice in one event: it is delivered once.

An event without records is answered at once. One that is not from SQS raises, so that nothing of it is deleted. When
less than `margin` and half a second are left, all is returned, and nothing was sent. A quarter of the time that is
left, 5 s at most, is kept for finishing requests that are under way; those that hang are given up then. An endpoint
that is away (five failures in a row), or asks for more than two seconds, is not waited for once everything for other
endpoints has ended: time is paid for, and the queue has more patience.

Nothing is patched, and no thread is started but those of gevent's pools, which import, look names up and call SQS.
The hub runs only while the handler waits. Connections are kept from one invocation to the next; when Lambda froze the
process for so long that they are dead, the next request finds out, and goes over a fresh one.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from gevent_dispatcher.aws_lambda._environment import settings_of
from gevent_dispatcher.aws_lambda._handler import BatchFailed, Handler, make_handler

__all__ = ["BatchFailed", "Handler", "handler", "make_handler"]

if TYPE_CHECKING:
    handler: Handler


def __getattr__(name: str) -> Any:
    """Make `handler` when Lambda asks for it, while the function starts: importing this module for `make_handler`
    neither reads the environment nor raises.
    """
    if name != "handler":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = globals()[name] = make_handler(**settings_of(os.environ))
    return made
