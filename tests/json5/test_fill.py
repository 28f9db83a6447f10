"""Filling in."""

import pytest

from ioto.json5 import template

VALUES = {'device': {'name': 'Ann', 'ports': [80, 443], 'on': True, 'none': None, 'x.y': 1.5, 'self': '${device.name}'}}


@pytest.mark.parametrize(
    'text,result',
    [
        ('', ''),
        ('plain', 'plain'),
        ('${device.name}', 'Ann'),
        ('a ${device.name} b ${ device.ports[1] }', 'a Ann b 443'),
        ('${device.ports}', '[80,443]'),
        ('${device.on} ${device.none}', 'true null'),
        ("${device['x.y']}", '1.5'),
        ('${device.self}', '${device.name}'),
        ('${none} ${device.nope}', '${none} ${device.nope}'),
        ('$device ${} ${ $${device.name}', '$device ${} ${ $Ann'),
        ('${device.name', '${device.name'),
        ('${a:-b} ${a[}', '${a:-b} ${a[}'),
        ('${${device.name}}', '${Ann}'),
    ],
)
def test_template(text, result):
    assert template(text, VALUES) == result


def test_default_stands_in_for_what_is_not_there():
    assert template('[${none}] [${device.name}]', VALUES, '') == '[] [Ann]'
    assert template('${a..b}', VALUES, '-') == '-'


def test_time_is_in_proportion():
    assert template('${' * 1000000, VALUES) == '${' * 1000000
    assert template('${a' * 1000000, VALUES) == '${a' * 1000000
