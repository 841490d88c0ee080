"""A PostgreSQL of its own, which waits for the disk as one in use does."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

PASSWORD = "not-a-secret"


def programs():
    """Where they are: POSTGRES_BIN, Debian's directories, or the path."""
    named = os.environ.get("POSTGRES_BIN")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = [Path(named)] if named else [*debian, *(Path(place) for place in os.environ["PATH"].split(":"))]
    for place in found:
        if (place / "postgres").exists() and (place / "pgbench").exists():
            return place
    raise SystemExit("PostgreSQL with pgbench is not installed: run `deploy/setup test`, or set POSTGRES_BIN to where its programs are")


def user():
    """The server refuses to be root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            known = pwd.getpwnam(name)
            return {"user": known.pw_uid, "group": known.pw_gid, "extra_groups": []}
        except KeyError:
            continue
    raise SystemExit("there is no user that PostgreSQL could run as")


class Postgres:
    def __init__(self):
        # Not in the caller's directory: its user must reach it.
        self.dir = Path(tempfile.mkdtemp(prefix="threeport-bench-postgres"))
        self.data, self.number = self.dir / "data", 0

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self):
        self.server = None
        become = user()
        if become:
            os.chown(self.dir, become["user"], become["group"])
        password = self.dir / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        options = ["--username=threeport", "--auth=scram-sha-256", "--encoding=UTF8", "--no-sync", "--no-instructions"]
        made = self.run("initdb", *options, "--pwfile", str(password), "-D", str(self.data), **become)
        if made.returncode != 0:
            raise SystemExit(f"initdb: {made.stderr}")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        with open(self.dir / "log", "wb") as log:
            command = [str(programs() / "postgres"), "-D", str(self.data), "-p", str(self.port), "-k", "", "-c", "listen_addresses=127.0.0.1"]
            # Room for what three hosts and pgbench ask for; all else as it comes.
            self.server = subprocess.Popen([*command, "-c", "max_connections=100"], stdout=log, stderr=log, cwd="/", **become)
        deadline = time.monotonic() + 60
        while self.run("psql", "-d", self.url("postgres"), "-c", "select 1").returncode != 0:
            if self.server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"PostgreSQL does not start: {(self.dir / 'log').read_text()}")
            time.sleep(0.05)

    def run(self, program, *args, **options):
        return subprocess.run([str(programs() / program), *args], capture_output=True, text=True, cwd="/", **options)

    def url(self, database):
        return f"postgres://threeport:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def sql(self, database, *statements):
        for statement in statements:
            done = self.run("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", self.url(database), "-c", statement)
            if done.returncode != 0:
                raise SystemExit(f"{statement}: {done.stderr}")
        return done.stdout.strip()

    def database(self, like=None):
        """The name of a new one, empty or a copy."""
        self.number += 1
        name = f"bench{self.number}"
        self.sql("postgres", f"create database {name}" + (f" template {like}" if like else ""))
        return name

    def pids(self):
        """The server's and its sessions', as of now."""
        children = Path(f"/proc/{self.server.pid}/task/{self.server.pid}/children").read_text()
        return [self.server.pid, *map(int, children.split())]

    def __exit__(self, *_error):
        if self.server:
            # Immediate: nobody needs what it would write on its way out.
            self.server.send_signal(3)
            self.server.wait(30)
        shutil.rmtree(self.dir, ignore_errors=True)
