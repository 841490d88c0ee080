"""How long it takes from a commit until its run is started, 200 changes a second: by the bell in the process, over NATS, and with NATS gone."""

import json
import subprocess
import tempfile
import time
from pathlib import Path

from sides import Ours, tool
from swap import Writers, notes

RATE, SECONDS, OBJECTS = 200, 15, 200


class Nats:
    """A nats-server with JetStream on a directory of its own."""

    def __init__(self, scratch):
        self.dir = Path(tempfile.mkdtemp(dir=scratch))

    def __enter__(self):
        command = [tool("NATS_SERVER"), "-js", "-a", "127.0.0.1", "-p", "-1", "-sd", str(self.dir / "store"), "--ports_file_dir", str(self.dir)]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        ports = self.dir / f"nats-server_{self.process.pid}.ports"
        while True:
            try:
                self.url = json.loads(ports.read_text())["nats"][0]
                return self
            except (OSError, ValueError):
                if self.process.poll() is not None:
                    raise SystemExit("nats-server does not start")
                time.sleep(0.01)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def __exit__(self, *_error):
        self.kill()


def until(what, look):
    deadline = time.monotonic() + 30
    while not look():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited in vain for {what}")
        time.sleep(0.05)


def measure(scratch, over_nats, gone=False):
    """Milliseconds p50, p99 and at most, from due to claimed; writes that were refused; rings that went over NATS."""
    with Nats(scratch) as nats, Ours(scratch, *(["--nats", nats.url] if over_nats else [])) as server:
        server.push("note-v1", "note")
        if over_nats:
            until("rings to go over NATS", lambda: server.metrics("threeport_bell_connected") == 1)
        notes(server.side, OBJECTS)
        if gone:
            nats.kill()
        with Writers(server.side, RATE, SECONDS) as writers:
            pass
        until("all runs to end", lambda: server.metrics("threeport_queue_depth") + server.metrics("threeport_queue_leased") == 0)
        published = server.metrics("threeport_bell_rings_total", outcome="published")
        said = server.stop()
    return [said.get(f"claim_age_{name}_us", 0) / 1000 for name in ("p50", "p99", "max")], len(writers.bad), published
