"""What an error of SQS or botocore means, in our own terms. Pure, and without botocore: errors are told by their names.

The texts of those errors are not shown: they may hold what was sent.
"""

from __future__ import annotations

import re
from typing import Any, Mapping, NamedTuple

from gevent_dispatcher._retry import CONTENT_TOO_LARGE
from gevent_dispatcher.queues._protocol import (
    QueueError,
    QueueForbidden,
    QueueRefused,
    QueueUnavailable,
    QueueUncertain,
    Refusal,
)

_MALFORMED = 400

_TOO_LARGE = frozenset(("BatchRequestTooLong", "MessageTooLong"))
_STALE = frozenset(("InvalidReceiptHandle", "MessageNotInflight", "ReceiptHandleIsInvalid"))
_GONE = frozenset(("InvalidAddress", "NonExistentQueue", "QueueDeletedRecently", "QueueDoesNotExist"))
_UNKNOWN = frozenset(
    (
        *("ExpiredToken", "ExpiredTokenException", "IncompleteSignature", "InvalidAccessKeyId"),
        *("InvalidClientTokenId", "InvalidSecurity", "MissingAuthenticationToken", "NotAuthorized"),
        "UnrecognizedClientException",
    )
)
# A signature has the time in it.
_UNTIMELY = frozenset(("InvalidSignatureException", "RequestExpired", "RequestTimeTooSkewed", "SignatureDoesNotMatch"))
# These come with status 403, but are no matter of rights (botocore's service model of SQS, before its version 1.31.81).
_LATER = frozenset(("OverLimit", "PurgeQueueInProgress"))
_THROTTLED = "Throttl"
_FORBIDDEN = frozenset(("AccessDenied", "AccessDeniedException", "AuthFailure", "OptInRequired"))
# Errors of botocore's own, by the names of their classes.
_NO_CREDENTIALS = ("Credential", "Token", "SSO", "Profile", "AuthorizationMode")

# Which right a call needs.
_RIGHTS = {
    "send_message_batch": "sqs:SendMessage",
    "receive_message": "sqs:ReceiveMessage",
    "delete_message_batch": "sqs:DeleteMessage",
    "change_message_visibility_batch": "sqs:ChangeMessageVisibility",
    "get_queue_attributes": "sqs:GetQueueAttributes",
    "purge_queue": "sqs:PurgeQueue",
}


# What is used of the entries of an answer, and has to be text.
_NEEDED = {"Failed": ("Id",), "Successful": ("Id",), "Messages": ("MessageId", "ReceiptHandle", "Body")}
# Attributes whose text is a number.
_NUMBERS = re.compile("ApproximateNumberOfMessages.*|ApproximateReceiveCount|SentTimestamp")
_MOST_DIGITS = 18
NOT_SQS = "what answered in the place of SQS is not SQS"


class Failed(NamedTuple):
    """Why one entry of a call failed.

    Attributes:
        code: what SQS calls it.
        is_ours: it would fail again.
    """

    code: str
    is_ours: bool

    @property
    def is_too_large(self) -> bool:
        """Whether a smaller message would do."""
        return self.code in _TOO_LARGE

    @property
    def is_stale(self) -> bool:
        """Whether the receipt is of no use any more."""
        return self.is_ours or self.code in _STALE

    def as_refusal(self) -> Refusal:
        """What a putter is told."""
        return Refusal(CONTENT_TOO_LARGE if self.is_too_large else _MALFORMED, f"SQS refused it: {self.code}")


_NO_OUTCOME = Failed("no outcome", False)


def failed_of(entry: dict[str, Any]) -> Failed:
    """One of the entries that a call says have failed."""
    code, is_ours = _short(entry.get("Code")), bool(entry.get("SenderFault"))
    # A queue's own MaximumMessageSize has no code, but this text.
    is_too_large = is_ours and "must be shorter than" in str(entry.get("Message"))
    return Failed("MessageTooLong" if is_too_large else code, is_ours)


def outcomes_of(answer: Mapping[str, Any], entries: int) -> list[Failed | None]:
    """What became of each entry of a call, in their order; None is what was to be.

    Args:
        answer: which has been checked.
        entries: how many there were; their ids are their positions.
    """
    done = {entry["Id"] for entry in answer.get("Successful") or ()}
    failed = {entry["Id"]: failed_of(entry) for entry in answer.get("Failed") or ()}
    return [None if str(at) in done else failed.get(str(at), _NO_OUTCOME) for at in range(entries)]


def checked(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer of a call, if it can be one of SQS's: a proxy or a stand-in may have given it.

    Raises:
        QueueUncertain: it is something else.
    """
    for name, needed in _NEEDED.items():
        entries = answer.get(name) or []
        if not isinstance(entries, list) or not all(_has(entry, needed) for entry in entries):
            raise QueueUncertain(NOT_SQS)
    if not _are_attributes(answer.get("Attributes") or {}):
        raise QueueUncertain(NOT_SQS)
    return answer


def _has(entry: object, needed: tuple[str, ...]) -> bool:
    is_entry = isinstance(entry, dict) and all(isinstance(entry.get(name), str) for name in needed)
    return is_entry and _are_attributes(entry.get("Attributes") or {})  # type: ignore[attr-defined]  # it is a dict


def _are_attributes(attributes: object) -> bool:
    return isinstance(attributes, dict) and all(
        isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _MOST_DIGITS
        for name, value in attributes.items()
        if _NUMBERS.fullmatch(str(name))
    )


def explain(error: Exception, operation: str) -> QueueError:
    """An error that a call raised, in our own terms.

    Args:
        error: of a client.
        operation: the client's method.
    """
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return _of_sqs(_code(response), _status(response), operation)
    return _of_the_client(type(error).__name__)


def _of_sqs(code: str, status: int | None, operation: str) -> QueueError:
    if code in _TOO_LARGE or code == "InvalidMessageContents":
        return QueueRefused({0: Failed(code, True).as_refusal()})
    if code in _GONE:
        return QueueUnavailable(f"there is no such queue ({code}): check the queue's url, the account and the region")
    if code in _UNKNOWN:
        return QueueUnavailable(f"AWS does not accept the credentials ({code})")
    if code in _UNTIMELY:
        return QueueUnavailable(f"AWS does not accept the signature ({code}): check the credentials and the clock")
    if code in _FORBIDDEN or (status == 403 and code not in _LATER and _THROTTLED not in code):
        right = _RIGHTS.get(operation, operation)
        return QueueForbidden(f"the credentials have no right to {right} ({code}): grant it on this queue")
    return QueueUnavailable(f"SQS answered {code}" + (f" (status {status})" if status else ""))


def _of_the_client(name: str) -> QueueError:
    if any(mark in name for mark in _NO_CREDENTIALS):
        return QueueUnavailable(f"no AWS credentials can be had ({name}): check its role or its environment")
    if name in ("ReadTimeoutError", "ConnectionClosedError", "HTTPClientError", "ResponseStreamingError"):
        return QueueUncertain(f"SQS did not answer ({name})")
    return QueueUnavailable(f"SQS cannot be reached ({name})")


def _code(response: dict[str, Any]) -> str:
    error = response.get("Error")
    return _short(error.get("Code") if isinstance(error, dict) else None)


def _short(code: object) -> str:
    """Without the name of the service: SQS has used several forms."""
    text = code if isinstance(code, str) and code.isascii() else "an error"
    return text.rpartition("#")[2].rpartition(".")[2][:60]


def _status(response: dict[str, Any]) -> int | None:
    metadata = response.get("ResponseMetadata")
    status = metadata.get("HTTPStatusCode") if isinstance(metadata, dict) else None
    return status if isinstance(status, int) else None
