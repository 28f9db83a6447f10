"""MIME types by extension."""

import re

import pytest

from ioto.http.mime import TYPES, type_of


@pytest.mark.parametrize('name, kind', [
    ('index.html', 'text/html; charset=utf-8'), ('/a/b.CSS', 'text/css; charset=utf-8'),
    ('a.js', 'text/javascript; charset=utf-8'), ('a.min.mjs', 'text/javascript; charset=utf-8'),
    ('a.json', 'application/json'),
    ('a.svg', 'image/svg+xml'), ('a.png', 'image/png'), ('a.jpg', 'image/jpeg'), ('a.webp', 'image/webp'),
    ('a.ico', 'image/x-icon'), ('a.woff2', 'font/woff2'), ('a.wasm', 'application/wasm'),
    ('a.txt', 'text/plain; charset=utf-8'),
    ('a.pdf', 'application/pdf'), ('a.zip', 'application/zip'), ('a.gz', 'application/gzip'), ('a.mp4', 'video/mp4'),
    ('a.unknown', 'application/octet-stream'), ('README', 'application/octet-stream'),
    ('html', 'application/octet-stream'),
    ('a.', 'application/octet-stream'), ('', 'application/octet-stream'), ('a.html/b', 'application/octet-stream'),
])
def test_the_type_follows_the_last_extension_in_any_case(name, kind):
    assert type_of(name) == kind


def test_the_default_is_the_callers_choice():
    assert type_of('a.unknown', 'text/plain') == type_of('README', 'text/plain') == 'text/plain' and type_of('a.xyz',
        None) is None


def test_types_are_well_formed_and_text_has_a_charset():
    for extension, kind in TYPES.items():
        assert re.fullmatch(r'[a-z]+/[a-z0-9.+-]+(; charset=utf-8)?', kind) and extension == extension.lower()
        assert kind.startswith('text/') == kind.endswith('charset=utf-8')
