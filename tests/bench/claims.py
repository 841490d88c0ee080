"""Claims and completions a second on PostgreSQL: a host's store against pgbench with bare SQL (claims.sql), on two copies of one database."""

import re
import statistics
import subprocess
import tempfile
from pathlib import Path

from postgres import PASSWORD, Postgres
from sides import HERE, tool

OBJECTS, ROUNDS, EACH = 16000, 3, 10
# Connections of pgbench. The better figure is the one that ours is held against.
CLIENTS = (8, 32)
BARE = (
    "create sequence bare_version",
    "select setval('bare_version', (select max(rv) from change))",
    "create index on workitem (class, due_at) where owner is null",
)


def script(scratch):
    """claims.sql with its second part as often as a claim has objects."""
    claim, complete = (HERE / "claims.sql").read_text().split("-- for each\n")
    file = Path(scratch) / "claims.sql"
    file.write_text(claim + "".join(complete.replace("\\set number :number", f"\\set number {at}") for at in range(1, EACH + 1)))
    return file


def ours(postgres, like):
    database = postgres.database(like)
    done = subprocess.run([tool("THREEPORT_STORE_BENCH"), "drain", postgres.url(database), str(OBJECTS)], capture_output=True, text=True)
    found = re.search(r"^(\d+) a second, (\d+) transactions", done.stdout)
    if done.returncode != 0 or not found:
        raise SystemExit(f"claims drain: {done.stdout}{done.stderr}")
    return database, float(found.group(1)), OBJECTS / float(found.group(2))


def bare(postgres, like, file, clients):
    database = postgres.database(like)
    postgres.sql(database, *BARE)
    body = '{"apiVersion":"example.dev/v1","kind":"Widget","metadata":{},"spec":{"text":"' + "x" * 1100 + '"}}'
    carried = '{"plugin":"sha256:0123456789abcdef","memory":null,"settled":1}'
    times = OBJECTS // (clients * EACH)
    command = ["-n", "-M", "prepared", "-c", str(clients), "-j", "2", "-t", str(times), "-D", f"body={body}", "-D", f"carried={carried}"]
    done = postgres.run("pgbench", *command, "-f", str(file), postgres.url(database), env={"PGPASSWORD": PASSWORD, "LC_ALL": "C.UTF-8"})
    found = re.search(r"tps = ([0-9.]+) \(without", done.stdout)
    if done.returncode != 0 or not found:
        raise SystemExit(f"pgbench: {done.stdout}{done.stderr}")
    return database, float(found.group(1)) * EACH


def completed(postgres, database):
    """How many were completed, and that is what the log says as well."""
    sql = "select count(*) from workitem join object on id = workitem.object join change using (rv) where owner is null and wanted = done and epoch = 1 and kind = 1"
    return int(postgres.sql(database, sql))


def measure(scratch):
    """Completions a second: ours, and those of pgbench by its connections; objects in each of our transactions."""
    file = script(scratch)
    ourselves, groups, others = [], [], {clients: [] for clients in CLIENTS}
    with Postgres() as postgres, tempfile.TemporaryDirectory(dir=scratch):
        filled = postgres.database()
        made = subprocess.run([tool("THREEPORT_STORE_BENCH"), "fill", postgres.url(filled), str(OBJECTS)], capture_output=True, text=True)
        if made.returncode != 0:
            raise SystemExit(f"claims fill: {made.stdout}{made.stderr}")
        postgres.sql(filled, "vacuum analyze", "checkpoint")
        for _ in range(ROUNDS):
            # One after the other within each round, so that what the machine does otherwise meets all alike.
            database, rate, group = ours(postgres, filled)
            runs = [(database, ourselves, rate)]
            groups.append(group)
            for clients in CLIENTS:
                database, rate = bare(postgres, filled, file, clients)
                runs.append((database, others[clients], rate))
            for database, figures, rate in runs:
                figures.append(rate)
                there = completed(postgres, database)
                if there != OBJECTS:
                    raise SystemExit(f"{there} of {OBJECTS} objects were completed")
                postgres.sql("postgres", f"drop database {database}")
    return statistics.median(ourselves), {clients: statistics.median(rates) for clients, rates in others.items()}, statistics.median(groups)
