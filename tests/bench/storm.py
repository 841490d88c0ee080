"""What a storm in one namespace does to another: from a commit to the start of its run, first with nothing else going on, then while every object of a
namespace with 10,000 is changed as often as the server takes it, aim once a second. How long each waited is in the spans of the runs; only the quiet
namespace's are recorded, because only its client says so."""

import multiprocessing
import os
import secrets
import threading
import time

from load import wrk
from sides import Ours
from spans import Collector

NOTES = int(os.environ.get("STORM_NOTES", "10000"))
CONNECTIONS, SEEDERS = 64, 6
# The quiet namespace: changes a second, for how long, on how many objects and connections.
RATE, SECONDS, QUIET, WRITERS = 50, int(os.environ.get("STORM_SECONDS", "20")), 50, 4
# The storm is there before it is measured what it does.
LEAD = 3


def path(namespace):
    return f"/apis/test.threeport.dev/v1/namespaces/{namespace}/notes"


def make(side, namespace, first, step, count):
    connection = side.connect()
    for number in range(first, count, step):
        note = {"apiVersion": "test.threeport.dev/v1", "kind": "Note", "metadata": {"name": f"note-{number}"}, "spec": {"text": "0"}}
        status, answer = side.ask("POST", path(namespace), note, connection=connection)
        if status != 201:
            raise SystemExit(f"a note got {status}: {answer}")


class Quiet:
    """Changes objects of the quiet namespace on a clock; each change begins a trace that is to be recorded."""

    def __init__(self, side):
        self.side, self.bad, self.took = side, 0, []

    def write(self, first):
        connection = self.side.connect()
        for number in range(first, RATE * SECONDS, WRITERS):
            time.sleep(max(0.0, self.began + number / RATE - time.monotonic()))
            headers = {
                "Authorization": f"Bearer {self.side.token}",
                "Content-Type": "application/merge-patch+json",
                "traceparent": f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01",
            }
            began = time.perf_counter()
            connection.request("PATCH", f"{path('default')}/note-{number % QUIET}", f'{{"spec":{{"text":"{number}"}}}}', headers)
            response = connection.getresponse()
            response.read()
            self.took.append(1000 * (time.perf_counter() - began))
            self.bad += response.status != 200

    def run(self):
        self.began = time.monotonic()
        threads = [threading.Thread(target=self.write, args=(first,)) for first in range(WRITERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def quantile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


class Phase:
    """What the quiet namespace saw: milliseconds from commit to run, and until its writes were answered."""

    def __init__(self, waits, quiet):
        self.p50, self.p99, self.most, self.runs = quantile(waits, 0.5), quantile(waits, 0.99), max(waits, default=float("nan")), len(waits)
        self.write_p99, self.bad = quantile(quiet.took, 0.99), quiet.bad


def phase(server, collector):
    before = len(collector.spans)
    quiet = Quiet(server.side)
    quiet.run()
    # The exporter sends what it has every five seconds.
    deadline = time.monotonic() + 30
    waits = []
    while len(waits) < 0.99 * RATE * SECONDS and time.monotonic() < deadline:
        time.sleep(0.2)
        waits = [int(said["waited_us"]) / 1000 for name, said in collector.spans[before:] if name == "run" and "waited_us" in said]
    return Phase(waits, quiet)


def measure(scratch):
    """Idle, storm, changes of the storm a second, its runs a second, its answers that were not 2xx."""
    with Collector() as collector:
        tracing = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_TRACES_SAMPLER": "parentbased_always_off", "OTEL_BSP_SCHEDULE_DELAY": "1000"}
        with Ours(scratch, **tracing) as server:
            side = server.side
            server.push("note-v1", "note")
            side.ask("POST", "/api/v1/namespaces", {"metadata": {"name": "storm"}})
            with multiprocessing.Pool(SEEDERS) as pool:
                pool.starmap(make, [(side, "storm", first, SEEDERS, NOTES) for first in range(SEEDERS)])
            make(side, "default", 0, 1, QUIET)
            deadline = time.monotonic() + 60
            while server.metrics("threeport_queue_depth") + server.metrics("threeport_queue_leased") > 0:
                if time.monotonic() > deadline:
                    raise SystemExit("the notes are not reconciled")
                time.sleep(0.1)
            idle = phase(server, collector)
            figures = []
            load = lambda: figures.append(wrk(side, scratch, "storm", CONNECTIONS, LEAD + SECONDS + 2, NOTES=str(NOTES)))
            storming = threading.Thread(target=load)
            storming.start()
            time.sleep(LEAD)
            runs, began = server.metrics("threeport_runs_total", resource="notes"), time.monotonic()
            storm = phase(server, collector)
            storming.join()
            rate = (server.metrics("threeport_runs_total", resource="notes") - runs) / (time.monotonic() - began)
    return idle, storm, figures[0].rate, rate, figures[0].bad
