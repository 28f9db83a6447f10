"""What the parser makes of bytes, however they are cut: the events of a connection as a server reads them."""

from ioto.http import CHUNKED, HeadLimits, ParseError, find_head, parse_request
from ioto.http.body import ChunkedDecoder, LengthDecoder

LIMITS = HeadLimits()


def events(pieces, limits=LIMITS):
    """The events of a connection that brings `pieces`: requests, bodies, and at most one error, which is the last.

    A body is one event, given when it has ended. What is left at the end, a part of a message, is no event.
    """
    found, data, decoder, body = [], b'', None, []
    try:
        for piece in pieces:
            data += piece
            while data:
                if decoder:
                    body += decoder.feed(data)
                    data = decoder.rest
                    if not decoder.done:
                        data = b''
                        break
                    found.append(('body', b''.join(body), decoder.trailers))
                    decoder, body = None, []
                    continue
                start, end = find_head(data, 0, limits)
                if end < 0:
                    data = data[start:]
                    break
                request = parse_request(data, start, end)
                found.append(tuple(getattr(request, name) for name in request.__slots__))
                data = data[end + 2:]
                if request.length:
                    decoder = ChunkedDecoder(limits) if request.length == CHUNKED else LengthDecoder(request.length)
    except ParseError as error:
        found.append(('error', error.status, error.message))
    return found


def cuts(data):
    """`data` whole, byte by byte, and in two at every place."""
    yield [data]
    yield [data[at:at + 1] for at in range(len(data))]
    for at in range(1, len(data)):
        yield [data[:at], data[at:]]


def agreed(data, read=events):
    """What `read` makes of `data`, after a check that it is the same for all cuts."""
    whole = read([data])
    for pieces in cuts(data):
        assert read(pieces) == whole, f'cut as {[len(piece) for piece in pieces]}'
    return whole


def status(data):
    """The status of the error that `data` ends in, the same for all cuts; None if there is no error."""
    last = agreed(data)[-1:]
    return last[0][1] if last and last[0][0] == 'error' else None


def head(*fields, line=b'POST /path HTTP/1.1', host=b'Host: a.example'):
    """A request head with these field lines."""
    return b'\r\n'.join([line, *([host] if host else []), *fields]) + b'\r\n\r\n'


def request(data):
    """The one request whose head is `data`."""
    assert status(data) is None
    start, end = find_head(data)
    assert end + 2 == len(data)
    return parse_request(data, start, end)
