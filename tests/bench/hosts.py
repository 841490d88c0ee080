"""Hosts that share a PostgreSQL and a NATS; and what three of them do that one does not."""

import contextlib
import json
import statistics
import time

from nats import Nats
from postgres import Postgres
from sides import Ours, component, cpu
from swap import NOTES, PLUGIN, notes

OBJECTS, SWAPS = 1000, 6


def until(what, look, patience=60):
    deadline = time.monotonic() + patience
    while not look():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited in vain for {what}")
        time.sleep(0.05)


class Hosts:
    """So many of them, on a database of their own."""

    def __init__(self, scratch, count, over_nats=True):
        self.scratch, self.count, self.over_nats = scratch, count, over_nats
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self.postgres = stack.enter_context(Postgres())
            self.nats = stack.enter_context(Nats(self.scratch)) if self.over_nats else None
            arguments = ["--database", self.postgres.url(self.postgres.database())]
            if self.nats:
                arguments += ["--nats", self.nats.url]
            self.all = [stack.enter_context(Ours(self.scratch, *arguments))]
            key = str(self.all[0].dir / "config/encryption.key")
            for _ in range(1, self.count):
                self.all.append(stack.enter_context(Ours(self.scratch, *arguments, "--encryption-key", key)))
            if self.nats:
                until("rings to go over NATS", lambda: all(host.metrics("threeport_bell_connected") == 1 for host in self.all))
            self.first, self.side = self.all[0], self.all[0].side
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_error):
        self.stack.close()

    def idle(self):
        """Whether nothing is due and nothing is run."""
        return self.first.metrics("threeport_queue_depth") + self.first.metrics("threeport_queue_leased") == 0

    def runs(self):
        return [host.metrics("threeport_runs_total", resource="notes") for host in self.all]

    def waited(self):
        """Stops all; ms from due to started: p50, p99 and at most, of the host where it took longest."""
        said = [host.stop() for host in self.all]
        p50, p99, most = (max(one.get(f"claim_age_{name}_us", 0) for one in said) / 1000 for name in ("p50", "p99", "max"))
        # Quantiles are counted in steps.
        return min(p50, most), min(p99, most), most


def follow(side, path, version, done):
    """Reads a watch until `done` says of an object that it is the last one."""
    connection = side.connect(timeout=600)
    connection.request("GET", f"{path}?watch=1&resourceVersion={version}", headers={"Authorization": f"Bearer {side.token}"})
    events = connection.getresponse()
    while True:
        line = events.readline()
        if not line:
            raise SystemExit(f"the watch of {path} ended")
        if done(json.loads(line)["object"]):
            return connection.close()


def replan(side, digest, served_by):
    """Has all objects planned by another version of their plugin; seconds until the last one is."""
    version = json.loads(side.ask("GET", f"{NOTES}?limit=1")[1])["metadata"]["resourceVersion"]
    began, left = time.perf_counter(), {f"note-{number}" for number in range(OBJECTS)}
    status, answer = side.ask("PATCH", PLUGIN, {"spec": {"component": digest}}, "application/merge-patch+json")
    if status != 200:
        raise SystemExit(f"the swap got {status}: {answer}")

    def last(note):
        if note.get("status", {}).get("servedBy") == served_by:
            left.discard(note["metadata"]["name"])
        return not left

    follow(side, NOTES, version, last)
    return time.perf_counter() - began


def measure(scratch, count):
    """1,000 objects that are all due at once, several times: runs a second, processor time, who ran how much."""
    with Hosts(scratch, count) as hosts:
        side, digests = hosts.side, []
        for version in ("note-v1", "note-v2"):
            hosts.first.push(component(version), "note")
            digests.append(json.loads(side.ask("GET", PLUGIN)[1])["status"]["digest"])
        notes(side, OBJECTS)
        until("all runs to end", hosts.idle)
        time.sleep(1)
        rates, busy = [], []
        before = hosts.runs()
        used = [cpu(host.pids) for host in hosts.all], cpu(hosts.postgres.pids())
        for number in range(SWAPS):
            took = replan(side, digests[number % 2], f"v{1 + number % 2}")
            rates.append(OBJECTS / took)
            until("all runs to end", hosts.idle)
        ran = [after - was for was, after in zip(before, hosts.runs())]
        for was, host in zip(used[0], hosts.all):
            busy.append(cpu(host.pids) - was)
        database = cpu(hosts.postgres.pids()) - used[1]
        each = lambda seconds: 1e6 * seconds / sum(ran)
    return {
        "rate": statistics.median(rates),
        "hosts_us": each(sum(busy)),
        "postgres_us": each(database),
        "shares": [one / sum(ran) for one in ran],
    }
