"""What HTTP code raises: each error is the answer to send (RFC 9110 §15)."""


class HttpError(Exception):
    """A request that is answered with an error.

    `status` is the status code, `message` says what is wrong in words for the client's developer, `headers` are
    (name, value) pairs to answer with. `close` tells whether the connection has to be closed after the answer.
    """

    close = False

    def __init__(self, status, message='', headers=()):
        super().__init__(status, message)
        self.status = status
        self.message = message
        self.headers = headers

    def __str__(self):
        return f'{self.status}: {self.message}'


class ParseError(HttpError):
    """The bytes are no HTTP message that is safe to read on after, so where the next one begins is in doubt."""

    close = True


def shown(text):
    """The end of `text` (str of latin-1, or bytes) as ASCII for an error message, at most 40 characters before escapes."""
    if not isinstance(text, str):
        text = text.decode('latin-1')
    return ascii(text if len(text) <= 40 else '...' + text[-37:])
