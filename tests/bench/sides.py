"""The two sides: kube-apiserver with etcd that syncs to disk, and threeport. Both over TLS with a bearer token."""

import http.client
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

HERE = Path(__file__).parent
# Certificates are checked by kubectl in the same run; here only the answers matter.
TLS = ssl._create_unverified_context()


def tool(name):
    return os.environ[name]


def rss(pids):
    """Resident memory in MB."""
    total = 0
    for pid in pids:
        total += int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()).group(1))
    return total / 1024


def pss(pids):
    """Memory in MB, what processes share counted once: as root, or of one's own."""
    total = 0
    for pid in pids:
        total += int(re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M).group(1))
    return total / 1024


def cpu(pids):
    """Seconds of processor so far."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        # Of the process, and of its children that have ended.
        ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def component(guest):
    return Path(tool("THREEPORT_GUESTS")) / f"{guest}.wasm"


class Side:
    """Where a server is and who may come in."""

    def __init__(self, name, kubeconfig, token=None):
        self.name, self.kubeconfig = name, kubeconfig
        view = json.loads(self.kubectl("config", "view", "--raw", "-o", "json"))
        self.url = urlsplit(view["clusters"][0]["cluster"]["server"])
        self.token = token or view["users"][0]["user"].get("token")

    def kubectl(self, *args, stdin=None):
        command = [tool("KUBECTL"), "--kubeconfig", str(self.kubeconfig), *args]
        return subprocess.run(command, check=True, input=stdin, capture_output=True, text=True).stdout

    def connect(self, timeout=30):
        return http.client.HTTPSConnection(self.url.hostname, self.url.port, context=TLS, timeout=timeout)

    def ask(self, method, path, body=None, media="application/json", connection=None):
        """Status and body of one request."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": media, "Accept": "application/json"}
        connection = connection or self.connect()
        connection.request(method, path, body if body is None or isinstance(body, bytes) else json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, response.read()

    def metrics(self, name, **labels):
        """The sum of the samples of a metric."""
        total = 0.0
        for line in self.ask("GET", "/metrics")[1].decode().splitlines():
            if re.split(r"[{ ]", line, maxsplit=1)[0] == name and all(f'{key}="{value}"' in line for key, value in labels.items()):
                total += float(line.rsplit(" ", 1)[1])
        return total

    def serve_widgets(self):
        self.kubectl("apply", "-f", str(HERE / "widget-crd.yaml"))
        self.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd/widgets.bench.threeport.dev")


class Kube:
    """A local Kubernetes of its own."""

    def __init__(self, scratch, *flags):
        self.name, self.flags = f"bench-{os.getpid()}", flags or ("--fsync",)
        self.kubeconfig = Path(scratch) / "kube.kubeconfig"

    def __enter__(self):
        try:
            subprocess.run([tool("LOCALKUBE"), "up", "--name", self.name, *self.flags], check=True, stdout=2)
            found = subprocess.run([tool("LOCALKUBE"), "kubeconfig", "--name", self.name], check=True, capture_output=True)
            self.kubeconfig.write_bytes(found.stdout)
            side = Side("kube", self.kubeconfig)
            side.kubectl("create", "serviceaccount", "bench")
            side.kubectl("create", "clusterrolebinding", "bench", "--clusterrole=cluster-admin", "--serviceaccount=default:bench")
            self.side = Side("kube", self.kubeconfig, side.kubectl("create", "token", "bench", "--duration=2h").strip())
            self.status = subprocess.run([tool("LOCALKUBE"), "status", "--name", self.name], capture_output=True, text=True).stdout
            self.pids = self.processes("etcd", "kube-apiserver")
        except BaseException:
            self.__exit__()
            raise
        return self

    def processes(self, *parts):
        return [int(re.search(rf"^\s*{part}\s+running, process (\d+)", self.status, re.M).group(1)) for part in parts]

    def __exit__(self, *_error):
        subprocess.run([tool("LOCALKUBE"), "down", "--name", self.name], stdout=2)


class Ours:
    """A threeport server on directories of its own."""

    def __init__(self, scratch, *args, **environment):
        self.dir = Path(tempfile.mkdtemp(dir=scratch))
        self.args, self.environment, self.log = args, environment, self.dir / "server.log"

    def spawn(self):
        """Starts it; answers when its kubeconfig is there, which is when it serves."""
        command = [tool("THREEPORT"), "server", "--listen", "127.0.0.1:0", "--data-dir", str(self.dir / "data")]
        with open(self.log, "ab") as log:
            environment = {**os.environ, "RUST_LOG": "info", **self.environment}
            self.process = subprocess.Popen([*command, "--config-dir", str(self.dir / "config"), *self.args], env=environment, stderr=log)
        self.pids = [self.process.pid]
        kubeconfig = self.dir / "config/kubeconfig"
        while not kubeconfig.exists():
            if self.process.poll() is not None:
                raise SystemExit(f"threeport does not start: {self.log.read_text()}")
            time.sleep(0.001)
        return kubeconfig

    def __enter__(self):
        self.side = Side("ours", self.spawn())
        return self

    def threeport(self, *args):
        command = [tool("THREEPORT"), "--kubeconfig", str(self.side.kubeconfig), *args]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)}: {done.stderr}")
        return done.stdout

    def push(self, guest, name=None):
        file = guest if isinstance(guest, Path) else component(guest)
        self.threeport("plugin", "push", str(file), "--approve-grants", *(["--name", name] if name else []))

    def metrics(self, name, **labels):
        """The sum of the samples of a metric."""
        return self.side.metrics(name, **labels)

    def stop(self):
        """What it said at last."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        for line in reversed(self.log.read_text().splitlines()):
            if '"message":"stopped"' in line:
                return json.loads(line)
        return {}

    def __exit__(self, *_error):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


def first_write(scratch):
    """Seconds from starting the process to the first 201."""
    server = Ours(scratch)
    began = time.perf_counter()
    try:
        text = server.spawn().read_text()
        address = re.search(r"server: \"?(https://[^\s\"]+)", text).group(1)
        token = re.search(r"token: \"?([0-9a-f]+)", text).group(1)
        url = urlsplit(address)
        connection = http.client.HTTPSConnection(url.hostname, url.port, context=TLS)
        body = json.dumps({"metadata": {"name": "first"}})
        connection.request("POST", "/api/v1/namespaces/default/configmaps", body, {"Authorization": f"Bearer {token}", "Content-Type": "application/json"})
        status = connection.getresponse().status
        took = time.perf_counter() - began
        if status != 201:
            raise SystemExit(f"the first write got {status}")
        return took
    finally:
        server.__exit__()
