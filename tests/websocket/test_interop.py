"""Conversations with the packages `websockets` and `wsproto`, where .venv-peers has them: peer.py in that interpreter."""

import os
import subprocess

import pytest

from tools import peers

PEER = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'peer.py')


@pytest.mark.parametrize('compression', ['0', '1'])
@pytest.mark.parametrize('side', ['server', 'client'])
@pytest.mark.parametrize('package', ['websockets', 'wsproto'])
def test_talks_with(package, side, compression):
    """The handshake, messages of all sizes whole and in fragments, pings within them, and closing from either side."""
    if not peers.installed(peers.PEERS, package):
        pytest.skip(f'{package} is not in .venv-peers')
    done = subprocess.run([peers.python_of(peers.PEERS), PEER, peers.ROOT, package, side, compression], capture_output=True, text=True)
    assert done.stdout == 'agreed\n', done.stderr
