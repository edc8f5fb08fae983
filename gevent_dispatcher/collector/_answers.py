"""What the collector answers with, as values: no route makes header fields of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus

_BODILESS = (204, 304)
# What is shown here is what others sent: nobody may guess at its type, or keep it.
_CAREFUL = (("X-Content-Type-Options", "nosniff"), ("Cache-Control", "no-store"))


@dataclass(frozen=True)
class Answer:
    """One HTTP answer.

    Args:
        status: of HTTP.
        body: with a status of 204, none.
        kind: the type of the body.
        close: whether the connection ends with it.
        fields: header fields besides those of every answer.
    """

    status: int
    body: bytes = b""
    kind: str = "application/json"
    close: bool = False
    fields: tuple[tuple[str, str], ...] = ()

    def status_line(self) -> str:
        """The status with its name, if it has one."""
        try:
            return f"{self.status} {HTTPStatus(self.status).phrase}"
        except ValueError:
            return f"{self.status} Unnamed"

    def headers(self) -> list[tuple[str, str]]:
        """The header fields; a 204 carries neither type nor length."""
        fields = [("Connection", "close"), *self.fields] if self.close else [*self.fields]
        if self.status in _BODILESS:
            return fields
        return [*fields, ("Content-Type", self.kind), ("Content-Length", str(len(self.body))), *_CAREFUL]


DONE = Answer(204)


def json_of(value: object, status: int = 200) -> Answer:
    """An answer that is JSON."""
    return Answer(status, json.dumps(value).encode())


def refusal(status: int, reason: str, close: bool = False, fields: tuple[tuple[str, str], ...] = ()) -> Answer:
    """An answer that says why not."""
    return Answer(status, json.dumps({"error": reason}).encode(), close=close, fields=fields)
