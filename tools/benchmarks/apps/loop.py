"""
The ceiling: a loop over selectors that parses nothing and answers each blank line with the same bytes. PORT FOLDER
WHAT, where WHAT is 'hello' or 'small'. No server in Python can do less a request than this one.
"""

import os
import selectors
import socket
import sys

folder, what = sys.argv[2:]
body, kind = b'{"hello":"world"}', b'application/json'
if what == 'small':
    with open(os.path.join(folder, 'site', 'small.txt'), 'rb') as file:
        body, kind = file.read(), b'text/plain'
answer = b'HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s' % (kind, len(body), body)

selector = selectors.DefaultSelector()
listener = socket.create_server(('127.0.0.1', int(sys.argv[1])), backlog=4096)
listener.setblocking(False)
selector.register(listener, selectors.EVENT_READ)
while True:
    for key, _ in selector.select():
        sock = key.fileobj
        if sock is listener:
            connection, _ = listener.accept()
            connection.setblocking(False)
            selector.register(connection, selectors.EVENT_READ)
            continue
        try:
            data = sock.recv(65536)
            sock.send(answer * data.count(b'\r\n\r\n'))
        except OSError:
            data = b''
        if not data:
            selector.unregister(sock)
            sock.close()
