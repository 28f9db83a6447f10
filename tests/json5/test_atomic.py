"""Saving: whole versions only, whatever happens meanwhile."""

import os
import signal
import stat
import subprocess
import sys
import threading
import time

import pytest

from ioto.json5 import Json5Error, load, save

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.fixture
def umask():
    old = os.umask(0o027)
    yield
    os.umask(old)


def test_saves_and_leaves_nothing_else(tmp_path):
    path = tmp_path / 'a.json5'
    save(path, {'a': 'é'})
    assert path.read_bytes() == '{\n    "a": "é"\n}\n'.encode()
    save(str(path), [1], 'json')
    assert path.read_bytes() == b'[1]\n'
    assert os.listdir(tmp_path) == ['a.json5']


def test_a_name_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save('a.json5', 1)
    assert load('a.json5') == 1


def test_mode_is_given_or_kept_or_left_to_the_umask(tmp_path, umask):
    path = tmp_path / 'a.json5'
    save(path, 1)
    assert mode(path) == 0o640
    path.chmod(0o664)
    save(path, 2)
    assert mode(path) == 0o664
    save(path, 3, mode=0o600)
    assert mode(path) == 0o600
    save(path, 4)
    assert mode(path) == 0o600 and load(path) == 4
    save(tmp_path / 'b', 1, mode=0o666)
    assert mode(tmp_path / 'b') == 0o666


def test_a_symbolic_link_stays(tmp_path):
    (tmp_path / 'real').mkdir()
    target, link, dangling = tmp_path / 'real' / 'a.json5', tmp_path / 'link.json5', tmp_path / 'dangling'
    save(target, 1)
    link.symlink_to('real/a.json5')
    dangling.symlink_to('real/b.json5')
    save(link, 2)
    save(dangling, 3)
    assert (
        link.is_symlink() and dangling.is_symlink() and load(target) == 2 and load(tmp_path / 'real' / 'b.json5') == 3
    )
    assert sorted(os.listdir(tmp_path / 'real')) == ['a.json5', 'b.json5'] and sorted(os.listdir(tmp_path)) == [
        'dangling',
        'link.json5',
        'real',
    ]


@pytest.mark.parametrize('value,error', [({'a': b''}, TypeError), (float('nan'), Json5Error)])
def test_a_value_that_cannot_be_written_changes_nothing(tmp_path, value, error):
    path = tmp_path / 'a.json5'
    save(path, 1)
    with pytest.raises(error):
        save(path, value, 'json')
    assert load(path) == 1 and os.listdir(tmp_path) == ['a.json5']


def test_a_failed_write_changes_nothing(tmp_path):
    """A limit of the file size stands for the full disk."""
    path = tmp_path / 'a.json5'
    save(path, 1)
    code = (
        'import resource, signal, sys; from ioto.json5 import save; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n'
        'resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n'
        'try: save(sys.argv[1], "x" * 5000)\n'
        'except OSError as error: print(error.strerror)'
    )
    out = subprocess.run([sys.executable, '-c', code, str(path)], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout == 'File too large\n'
    assert load(path) == 1 and os.listdir(tmp_path) == ['a.json5']


def test_a_folder_is_no_target(tmp_path):
    (tmp_path / 'a').mkdir()
    with pytest.raises(OSError):
        save(tmp_path / 'a', 1)
    assert os.listdir(tmp_path) == ['a']
    with pytest.raises(OSError):
        save(tmp_path / 'none' / 'a', 1)


def test_a_temporary_file_of_a_killed_saver_is_taken_over(tmp_path):
    path = tmp_path / 'a.json5'
    (tmp_path / '.a.json5.tmp').write_text('garbage that is longer than what is written')
    save(path, 1)
    assert path.read_text() == '1\n' and os.listdir(tmp_path) == ['a.json5']


def test_does_not_follow_a_link_planted_as_the_temporary_file(tmp_path):
    (tmp_path / 'other').write_text('precious')
    (tmp_path / '.a.json5.tmp').symlink_to('other')
    with pytest.raises(OSError):
        save(tmp_path / 'a.json5', 1)
    assert (tmp_path / 'other').read_text() == 'precious'


def test_savers_in_threads_take_turns(tmp_path):
    path = tmp_path / 'a.json5'
    save(path, [0] * 100)
    bad = []

    def work(number):
        for _ in range(30):
            save(path, [number] * 100)
            value = load(path)
            if len(value) != 100 or len(set(value)) != 1:
                bad.append(value)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not bad and os.listdir(tmp_path) == ['a.json5']


def test_a_killed_saver_leaves_one_whole_version(tmp_path):
    path = tmp_path / 'a.json5'
    code = (
        'import sys; from ioto.json5 import save; number = int(sys.argv[2])\n'
        'while True:\n'
        '    number += 1; save(sys.argv[1], {"number": number, "text": "x" * 20000, "again": number})\n'
        '    if sys.stdout: print(number, flush=True); sys.stdout = None'
    )
    last = 0
    for round_ in range(20):
        child = subprocess.Popen([sys.executable, '-c', code, str(path), str(last)], cwd=ROOT, stdout=subprocess.PIPE)
        first = int(child.stdout.readline())
        time.sleep(round_ * 0.003)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        value = load(path)
        assert value['number'] == value['again'] >= first > last and value['text'] == 'x' * 20000
        last = value['number']
        assert set(os.listdir(tmp_path)) <= {'a.json5', '.a.json5.tmp'}
    assert last > 20
    save(path, 1)
    assert os.listdir(tmp_path) == ['a.json5']
