"""HTTP/1.1 on bytes: no socket, no clock, no fiber (RFC 9110, RFC 9112).

`find_head` finds a head in what was received, `parse_request` or `client.parse_response` reads it, and its `length` tells
which decoder of `body` to feed with what follows. The parser is strict where leniency has been an attack: it raises
ParseError with the status to answer, the same one however the bytes were cut on their way.
"""

from .errors import HttpError, ParseError
from .head import CHUNKED, UNTIL_CLOSE, HeadLimits, encode_field, find_head
from .request import Request, parse_request
