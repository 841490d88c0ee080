"""A nats-server with JetStream on a directory of its own."""

import json
import subprocess
import tempfile
import time
from pathlib import Path

from sides import tool


class Nats:
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
