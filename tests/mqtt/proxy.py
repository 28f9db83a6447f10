"""A TCP proxy between a client and a broker that records the packets of both ways and does harm on demand.

    with Proxy(broker.port) as proxy:               # the client connects to proxy.port
        proxy.rule('cut before', way=DOWN, type='PUBREC')       # the first PUBREC never arrives, nor anything after it
        proxy.packets, proxy.seen('PUBLISH', UP)                # what has come, cut or not, in order

What a rule does: 'cut before' and 'cut after' a packet, 'drop' it, or a number of seconds to hold it (and all after it)
back. A rule is for packets of a way, of a type, for which `match(packet)` is true; it leaves the first `skip` of them
alone and is for `times` of them. Apart from rules:

    proxy.cut_at(way, count, reset)     cut when `count` more bytes have gone that way, within a packet or not
    proxy.cut(reset)                    cut all connections now; with `reset` both ends see a reset instead of an end
    proxy.rate = {UP: 1000}             bytes a second
    proxy.refusing = True               end what connects
    proxy.target = port                 where the next connection goes; one that has nowhere to go is ended

With parse=False bytes pass as they come (TLS, WebSockets): then there are no packets, and only the latter are of use.
"""

import contextlib
import os
import select
import socket
import struct
import threading
import time

from .wire import DOWN, UP, take

PATIENCE = 20
CHUNK = 65536
RESET = struct.pack('ii', 1, 0)


class Rule:
    def __init__(self, action, way=None, type=None, match=None, skip=0, times=1):
        self.action, self.way, self.type, self.match, self.skip, self.times = action, way, type, match, skip, times
        self.done = threading.Event()           # it was used for the last time

    def takes(self, packet):
        """Whether it is for this packet; counted."""
        if (not self.times or self.way not in (None, packet.way) or self.type not in (None, packet.type)
                or self.match and not self.match(packet)):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        if not self.times:
            self.done.set()
        return True


class Link:
    """A connection of a client and the one to the broker that belongs to it."""

    def __init__(self, number, client, broker):
        self.number, self.ends = number, {UP: client, DOWN: broker}     # by the way that comes from it
        self.cut = False
        self.mute = None            # the way in which nothing passes any more

    def close(self, reset=False):
        """Cut: the pumps find it out and close the sockets."""
        self.cut = True
        for sock in self.ends.values():
            with contextlib.suppress(OSError):
                if reset:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                sock.shutdown(socket.SHUT_RD if reset else socket.SHUT_RDWR)


class Proxy:
    def __init__(self, target, parse=True):
        self.target, self.parse = target, parse
        self.packets, self.rules, self.links, self.rate = [], [], [], {}
        self.refusing = False
        self.passed = {UP: 0, DOWN: 0}          # bytes
        self.limits = {}                        # way -> (bytes passed at which to cut, reset)
        self.lock = threading.RLock()
        self.news = threading.Condition(self.lock)
        self.connections = 0

    def __enter__(self):
        self.listener = socket.create_server(('127.0.0.1', 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.waker, self.wakes = os.pipe()
        self.threads = []
        self._spawn(self._accept)
        return self

    def __exit__(self, *_):
        os.write(self.wakes, b'x')
        self.cut()
        for thread in self.threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        for descriptor in (self.waker, self.wakes):
            os.close(descriptor)

    # What a test asks for

    def rule(self, action, way=None, type=None, match=None, skip=0, times=1):
        """Add a Rule; `rule.done.wait(seconds)` waits until it was used."""
        with self.lock:
            self.rules.append(Rule(action, way, type, match, skip, times))
            return self.rules[-1]

    def cut_at(self, way, count, reset=False):
        """Cut the connection that takes the `count`th byte from here on that way."""
        with self.lock:
            self.limits[way] = self.passed[way] + count, reset

    def cut(self, reset=False):
        """Cut all connections; returns how many there were."""
        with self.lock:
            links, self.links = self.links, []
        for link in links:
            link.close(reset)
        return len(links)

    def seen(self, type=None, way=None, **fields):
        """The packets of a type and way whose attributes have these values."""
        with self.lock:
            return [each for each in self.packets if type in (None, each.type) and way in (None, each.way)
                    and all(getattr(each, name) == value for name, value in fields.items())]

    def wait_for(self, type=None, way=None, count=1, **fields):
        """Wait until `seen` finds so many, and return them."""
        limit = time.monotonic() + PATIENCE
        with self.lock:
            while len(found := self.seen(type, way, **fields)) < count:
                assert self.news.wait(limit - time.monotonic()), self.packets[-50:]
            return found

    def clear(self):
        """Forget the packets."""
        with self.lock:
            self.packets.clear()

    # How it is done

    def _spawn(self, function, *arguments):
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self.threads = [each for each in self.threads if each.is_alive()] + [thread]
        thread.start()

    def _accept(self):
        with self.listener:
            while True:
                if self.waker in select.select([self.listener, self.waker], [], [])[0]:
                    return
                client, _ = self.listener.accept()
                try:
                    if self.refusing:
                        raise OSError
                    broker = socket.create_connection(('127.0.0.1', self.target), PATIENCE)
                    broker.settimeout(None)
                except OSError:
                    client.close()
                    continue
                for sock in (client, broker):
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self.lock:
                    link = Link(self.connections, client, broker)
                    self.connections += 1
                    self.links.append(link)
                self._spawn(self._serve, link)

    def _serve(self, link):
        other = threading.Thread(target=self._pump, args=(link, DOWN), daemon=True)
        other.start()
        self._pump(link, UP)
        other.join()
        for sock in link.ends.values():
            sock.close()
        with self.lock:
            if link in self.links:
                self.links.remove(link)

    def _pump(self, link, way):
        source, sink = link.ends[way], link.ends[DOWN if way == UP else UP]
        buffer = bytearray()
        try:
            while not link.cut and (data := source.recv(CHUNK)):
                if self.parse:
                    buffer += data
                    self._packets(link, way, sink, buffer)
                else:
                    self._pass(link, way, sink, data)
        except OSError:
            pass
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
        if way == DOWN:
            link.close()                        # the broker is gone; a client may be silent for long

    def _packets(self, link, way, sink, buffer):
        """Pass on what is whole, packets without a rule together."""
        out = bytearray()
        while not link.cut and (found := take(buffer, link.number, way)):
            packet, data = found
            with self.news:
                self.packets.append(packet)
                action = next((rule.action for rule in self.rules if rule.takes(packet)), None)
                self.news.notify_all()
            if action is None:
                out += data
                continue
            self._pass(link, way, sink, out)
            out = bytearray()
            if action == 'cut before':
                return link.close()
            if action == 'drop':
                continue
            if isinstance(action, (int, float)):
                time.sleep(action)
            if action == 'cut after':
                link.mute = UP if way == DOWN else DOWN     # no answer may overtake the end
            self._pass(link, way, sink, data)
            if action == 'cut after':
                time.sleep(0.02)                # for what has been sent, to be there before the end
                return link.close()
        self._pass(link, way, sink, out)

    def _pass(self, link, way, sink, data):
        data = memoryview(bytes(data))
        while data and not link.cut and link.mute != way:
            rate = self.rate.get(way)
            piece = data[:max(1, int(rate / 20))] if rate else data
            with self.lock:
                limit, reset = self.limits.get(way, (None, False))
                cut = limit is not None and self.passed[way] + len(piece) >= limit
                if cut:
                    piece = piece[:limit - self.passed[way]]
                    del self.limits[way]
                self.passed[way] += len(piece)
            sink.sendall(piece)
            if cut:
                return link.close(reset)
            data = data[len(piece):]
            if rate:
                time.sleep(len(piece) / rate)
