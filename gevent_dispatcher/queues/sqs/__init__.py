"""`SqsQueue`: a queue of Amazon SQS, for applications and workers on any number of machines.

    dispatcher = GeventEventDispatcher(transport=QueueTransport(SqsQueue("https://sqs.eu-west-1.amazonaws.com/1/events")))

One message is one request, ready to be sent, behind a line that says where it goes. Requests are cut at about 60 000
bytes, because SQS is paid for by pieces of 64 KB, and put up to ten at a time. Credentials come from where botocore
finds them. Rights: a producer needs `sqs:SendMessage` and no other. A consumer needs `sqs:ReceiveMessage`,
`sqs:DeleteMessage` and `sqs:ChangeMessageVisibility`, and `sqs:SendMessage` for what is left of a message that was
delivered in part, there and on the queue of dead letters. Operators need `sqs:GetQueueAttributes` and `sqs:PurgeQueue`.

Delivery is at least once, from SQS itself and from this: a call whose answer got lost is repeated, and `replace` puts
what is left of a message before it deletes that. Nothing is lost by it, and the Event API recognises the uuid of what
comes twice. In a process that is not patched each call takes a native thread, and the hub goes on meanwhile.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

if "botocore" not in sys.modules and find_spec("botocore") is None:
    raise ImportError("gevent_dispatcher.queues.sqs needs botocore: pip install 'gevent-dispatcher[sqs]'")

from gevent_dispatcher.queues.sqs._letters import DeadLetters
from gevent_dispatcher.queues.sqs._queue import SqsQueue

__all__ = ["DeadLetters", "SqsQueue"]
