"""The daemon whose database is on a server: it waits for the server to come, and goes on where it was cut off."""

import json
import signal
import subprocess
import threading

import pytest

from agcnn_clinic.demo.phantom import draw


@pytest.mark.postgresql_only
def test_a_daemon_waits_for_its_server_and_survives_its_restart(clinic, server, write_film):
    """Started before its database is there it says so and waits; cut off while at work it reads the next film."""
    name = server.name_of(clinic.config.database_url)
    server.admin.execute(f"ALTER DATABASE {name} RENAME TO {name}_away")
    process = clinic.start("watch", stderr=subprocess.PIPE)
    late = threading.Timer(300, process.kill)
    late.start()
    try:
        events = (json.loads(line)["event"] for line in process.stderr)
        assert "refuses the connection" in next(events)
        server.admin.execute(f"ALTER DATABASE {name}_away RENAME TO {name}")
        assert "watching the inbox" in events
        server.admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        write_film(clinic.config.inbox / "film.dcm", draw(1, (512, 512)).pixels)
        while not clinic.select("SELECT 1 FROM report"):
            assert process.poll() is None
            threading.Event().wait(0.1)
        process.send_signal(signal.SIGTERM)
        assert "stopped" in list(events)
        assert process.wait() == 0
    finally:
        late.cancel()
        process.kill()
        process.wait()
        process.stderr.close()
    assert clinic.select("SELECT outcome FROM received_file") == [{"outcome": "analysed"}]
