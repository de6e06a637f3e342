"""cluster - what a cluster costs and what a dead node costs: three nodes on this machine, R = 2.

Accepting and relaying are compared with one Postfix, which keeps one copy. The deaths are kill -9;
the clock starts with the signal. All figures are of one machine: three nodes share its cores and
its disk, which a real cluster does not.
"""

import math
import shutil
import signal
import smtplib
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from systems import SESSIONS, Posthouse, free_port, source

NAMES = ("a", "b", "c")
ALL_NAMES = NAMES + ("d", "e", "f", "g", "h", "i")
# Nodes and how many of them vote: the others are workers.
SCALES = ((3, 3), (5, 5), (5, 3), (7, 3), (9, 3))
# Each node's clients send another part of it.
TEXT = "/usr/share/common-licenses/GPL-3"
TEXT_BYTES = 10_240


class Cluster:
    """Three nodes; as a system of the benchmark, mail is spread over them."""

    name = "cluster"

    def __init__(self, binary, base, sink_port=None, names=NAMES, voters=None):
        self.folder = tempfile.mkdtemp(prefix="cluster-", dir=base)
        authority = f"{self.folder}/ca"
        commands = [["init", authority]]
        commands += [["issue", authority, "--node", n, "--address", "127.0.0.1"] for n in names]
        for words in commands:
            subprocess.run([binary, "ca", *words], check=True, capture_output=True)
        self.peer_ports = [free_port() for _ in names]
        places = [f'"{n}@127.0.0.1:{p}"' for n, p in zip(names, self.peer_ports)]
        seeds = ", ".join(places[:voters])
        self.nodes = []
        for name, port in zip(names, self.peer_ports):
            table = (f'[cluster]\nname = "bench"\nlisten = "127.0.0.1:{port}"\nseeds = [{seeds}]\n'
                     f'ca = "{authority}/ca.pem"\ncertificate = "{authority}/{name}.pem"\n'
                     f'key = "{authority}/{name}.key"\ncopies = 2\n')
            self.nodes.append(Posthouse(binary, self.folder, sink_port, name, table))

    def start(self):
        begin = time.monotonic()
        for node in self.nodes:
            node.launch()
        for node in self.nodes:
            node.wait_until_ready()
        self.wait_until_healthy()
        return time.monotonic() - begin

    def wait_until_healthy(self, seconds=120):
        end = time.monotonic() + seconds
        while any(not self.is_whole(node.status()) for node in self.nodes):
            if time.monotonic() > end:
                raise RuntimeError("the cluster does not get healthy")
            time.sleep(0.05)

    def is_whole(self, status):
        return status["status"] == "healthy" and len(status["nodes"]) == len(self.nodes)

    def leader(self):
        while True:
            names = {node.status()["leader"] for node in self.nodes}
            name = names.pop()
            if not names and name is not None:
                return next(node for node in self.nodes if node.node == name)
            time.sleep(0.05)

    def source(self, count, kept, size=4096, files=None):
        """Sends with one smtp-source for each node; the seconds until the last has ended."""
        faults = []
        nodes = len(self.nodes)

        def send(i):
            try:
                source(self.nodes[i].port, (count + i) // nodes, size=size, kept=kept,
                       file=files and files[i], sessions=SESSIONS // nodes)
            except RuntimeError as error:
                faults.append(error)

        begin = time.monotonic()
        threads = [threading.Thread(target=send, args=(i,)) for i in range(nodes)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if faults:
            raise faults[0]
        return time.monotonic() - begin

    def queued(self):
        return max(node.queued() for node in self.nodes)

    def cpu(self):
        return sum(node.cpu() for node in self.nodes)

    def peer_bytes(self):
        """All that the nodes have sent to each other, TLS and its handshakes too."""
        ports = {str(port) for port in self.peer_ports}
        done = subprocess.run(["ss", "-tinHO"], capture_output=True, text=True, check=True)
        total = 0
        for line in done.stdout.splitlines():
            fields = line.split()
            if {f.rpartition(":")[2] for f in fields[3:5]} & ports:
                total += sum(int(f.partition(":")[2]) for f in fields
                             if f.startswith("bytes_sent:"))
        return total

    def lag(self):
        """Counts of the leader's samples by their upper bounds, all nodes together."""
        counts = {}
        for node in self.nodes:
            for name, value in node.metrics().items():
                if name.startswith("posthouse_follower_lag_seconds_bucket"):
                    bound = float(name.partition('le="')[2].partition('"')[0])
                    counts[bound] = counts.get(bound, 0) + value
        return counts

    def stop(self, keep=False):
        for node in self.nodes:
            if node.process and node.process.poll() is None:
                node.process.send_signal(signal.SIGTERM)
        for node in self.nodes:
            node.stop(keep)
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)


class SlowSink:
    """An SMTP server that notes when each recipient is first and next attempted.

    The first attempt of an address that begins with "hold" is never answered.
    """

    def __init__(self):
        self.attempts = {}
        self.changed = threading.Condition()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        with client, client.makefile("rwb") as stream:
            try:
                self.converse(stream)
            except (OSError, ValueError):
                pass  # the node has died, which is what is measured

    def converse(self, stream):
        def say(text):
            stream.write(text.encode() + b"\r\n")
            stream.flush()

        say("220 sink.bench.example ESMTP")
        content = False
        for line in stream:
            text = line.decode(errors="replace").strip()
            if content:
                if text == ".":
                    content = False
                    say("250 Ok")
                continue
            if text.upper().startswith("RCPT TO:") and not self.note(text):
                stream.read()  # says nothing until the other side has gone
                return
            if text.upper() == "DATA":
                content = True
                say("354 go ahead")
            elif text.upper() == "QUIT":
                say("221 Bye")
                return
            else:
                say("250 Ok")

    def note(self, line):
        """Whether it is to be answered."""
        address = line.partition("<")[2].partition(">")[0]
        with self.changed:
            times = self.attempts.setdefault(address, [])
            times.append(time.monotonic())
            self.changed.notify_all()
            return not address.startswith("hold") or len(times) > 1

    def wait(self, address, count, seconds):
        """When the attempt with this number came."""
        with self.changed:
            if not self.changed.wait_for(
                    lambda: len(self.attempts.get(address, [])) >= count, seconds):
                raise RuntimeError(f"attempt {count} of {address} does not come")
            return self.attempts[address][count - 1]

    def stop(self):
        self.listener.close()


def send_one(port, recipient="rcpt@sink.example", timeout=60):
    with smtplib.SMTP("127.0.0.1", port, "client.bench.example", timeout) as client:
        client.sendmail("sender@client.example", [recipient], "Subject: x\r\n\r\nhello\r\n")


def first_acceptance(port, begin, end):
    """Seconds from `begin` to the first 250 for a mail that was begun after it."""
    while time.monotonic() < end:
        try:
            send_one(port)
            return time.monotonic() - begin
        except (OSError, smtplib.SMTPException):
            time.sleep(0.005)
    raise RuntimeError("no survivor takes mail")


def revive(cluster, node):
    node.process.wait()
    node.start()
    cluster.wait_until_healthy()


def leader_deaths(bench, count):
    """Leader killed: how long until a survivor gives the first new 250."""
    cluster = bench.cluster()
    cluster.start()
    for number in range(count):
        leader = cluster.leader()
        survivors = [node for node in cluster.nodes if node is not leader]
        begin = time.monotonic()
        leader.process.kill()
        results = []
        threads = [
            threading.Thread(
                target=lambda port=node.port: results.append(
                    first_acceptance(port, begin, begin + 60)))
            for node in survivors]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if len(results) < len(survivors):
            raise RuntimeError("a survivor takes no mail")
        bench.note("leader killed: first 250 at a survivor", "seconds", min(results))
        bench.note("leader killed: both survivors take mail", "seconds", max(results))
        revive(cluster, leader)
        print(f"  leader killed: {number + 1} of {count}", file=sys.stderr)
    bench.end(cluster)


def node_deaths(bench, count):
    """Node killed in an attempt: how long until another node attempts that mail."""
    sink = SlowSink()
    bench.running.append(sink)
    cluster = bench.cluster(sink.port)
    cluster.start()
    for number in range(count):
        node = cluster.nodes[number % len(cluster.nodes)]
        address = f"hold{number}@sink.example"
        send_one(node.port, address)
        sink.wait(address, 1, 30)
        begin = time.monotonic()
        node.process.kill()
        again = sink.wait(address, 2, 120)
        bench.note("node killed: its mail attempted by another", "seconds", again - begin)
        revive(cluster, node)
        print(f"  node killed: {number + 1} of {count}", file=sys.stderr)
    bench.end(cluster)
    bench.end(sink)


def real_text(bench):
    """Three files of text that people have written."""
    with open(TEXT, "rb") as f:
        text = f.read()
    files = []
    for i in range(len(NAMES)):
        files.append(f"{bench.base}/text{i}")
        with open(files[-1], "wb") as f:
            part = text[i * TEXT_BYTES:(i + 1) * TEXT_BYTES]
            f.write(b"Subject: text\n\n" + part[:TEXT_BYTES - 15])
    return files


def peer_traffic(bench):
    """What one accepted message of 10 KB costs between the nodes."""
    files = real_text(bench)
    count = 600 if bench.options.quick else 6000
    cluster = bench.cluster()
    cluster.start()
    cluster.source(SESSIONS, True, files=files)
    before = cluster.peer_bytes()
    cluster.source(count, True, files=files)
    bench.note(TRAFFIC, "bytes", (cluster.peer_bytes() - before) / count)
    bench.end(cluster)


def follower_lag(bench):
    """From the leader's append to the follower's word, with all sessions busy."""
    cluster = bench.cluster()
    cluster.start()
    cluster.source(SESSIONS, True)
    before = cluster.lag()
    cluster.source(bench.counts("cluster", 10_000), True)
    after = cluster.lag()
    for bound, count in after.items():
        bench.note(LAG, str(bound), count - before.get(bound, 0))
    bench.end(cluster)


def scale(bench):
    """The same load on three to nine nodes: what it costs, and what goes between them."""
    for count, voters in SCALES:
        cluster = bench.cluster(names=ALL_NAMES[:count], voters=voters)
        cluster.start()
        cluster.source(SESSIONS, True)
        leader, messages = cluster.leader(), bench.counts("cluster", 4000)
        cpus = [node.cpu() for node in cluster.nodes]
        bytes_before = cluster.peer_bytes()
        cluster.source(messages, True)
        cpus = {node.node: (node.cpu() - before) / messages
                for node, before in zip(cluster.nodes, cpus)}
        name = f"{count} nodes, {voters} voters"
        bench.note(SCALE, f"{name}: leader cpu", cpus.pop(leader.node))
        bench.note(SCALE, f"{name}: other cpu", statistics.mean(cpus.values()))
        bench.note(SCALE, f"{name}: bytes",
                   (cluster.peer_bytes() - bytes_before) / messages / count)
        bench.end(cluster)


def large_queue(bench):
    """Much is queued and held, the leader is killed: until the next one has leased a message."""
    kills = min(bench.options.kills, LARGE_QUEUE_KILLS_MAX)
    sink = SlowSink()
    bench.running.append(sink)
    cluster = bench.cluster(sink.port)
    for node in cluster.nodes:
        node.set_delivery(False)
    cluster.start()
    cluster.source(bench.options.queued, True, size=200)
    probes = [cluster.nodes[0].command("send", f"probe{i}@sink.example", content=PROBE).strip()
              for i in range(kills)]
    cluster.nodes[0].command("queue", "hold", "--all", "--yes")
    cluster.stop(keep=True)
    for node in cluster.nodes:
        node.set_delivery(True)
    print(f"  {bench.options.queued} held; started again in {cluster.start():.1f} s",
          file=sys.stderr)
    for number, probe in enumerate(probes):
        time.sleep(SETTLING_SECONDS)
        leader = cluster.leader()
        survivor = next(node for node in cluster.nodes if node is not leader)
        begin = time.monotonic()
        leader.process.kill()
        while True:
            try:
                survivor.command("queue", "release", "--id", probe, "--yes")
                break
            except subprocess.CalledProcessError:
                if time.monotonic() > begin + 60:
                    raise
        first = sink.wait(f"probe{number}@sink.example", 1, 60)
        bench.note(QUEUE, "seconds", first - begin)
        revive(cluster, leader)
        print(f"  leader of a large queue killed: {number + 1} of {kills}", file=sys.stderr)
    bench.end(cluster)
    bench.end(sink)


LARGE_QUEUE_KILLS_MAX = 10
# A node that has just started has no share of a destination's connections before the leader knows
# that those of all nodes before are closed (decision 0021).
SETTLING_SECONDS = 12
PROBE = "Subject: probe\n\nprobe\n"
TRAFFIC = "10 KB of text: between the nodes"
LAG = "follower lag"
SCALE = "from three to nine nodes"
QUEUE = "leader killed, much queued: first lease of the next"

WORK = (
    ("accept 4 KB, kept connections", dict(kept=True)),
    ("relay 4 KB, kept connections", dict(kept=True, relay=True)),
)
SYSTEMS = ("cluster", "posthouse", "postfix")
DEATHS = (
    "leader killed: first 250 at a survivor", "leader killed: both survivors take mail",
    "node killed: its mail attempted by another",
)


def run(bench):
    only = bench.options.only or ""
    systems = [s for s in SYSTEMS if s == "cluster" or s in bench.options.systems]
    for work, how in WORK:
        if only not in work:
            continue
        for round_number in range(bench.options.rounds):
            for name in systems if round_number % 2 == 0 else systems[::-1]:
                bench.one(work, name, bench.counts(name, 3000), how.get("relay", False),
                          how["kept"], None)
            print(f"  {work}: round {round_number + 1} of {bench.options.rounds}", file=sys.stderr)
    if only in DEATHS[0] or only in DEATHS[1]:
        leader_deaths(bench, bench.options.kills)
    if only in DEATHS[2]:
        node_deaths(bench, bench.options.kills)
    for name, measure in ((QUEUE, large_queue), (TRAFFIC, peer_traffic), (LAG, follower_lag),
                          (SCALE, scale)):
        if only in name:
            measure(bench)


def quantile(values, part):
    """By nearest rank: with few kills p99 is the worst of them."""
    return sorted(values)[math.ceil(part * len(values)) - 1]


def table(results, options):
    def rate(values, name):
        return statistics.median(values[name]) if name in values else None

    def cell(value, form):
        return "-" if value is None else format(value, form)

    print(f"\n{'work (messages/s, medians)':34}{'cluster':>9}{'Postfix':>9}{'ratio':>8}"
          f"{'one node':>10}{'CPU/msg':>10}   (three nodes, R = 2; Postfix keeps one copy)")
    for work, _ in WORK:
        values = results.get(work)
        if not values:
            continue
        ours, theirs, alone = (rate(values, n) for n in SYSTEMS[:1] + SYSTEMS[2:] + SYSTEMS[1:2])
        cpu = rate(values, "cluster cpu")
        print(f"{work:34}{cell(ours, '9.0f'):>9}{cell(theirs, '9.0f'):>9}"
              f"{cell(ours / theirs if theirs else None, '.1f'):>8}{cell(alone, '9.0f'):>10}"
              f"{f'{cpu * 1e6:.0f} us':>10}")
    print(f"\n{'deaths (seconds)':52}{'kills':>7}{'p50':>8}{'p99':>8}{'most':>8}")
    for work in DEATHS + (QUEUE,):
        for values in results.get(work, {}).values():
            print(f"{work:52}{len(values):>7}{quantile(values, 0.5):>8.2f}"
                  f"{quantile(values, 0.99):>8.2f}{max(values):>8.2f}")
    for value in results.get(TRAFFIC, {}).get("bytes", []):
        print(f"\n{TRAFFIC}: {value:.0f} bytes a message, {value / TEXT_BYTES:.0%} of it "
              "(one copy goes to another node; with the metadata to all, and TLS)")
    lag = {float(bound): count[0] for bound, count in results.get(LAG, {}).items()}
    if lag:
        total = lag[math.inf]
        print(f"\n{LAG}, {total:.0f} samples under full load:", ", ".join(
            f"{count / total:.1%} within {bound * 1000:g} ms"
            for bound, count in sorted(lag.items()) if 0.0025 <= bound <= 0.1))
    costs = {name: values[0] for name, values in results.get(SCALE, {}).items()}
    for count, voters in SCALES if costs else ():
        name = f"{count} nodes, {voters} voters"
        print(f"{name}: CPU of a message on the leader {costs[f'{name}: leader cpu'] * 1e6:.0f} us, "
              f"on another node {costs[f'{name}: other cpu'] * 1e6:.0f} us, "
              f"{costs[f'{name}: bytes']:.0f} bytes sent a node")
