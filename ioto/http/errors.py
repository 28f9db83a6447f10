"""What HTTP code raises: each error is the answer to send (RFC 9110 §15)."""


class HttpError(Exception):
    """A request to be answered with `status`; `message` says why, `headers` are (name, value) pairs."""

    close = False       # whether the connection closes after the answer

    def __init__(self, status, message='', headers=()):
        super().__init__(status, message)
        self.status = status
        self.message = message
        self.headers = headers

    def __str__(self):
        return f'{self.status}: {self.message}'


class ParseError(HttpError):
    """What was received is no message, so where the next one begins is in doubt."""

    close = True


def shown(text):
    """The end of `text`, bytes or str, for a message: at most 40 characters, as ASCII with escapes."""
    return ascii(text[-40:])
