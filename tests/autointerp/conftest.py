import pytest
from endpoint import KEY, Server

from unifeat.autointerp import client


@pytest.fixture
def serve(monkeypatch):
    """Start a server with a script: (server, settings that ask it, the pauses that were made)."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    servers = []

    def start(script, **settings):
        pytest.importorskip("openai", reason="the openai package is not installed")
        servers.append(Server(script))
        url, waits = f"http://127.0.0.1:{servers[-1].server_port}/v1", []
        config = client.Settings("tiny", url, clock=waits.append, **dict(timeout=5.0, concurrency=2) | settings)
        return servers[-1], config, waits

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
