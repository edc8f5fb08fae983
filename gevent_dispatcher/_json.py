"""JSON text of what the SDK hands over: the standard library's, by whichever encoder is at hand.

orjson is used when it is installed and would write the same: it takes a tenth of the time. Where the two differ, json
decides what is sent and what is refused. Reading, it takes a quarter of the time.
"""

from __future__ import annotations

import json
import marshal
from typing import Any, Callable

_orjson: Any
try:
    import orjson as _orjson
except ImportError:
    _orjson = None

# A circle ends in RecursionError, which is caught; looking for one (check_circular) would cost each event a third.
_json = json.JSONEncoder(check_circular=False, allow_nan=False, separators=(",", ":"))


class NotJson(ValueError):
    """A value has no JSON text; the message says why and never shows the value."""


def _reuse_encoder(encoder: json.JSONEncoder) -> Callable[[Any], bytes]:
    """`encoder.encode` to ASCII, without making its C part anew for each call, where this Python has one."""
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return lambda value: encoder.encode(value).encode("ascii")
    text = json.encoder.encode_basestring_ascii
    encode = make(None, encoder.default, text, None, ":", ",", False, False, False)
    return lambda value: "".join(encode(value, 0)).encode("ascii")


encode_plainly = _reuse_encoder(_json)


def encode_fast(value: Any) -> bytes:
    """The JSON text of a value by orjson, where that says the same as json's; json's elsewhere.

    marshal takes values of Python's own plain types only: so an enum, a UUID or a dataclass, which orjson would write,
    goes to json, which refuses it. What orjson writes as null may have been NaN.
    """
    try:
        marshal.dumps(value)
        text: bytes = _orjson.dumps(value)
    except (ValueError, TypeError, RecursionError):  # json decides
        return encode_plainly(value)
    # Copied, it takes a block of its own size: orjson's may be eight times as large.
    return encode_plainly(value) if b"null" in text else b"%b" % text


# The JSON text of a value as it is sent. Raises ValueError, TypeError or RecursionError where there is none.
encode: Callable[[Any], bytes] = encode_plainly if _orjson is None else encode_fast


def decode_fast(text: bytes) -> Any:
    """The value of a JSON text by orjson; None where there is none, or no orjson: json may know better."""
    if _orjson is None:
        return None
    try:
        return _orjson.loads(text)
    except ValueError:
        return None


def dump(value: Any, encode: Callable[[Any], bytes] = encode) -> bytes:
    """The JSON text of a value as it is sent.

    Raises:
        NotJson: it has none.
    """
    try:
        return encode(value)
    except ValueError:
        raise NotJson("NaN, an infinity or a number that JSON cannot carry") from None
    except TypeError:
        raise NotJson("a value or a key of a type that JSON does not have") from None
    except RecursionError:
        raise NotJson("something circular, or nested too deeply") from None
