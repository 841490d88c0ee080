"""A plugin is replaced while its objects change 500 times a second: how long that takes, and what becomes of the runs."""

import json
import multiprocessing
import threading
import time

from sides import component

RATE, SECONDS, OBJECTS, CONNECTIONS, PUSHES = 500, 12, 20, 8, 3
NOTES = "/apis/test.threeport.dev/v1/namespaces/default/notes"
PLUGIN = "/apis/threeport.dev/v1/plugins/note"


class Writers:
    """Merge patches on a clock, over several connections so that a slow answer does not stop it. In a process of their own: in ours they would hold up
    whoever measures meanwhile, as Python runs one thread at a time."""

    def __init__(self, side, rate=RATE, seconds=SECONDS):
        self.side, self.bad, self.late, self.done = side, [], 0.0, 0
        self.rate, self.seconds = rate, seconds
        context = multiprocessing.get_context("fork")
        self.told, tell = context.Pipe(duplex=False)
        self.tell = tell
        self.process = context.Process(target=self.work)

    def work(self):
        threads = [threading.Thread(target=self.write, args=(first,)) for first in range(CONNECTIONS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.tell.send((self.bad, self.late, self.done))

    def write(self, first):
        connection = self.side.connect()
        for number in range(first, self.rate * self.seconds, CONNECTIONS):
            due = self.began + number / self.rate
            time.sleep(max(0.0, due - time.monotonic()))
            self.late = max(self.late, time.monotonic() - due)
            path = f"{NOTES}/note-{number % OBJECTS}"
            status, _ = self.side.ask("PATCH", path, f'{{"spec":{{"text":"{number}"}}}}'.encode(), "application/merge-patch+json", connection)
            if status != 200:
                self.bad.append(status)
            self.done += 1

    def __enter__(self):
        self.began = time.monotonic()
        self.process.start()
        # Only they have it now: their end is told.
        self.tell.close()
        return self

    def __exit__(self, *_error):
        try:
            self.bad, self.late, self.done = self.told.recv()
        except EOFError:
            raise SystemExit("the writers ended before their time") from None
        finally:
            self.process.join()


def another(number, directory):
    """The same plugin in a file that was never seen: a section that says nothing makes it another one, and nothing of it is compiled."""
    said = b"\x05bench" + str(number).encode()
    file = directory / f"note-{number}.wasm"
    file.write_bytes(component("note-v2").read_bytes() + b"\x00" + bytes([len(said)]) + said)
    return file


def serving(side, digest):
    """Asks for a version that is there already; seconds until it serves, as a watch tells it."""
    watching = side.connect()
    query = f"?watch=1&fieldSelector=metadata.name%3Dnote&resourceVersion={json.loads(side.ask('GET', PLUGIN)[1])['metadata']['resourceVersion']}"
    watching.request("GET", PLUGIN.rsplit("/", 1)[0] + query, headers={"Authorization": f"Bearer {side.token}"})
    events = watching.getresponse()
    connection = side.connect()
    connection.connect()
    began = time.perf_counter()
    status, answer = side.ask("PATCH", PLUGIN, {"spec": {"component": digest}}, "application/merge-patch+json", connection)
    if status != 200:
        raise SystemExit(f"the swap got {status}: {answer}")
    while True:
        event = json.loads(events.readline())["object"]
        ready = next((one for one in event["status"].get("conditions", []) if one["type"] == "Ready"), {})
        if event["status"].get("digest") == digest and ready.get("status") == "True" and ready.get("observedGeneration") == event["metadata"]["generation"]:
            return time.perf_counter() - began
        if ready.get("status") == "False" and ready.get("observedGeneration") == event["metadata"]["generation"] and event["spec"]["component"] == digest:
            raise SystemExit(f"the swap was refused: {ready}")


def digest(side):
    return json.loads(side.ask("GET", PLUGIN)[1])["status"]["digest"]


def notes(side, count=OBJECTS):
    for number in range(count):
        note = {"apiVersion": "test.threeport.dev/v1", "kind": "Note", "metadata": {"name": f"note-{number}"}, "spec": {"text": "0"}}
        status, answer = side.ask("POST", NOTES, note)
        if status != 201:
            raise SystemExit(f"a note got {status}: {answer}")


def measure(server):
    side = server.side
    server.push("note-v1", "note")
    notes(side)
    runs = lambda **labels: server.metrics("threeport_runs_total", resource="notes", **labels)
    before = runs()
    pushes, versions, swaps = [], [], []
    with Writers(side) as writers:
        time.sleep(1)
        # From the file: read, turned into a component, uploaded, compiled, described, judged, serving; the client's start included.
        for number in range(PUSHES):
            file = another(number, server.dir)
            began = time.perf_counter()
            server.push(file, "note")
            pushes.append(time.perf_counter() - began)
            versions.append(digest(side))
        while time.monotonic() < writers.began + SECONDS - 1:
            swaps.append(serving(side, versions[-2 + len(swaps) % 2]))
            time.sleep(0.3)
    deadline = time.monotonic() + 20
    while server.metrics("threeport_queue_depth") + server.metrics("threeport_queue_leased") > 0 and time.monotonic() < deadline:
        time.sleep(0.1)
    changes = len(pushes) + len(swaps)
    counted = {outcome: runs(outcome=outcome) for outcome in ("succeeded", "failed", "panicked", "lease_lost")}
    swaps.sort()
    return {
        "pushes": pushes,
        "swap_p50": swaps[len(swaps) // 2],
        "swap_max": swaps[-1],
        "swaps": len(swaps),
        "late": writers.late,
        "updates": writers.done,
        "bad": len(writers.bad),
        "runs": runs() - before,
        "failed": counted["failed"] + counted["panicked"] + counted["lease_lost"],
        # Each update at most once, and each object once more for each version: what is beyond that ran twice.
        "repeated": max(0, runs() - before - writers.done - changes * OBJECTS - OBJECTS),
    }
