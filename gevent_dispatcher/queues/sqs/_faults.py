"""What an error of SQS or botocore means, in our own terms. Pure, and without botocore: errors are told by their names.

The texts of those errors are not shown: they may hold what was sent.
"""

from __future__ import annotations

from typing import Any, NamedTuple

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
        *("RequestExpired", "SignatureDoesNotMatch", "UnrecognizedClientException"),
    )
)
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


def failed_of(entry: dict[str, Any]) -> Failed:
    """One of the entries that a call says have failed."""
    code, is_ours = _short(entry.get("Code")), bool(entry.get("SenderFault"))
    # A queue's own MaximumMessageSize has no code, but this text.
    is_too_large = is_ours and "must be shorter than" in str(entry.get("Message"))
    return Failed("MessageTooLong" if is_too_large else code, is_ours)


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
    if code in _FORBIDDEN or status == 403:
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
