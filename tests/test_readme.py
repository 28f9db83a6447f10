"""README.md: its examples are what the agent takes."""

import os
import re
import subprocess
import sys

import pytest

from ioto import config, json5
from ioto.web import Server
from tests.child import TREE, write

with open(os.path.join(TREE, 'README.md'), encoding='utf-8') as file:
    TEXT = file.read()
ROLES = {'roles': {'admin': ['user', 'edit'], 'user': ['view']}}


def blocks(language):
    return re.findall(rf'```{language}\n(.*?)```', TEXT, re.S)


@pytest.mark.parametrize('text', blocks('js'))
def test_the_configurations_are_taken(text, tmp_path):
    subprocess.run([sys.executable, 'tools/certs.py', str(tmp_path / 'certs')], cwd=TREE, check=True, capture_output=True)
    write(tmp_path, 'site/index.html', '')
    code = re.sub('^//.*\n', '', text)
    values = json5.parse(code if code.startswith('{') else f'{{{code}}}', relaxed=True)
    if 'services' not in values:
        signatures = any(key.startswith('/') for key in values)
        values = {'web': {'signatures': values, 'routes': [{'match': '/api/', 'validate': True}]} if signatures else values}
    write(tmp_path, 'config/ioto.json5', json5.render({'auth': ROLES, **values}))
    settings = config.load(str(tmp_path / 'config'))
    assert settings.values['web'].get('routes') or settings.values['web']['tls']
    Server(settings.values['web'], settings.paths.resolve)


@pytest.mark.parametrize('text', blocks('python'))
def test_the_programs_compile(text):
    compile(text, 'README.md', 'exec')


def test_there_are_examples():
    assert len(blocks('js')) == 4 and len(blocks('python')) == 6
