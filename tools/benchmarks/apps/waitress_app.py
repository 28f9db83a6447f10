"""waitress as a peer: PORT FOLDER."""

import os
import sys

import waitress

SITE = sys.argv[2] + '/site'


def app(environ, start_response):
    path = environ['PATH_INFO']
    if path == '/api/hello':
        start_response('200 OK', [('Content-Type', 'application/json'), ('Content-Length', '17')])
        return [b'{"hello":"world"}']
    file = open(SITE + path, 'rb')
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', str(os.fstat(file.fileno()).st_size))])
    return environ['wsgi.file_wrapper'](file)


waitress.serve(app, host='127.0.0.1', port=int(sys.argv[1]), connection_limit=4000, channel_timeout=300, backlog=4096)
