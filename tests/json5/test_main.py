"""The command line."""

import json
import os
import subprocess
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TEXT = "// c\n{ name: 'Ann', list: [1, .5, {a: 'b'}], 'text/css': null, }\n"


def command(*arguments, text=TEXT):
    return subprocess.run(
        [sys.executable, '-m', 'ioto.json5', *map(str, arguments)],
        cwd=ROOT,
        input=text.encode() if isinstance(text, str) else text,
        capture_output=True,
    )


@pytest.fixture
def file(tmp_path):
    path = tmp_path / 'a.json5'
    path.write_text(TEXT)
    return path


@pytest.mark.parametrize(
    'arguments,expected',
    [
        (['--style', 'json'], '{"name":"Ann","list":[1,0.5,{"a":"b"}],"text/css":null}'),
        (['--style=json5'], "{name: 'Ann', list: [1, 0.5, {a: 'b'}], 'text/css': null}"),
        (['--query', 'name'], 'Ann'),
        (['--query=name', '--style', 'json'], '"Ann"'),
        (['--query', 'list[2].a'], 'b'),
        (['--query', 'list[1]'], '0.5'),
        (['--query', "['text/css']"], 'null'),
        (['--query', 'list', '--style', 'json'], '[1,0.5,{"a":"b"}]'),
        (['--set', 'list[$]=x', '--query', 'list', '--style', 'json'], '[1,0.5,{"a":"b"},"x"]'),
        (
            ['--set', 'a.b={c: 1}', '--set', 'name=5 secs', '--set=z=', '--style', 'json'],
            '{"name":"5 secs","list":[1,0.5,{"a":"b"}],"text/css":null,"a":{"b":{"c":1}},"z":""}',
        ),
        (['--set', "['a=b']=x=y, z", '--query', "['a=b']"], 'x=y, z'),
        (['--set', "name='5'", '--query', 'name', '--style', 'json'], '"5"'),
        (['--set', 'name=5', '--query', 'name'], '5'),
    ],
)
def test_prints(file, arguments, expected):
    for done in (command(*arguments, file), command(file, *arguments), command(*arguments, '-')):
        assert (done.returncode, done.stdout.decode(), done.stderr) == (0, expected + '\n', b'')
    assert file.read_text() == TEXT


def test_prints_pretty_json_by_default(file):
    done = command(file)
    assert json.loads(done.stdout) == {'name': 'Ann', 'list': [1, 0.5, {'a': 'b'}], 'text/css': None}
    assert done.stdout.startswith(b'{\n    "name": "Ann",\n')


@pytest.mark.parametrize(
    'text,message',
    [
        ('{a: 1,\n b 2}', "2:4: expected ':', found '2'"),
        ('', '1:1: expected a value, found the end of the input'),
        (b'["\xff"]', '1:3: expected UTF-8, found the byte 0xff'),
        ('[' * 10000, "1:501: expected at most 500 nested levels, found '['"),
        ('{a: `b`}', "1:5: expected a value, found '`'"),
    ],
)
def test_bad_input_is_named_by_line_and_column(tmp_path, text, message):
    path = tmp_path / 'bad.json5'
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    for done, name in ((command(path), path), (command('-', text=text), '-')):
        assert (done.returncode, done.stdout, done.stderr.decode()) == (1, b'', f'{name}:{message}\n')


def test_relaxed(file):
    file.write_text('{a: 10 secs, b: `c`}')
    assert command('--relaxed', '--style', 'json', file).stdout == b'{"a":"10 secs","b":"c"}\n'
    assert command('--style', 'json', file).returncode == 1


@pytest.mark.parametrize(
    'arguments,message',
    [
        (['FILE', '--query', 'nope'], "FILE: nothing at 'nope'"),
        (['FILE', '--set', 'name.x=1'], 'FILE: expected room'),
        (['none'], 'none: No such file or directory'),
        (['.'], '.: Is a directory'),
        (['FILE', '--set', 'x=Infinity', '--style', 'json'], 'FILE: expected a value that JSON can hold'),
    ],
)
def test_what_cannot_be_done_exits_1(file, arguments, message):
    done = command(*[file if word == 'FILE' else word for word in arguments])
    assert done.returncode == 1 and done.stdout == b''
    assert done.stderr.decode().startswith(message.replace('FILE', str(file))) and done.stderr.count(b'\n') == 1


@pytest.mark.parametrize(
    'arguments',
    [
        [],
        ['--query'],
        ['--query', 'a', '--set'],
        ['--style', 'xml', '-'],
        ['--nope', '-'],
        ['-', '-'],
        ['--set', 'a', '-'],
        ['--set', 'a..b=1', '-'],
        ['--set', 'a={b', '-'],
        ['--set', "a='b", '-'],
        ['--query', 'a[', '-'],
        ['-q', '-'],
        ['--relaxed=1', '-'],
    ],
)
def test_bad_usage_exits_2(arguments):
    done = command(*arguments)
    assert (
        done.returncode == 2
        and done.stdout == b''
        and b'Try --help.' in done.stderr
        and b'Traceback' not in done.stderr
    )


def test_help():
    done = command('--help')
    assert done.returncode == 0 and done.stdout.startswith(b'usage: python3 -m ioto.json5') and done.stderr == b''


def test_a_file_whose_name_begins_with_a_dash(tmp_path):
    (tmp_path / '-a').write_text('1')
    done = subprocess.run(
        [sys.executable, '-m', 'ioto.json5', '--', '-a'],
        cwd=tmp_path,
        env=os.environ | {'PYTHONPATH': ROOT},
        capture_output=True,
    )
    assert done.stdout == b'1\n'


def test_writes_utf_8_in_any_locale(file):
    file.write_text("['é😀', '\\ud800']", encoding='utf-8')
    done = subprocess.run(
        [sys.executable, '-m', 'ioto.json5', '--style', 'json', file],
        cwd=ROOT,
        env=os.environ | {'LC_ALL': 'C', 'PYTHONUTF8': '0', 'PYTHONCOERCECLOCALE': '0'},
        capture_output=True,
    )
    assert done.stdout.decode() == '["é😀","\\ud800"]\n'
    assert command('--query', '[1]', file).stdout == b'\\ud800\n'


def test_long_output_arrives_whole_and_a_reader_may_close_early(file):
    file.write_text('[' + '1,' * 100000 + ']')
    for unbuffered in ('', '1'):
        environment = os.environ | {'PYTHONUNBUFFERED': unbuffered}
        whole = subprocess.run(
            [sys.executable, '-m', 'ioto.json5', file], cwd=ROOT, env=environment, capture_output=True
        )
        assert len(whole.stdout) == 100000 * 7 + 3
        child = subprocess.Popen(
            [sys.executable, '-m', 'ioto.json5', file],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        child.stdout.read(10)
        child.stdout.close()
        assert child.stderr.read() == b''
        child.stderr.close()
        assert child.wait() == 1
