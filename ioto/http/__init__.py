"""HTTP/1.1 on bytes: no socket, no clock, no fiber (RFC 9110, RFC 9112).

Both roles. A server calls `find_head` on what it has received, `parse_request` on the head found, feeds what follows to the
body decoder that `request.length` asks for, and answers with `response_head`. A client does the same with `request_head` and
`parse_response`. The parser is strict wherever leniency has been an attack, and tells of a fault by raising `ParseError`,
which has the status to answer with; it raises the same error however the bytes were cut on their way.

Modules: head (the end of a head, faults in its lines, framing), request, response, body, uri, fields, dates, mime,
conditions; grammar holds the regular expressions, status the codes, errors the exceptions.
"""

from .errors import HttpError, ParseError
from .head import CHUNKED, UNTIL_CLOSE, HeadLimits, encode_field, find_head
from .request import Request, parse_request, request_head
from .response import Response, parse_response, response_head
