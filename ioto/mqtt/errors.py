"""What the MQTT client raises. A topic or filter that the standard forbids is a ValueError, a time-out a TimeoutError."""


class MqttError(Exception):
    """What failed, and why; `.code` is 1 to 5 where the broker refused the connection (MQTT 3.1.1 §3.2.2.3), 0x80 where
    it refused a subscription (§3.9.3), else None."""

    def __init__(self, message, code=None):
        super().__init__(message)
        self.code = code


class ProtocolError(MqttError):
    """The peer sent what the standard forbids; the connection is closed (§4.8)."""
