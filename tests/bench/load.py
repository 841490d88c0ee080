"""Load by wrk: the same client for both sides."""

import json
import multiprocessing
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
WIDGETS = "/apis/bench.threeport.dev/v1/namespaces/default/widgets"
# Processes that make objects.
SEEDERS = 6
# A measurement of the peer that got an answer which is not 2xx is taken again so often.
AGAIN = 3


@dataclass
class Figure:
    rate: float  # requests per second
    p50: float  # ms
    p99: float  # ms
    bad: int  # answers that were not 2xx, or did not come


def wrk(side, scratch, script, connections, seconds, **environment):
    whole = Path(scratch) / f"{script}.lua"
    whole.write_text("\n".join((HERE / f"{part}.lua").read_text() for part in ("http", script, "done")))
    threads = 2 if connections >= 2 else 1
    command = ["wrk", "--latency", "-t", str(threads), "-c", str(connections), "-d", f"{seconds}s", "--timeout", "10s", "-s", str(whole), side.url.geturl()]
    environment = {**os.environ, "TOKEN": side.token, **environment}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    line = next((line for line in done.stdout.splitlines() if line.startswith("FIGURE ")), None)
    if line is None:
        raise SystemExit(f"wrk {script}: {done.stdout}{done.stderr}")
    rate, p50, p99, bad = line.split()[1:]
    return Figure(float(rate), float(p50), float(p99), int(bad))


def measure(side, scratch, script, connections, seconds, patient, run="000000"):
    """One figure. Where answers are bad it is taken again if `patient`, since what they cost is not the throughput of good ones."""
    for attempt in range(AGAIN):
        figure = wrk(side, scratch, script, connections, seconds, RUN=f"{run[:5]}{attempt}" if script == "create" else run)
        if figure.bad == 0 or not patient:
            break
    return figure


def make(side, number, count):
    """One seeder's part."""
    env = [{"name": f"VAR_{at}", "value": f"value-number-{at}"} for at in range(1, 9)]
    spec = {"image": "registry.example.com/team/app:1.2.3", "replicas": 3, "env": env, "note": "x" * 400}
    connection = side.connect()
    for at in range(number, count, SEEDERS):
        metadata = {"name": f"w-seeded-{at % 2}-{at // 2 + 1:010}", "labels": {"app": "w", "shard": "7"}}
        widget = {"apiVersion": "bench.threeport.dev/v1", "kind": "Widget", "metadata": metadata, "spec": spec}
        status, answer = side.ask("POST", WIDGETS, widget, connection=connection)
        if status != 201:
            raise SystemExit(f"{side.name}: a widget got {status}: {answer}")


def seed(side, count):
    """Makes exactly so many widgets, and sees to it that they are there. Named as http.lua does, half of them for each of wrk's threads."""
    with multiprocessing.Pool(SEEDERS) as pool:
        pool.starmap(make, [(side, number, count) for number in range(SEEDERS)])
    status, body = side.ask("GET", f"{WIDGETS}?limit=1")
    there = 1 + json.loads(body)["metadata"].get("remainingItemCount", 0)
    if status != 200 or there != count:
        raise SystemExit(f"{side.name}: {there} widgets were made, not {count}")
