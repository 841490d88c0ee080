"""How long it takes from a commit until its run is started, 200 changes a second: by the bell in the process, over NATS, and with NATS gone."""

import contextlib

from hosts import Hosts, until
from nats import Nats
from sides import Ours
from swap import Writers, notes

RATE, SECONDS, OBJECTS = 200, 12, 200


class Alone(Hosts):
    """One host on SQLite."""

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self.nats = stack.enter_context(Nats(self.scratch)) if self.over_nats else None
            self.first = stack.enter_context(Ours(self.scratch, *(["--nats", self.nats.url] if self.nats else [])))
            self.all, self.side = [self.first], self.first.side
            if self.nats:
                until("rings to go over NATS", lambda: self.first.metrics("threeport_bell_connected") == 1)
            self.stack = stack.pop_all()
        return self


def measure(scratch, count, over_nats, gone=False):
    """Milliseconds p50, p99 and at most, from due to started; writes that were refused; rings that went over NATS. No host: one on SQLite."""
    with (Hosts(scratch, count, over_nats) if count else Alone(scratch, 1, over_nats)) as hosts:
        hosts.first.push("note-v1", "note")
        notes(hosts.side, OBJECTS)
        until("all runs to end", hosts.idle)
        if gone:
            hosts.nats.kill()
        with Writers(hosts.side, RATE, SECONDS) as writers:
            pass
        until("all runs to end", hosts.idle)
        published = sum(host.metrics("threeport_bell_rings_total", outcome="published") for host in hosts.all)
        waited = hosts.waited()
    return waited, len(writers.bad), published
