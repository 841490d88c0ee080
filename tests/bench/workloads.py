"""Many Workloads on a cluster whose nodes are kwok's, from the first create to all of them Ready: how long, what it costs whom, and how often the target
is asked for it. One host on PostgreSQL and NATS; a Workload here is one Deployment of one pod."""

import json
import multiprocessing
import time

from hosts import Hosts, follow, until
from sides import Kube, cpu, pss

NAMESPACE = "bench"
CLUSTERS = "/apis/threeport.dev/v1/namespaces/bench/clusters"
WORKLOADS = "/apis/threeport.dev/v1/namespaces/bench/workloads"
# Processes that create.
MAKERS = 2
# Pods that a node of kwok's takes, with room for those that come and go.
PODS = 100
TARGET = ("kube-apiserver", "etcd", "kube-controller-manager", "kube-scheduler", "kwok")


def make(side, number, count):
    connection = side.connect()
    for at in range(number, count, MAKERS):
        spec = {"cluster": "target", "image": "registry.example.dev/app:1", "replicas": 1}
        workload = {"apiVersion": "threeport.dev/v1", "kind": "Workload", "metadata": {"name": f"w-{at}"}, "spec": spec}
        status, answer = side.ask("POST", WORKLOADS, workload, connection=connection)
        if status != 201:
            raise SystemExit(f"a Workload got {status}: {answer}")


def connect(hosts, kube):
    """The Cluster that stands for the target, Ready."""
    side = hosts.side
    side.kubectl("create", "namespace", NAMESPACE)
    side.kubectl("create", "secret", "generic", "target", "-n", NAMESPACE, f"--from-file=kubeconfig={kube.kubeconfig}")
    spec = {"adopt": {"kubeconfigSecret": {"name": "target"}}}
    cluster = {"apiVersion": "threeport.dev/v1", "kind": "Cluster", "metadata": {"name": "target"}, "spec": spec}
    status, answer = side.ask("POST", CLUSTERS, cluster)
    if status != 201:
        raise SystemExit(f"the Cluster got {status}: {answer}")
    side.kubectl("wait", "-n", NAMESPACE, "--for=condition=Ready", "--timeout=60s", "cluster/target")


def is_ready(workload):
    conditions = workload.get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


class Asked:
    """Calls on the target: what our host counts of its own, and applies and reads of Deployments as the target counts them."""

    def __init__(self, hosts, kube):
        ours = {method: sum(host.metrics("threeport_target_requests_total", method=method) for host in hosts.all) for method in ("GET", "PATCH", "POST", "DELETE")}
        count = lambda verb, resource: kube.side.metrics("apiserver_request_total", verb=verb, resource=resource)
        self.counts = {
            **ours,
            "apply": count("APPLY", "deployments"),
            "get": count("GET", "deployments"),
            "list pods": count("LIST", "pods"),
        }

    def since(self, before, count):
        """For each of so many objects."""
        return {name: (now - before.counts[name]) / count for name, now in self.counts.items()}


def measure(scratch, count):
    with Kube(scratch, "--nodes", f"kwok={count // PODS + 2}") as kube, Hosts(scratch, 1) as hosts:
        for plugin in ("cluster", "workload"):
            hosts.first.push(plugin)
        connect(hosts, kube)
        until("all runs to end", hosts.idle)
        version = json.loads(hosts.side.ask("GET", f"{WORKLOADS}?limit=1")[1])["metadata"]["resourceVersion"]
        who = {
            "server": lambda: hosts.first.pids,
            "PostgreSQL": hosts.postgres.pids,
            "NATS": lambda: [hosts.nats.process.pid],
            **{part: (lambda part=part: kube.processes(part)) for part in TARGET},
        }
        used, asked, ran = {name: cpu(pids()) for name, pids in who.items()}, Asked(hosts, kube), hosts.first.metrics("threeport_runs_total", resource="workloads")
        ready, made = set(), []
        began = time.perf_counter()
        makers = [multiprocessing.Process(target=make, args=(hosts.side, number, count)) for number in range(MAKERS)]
        for maker in makers:
            maker.start()

        def last(workload):
            name = workload["metadata"]["name"]
            # Whatever becomes of it later: each counts once.
            if is_ready(workload):
                ready.add(name)
            if not made and all(maker.exitcode is not None for maker in makers):
                made.append(time.perf_counter() - began)
            return len(ready) == count

        follow(hosts.side, WORKLOADS, version, last)
        total = time.perf_counter() - began
        for maker in makers:
            maker.join()
        until("all runs to end", hosts.idle)
        return {
            "total": total,
            "made": made[0] if made else total,
            "failed": sum(maker.exitcode != 0 for maker in makers),
            "cpu": {name: cpu(pids()) - used[name] for name, pids in who.items()},
            "memory": {name: pss(pids()) for name, pids in who.items()},
            "calls": Asked(hosts, kube).since(asked, count),
            "runs": (hosts.first.metrics("threeport_runs_total", resource="workloads") - ran) / count,
        }
