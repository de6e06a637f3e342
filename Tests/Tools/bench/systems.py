"""systems - what the benchmark runs: Posthouse, Debian's Postfix, and smtp-sink behind them."""

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
TICKS = os.sysconf("SC_CLK_TCK")
SESSIONS = 40
# Connections to the sink that each system may open.
CONCURRENCY = 50


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for_port(port, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as s:
                s.recv(4)
                return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"nothing listens on port {port}")


def stat_fields(pid):
    """Fields of /proc/PID/stat from the third on, or None when the process has gone."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rpartition(")")[2].split()
    except OSError:
        return None


def memory(pid, name):
    """Bytes of VmRSS or VmHWM."""
    with open(f"/proc/{pid}/status") as f:
        for line in f:
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
    raise RuntimeError(f"no {name} of {pid}")


class Sink:
    def __init__(self):
        self.port = free_port()
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        self.process = subprocess.Popen(
            ["smtp-sink", *user, f"127.0.0.1:{self.port}", "2048"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/tmp")
        wait_for_port(self.port)

    def stop(self):
        self.process.kill()
        self.process.wait()


class Posthouse:
    name = "posthouse"

    def __init__(self, binary, base, sink_port=None, node="a", cluster=""):
        """`cluster`: the table that makes it one of several."""
        self.binary, self.sink_port, self.node = binary, sink_port, node
        self.folder = tempfile.mkdtemp(prefix="posthouse-", dir=base)
        self.process = None
        delivers = "true" if sink_port else "false"
        route = ""
        if sink_port:
            route = (f'[[route]]\ndomains = ["*"]\nvia = "smtp://127.0.0.1:{sink_port}"\n'
                     'tls = "none"\n')
        with open(f"{self.folder}/posthouse.toml", "w") as f:
            f.write(f"""
[node]
name = "{node}"
hostname = "relay.bench.example"
data = "{self.folder}/data"

{cluster}
[relay]
allow = ["127.0.0.0/8"]
max_sessions_per_address = 5000
max_queued_messages = 10000000

[delivery]
enabled = {delivers}
connections_per_destination = {CONCURRENCY}
postmaster = "postmaster@bench.example"

[[listener]]
address = "127.0.0.1:0"
mode = "relay"
tls = "off"

{route}
[admin]
listen = "127.0.0.1:0"
""")

    def start(self):
        """Starts the process; returns the seconds until it said `ready`."""
        begin = time.monotonic()
        self.launch()
        self.wait_until_ready()
        return time.monotonic() - begin

    def launch(self):
        log = open(f"{self.folder}/log", "wb")
        self.process = subprocess.Popen(
            [self.binary, "serve", "--config", f"{self.folder}/posthouse.toml"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)
        log.close()

    def wait_until_ready(self):
        begin = time.monotonic()
        while True:
            with open(f"{self.folder}/log", errors="replace") as f:
                lines = f.read(1 << 20).split("\n")
            if "ready" in lines:
                break
            if self.process.poll() is not None or time.monotonic() > begin + 120:
                raise RuntimeError("posthouse did not start:\n" + "\n".join(lines))
            time.sleep(0.005)
        ports = {line.split()[1]: int(line.rpartition(":")[2])
                 for line in lines if line.startswith("listening ")}
        self.port, self.admin = ports["smtp"], ports["admin"]

    def status(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/v1/cluster", timeout=30) as a:
            return json.load(a)

    def metrics(self):
        """Every series by its name and labels."""
        url = f"http://127.0.0.1:{self.admin}/metrics"
        with urllib.request.urlopen(url, timeout=30) as a:
            lines = a.read().decode().splitlines()
        pairs = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}

    def command(self, *words, content=""):
        """Runs the client's side of the binary against this node; what it printed."""
        done = subprocess.run(
            [self.binary, *words, "--server", f"http://127.0.0.1:{self.admin}"],
            input=content, capture_output=True, text=True, check=True)
        return done.stdout

    def set_delivery(self, enabled):
        """For the next start."""
        with open(f"{self.folder}/posthouse.toml") as f:
            text = f.read()
        before, after = (f"[delivery]\nenabled = {word}\n" for word in
                         (("false", "true") if enabled else ("true", "false")))
        with open(f"{self.folder}/posthouse.toml", "w") as f:
            f.write(text.replace(before, after))

    def queued(self):
        queue = self.status()["queue"]
        return -1 if queue is None else int(queue["messages"])

    def cpu(self):
        fields = stat_fields(self.process.pid)
        return (int(fields[11]) + int(fields[12])) / TICKS

    def stop(self, keep=False):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)


class Postfix:
    name = "postfix"

    def __init__(self, base, sink_port=None):
        self.sink_port = sink_port
        self.folder = tempfile.mkdtemp(prefix="postfix-", dir=base)
        os.chmod(self.folder, 0o755)
        self.config = f"{self.folder}/etc"
        self.port = free_port()
        for name in ("etc", "queue", "data"):
            os.mkdir(f"{self.folder}/{name}")
        owner = pwd.getpwnam("postfix")
        os.chown(f"{self.folder}/data", owner.pw_uid, owner.pw_gid)
        self.write_main()
        self.write_master()
        self.master = None

    def write_main(self):
        # Accepting alone: into the hold queue, so that no delivery is tried or put off.
        target = (f"relayhost = [127.0.0.1]:{self.sink_port}" if self.sink_port else
                  "smtpd_end_of_data_restrictions = check_client_access static:HOLD")
        with open(f"{self.config}/main.cf", "w") as f:
            f.write(f"""compatibility_level = 3.6
queue_directory = {self.folder}/queue
data_directory = {self.folder}/data
myhostname = relay.bench.example
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
{target}
smtpd_recipient_restrictions = permit_mynetworks, reject
smtpd_client_connection_count_limit = 0
default_process_limit = 200
default_destination_concurrency_limit = {CONCURRENCY}
smtp_destination_concurrency_limit = {CONCURRENCY}
initial_destination_concurrency = {CONCURRENCY}
qmgr_message_active_limit = 40000
message_size_limit = 60000000
in_flow_delay = 0
smtp_dns_support_level = disabled
smtp_tls_security_level = none
smtpd_tls_security_level = none
notify_classes =
maillog_file = {self.folder}/maillog
maillog_file_prefixes = {self.folder}
""")

    def write_master(self):
        lines = []
        with open("/usr/share/postfix/master.cf.dist") as f:
            for line in f:
                fields = line.split()
                if line[:1] in "#\n \t" or len(fields) < 8:
                    continue
                if fields[0] in ("pickup", "maildrop", "uucp", "ifmail", "bsmtp", "scalemail",
                                 "scalemail-backend", "mailman", "postlog"):
                    continue
                if fields[0] == "smtp" and fields[1] == "inet":
                    fields[0] = f"127.0.0.1:{self.port}"
                fields[4] = "n"  # no chroot: nothing is copied into the temporary queue
                lines.append(" ".join(fields))
        lines.append("postlog unix-dgram n - n - 1 postlogd")
        with open(f"{self.config}/master.cf", "w") as f:
            f.write("\n".join(lines) + "\n")

    def control(self, word):
        return subprocess.run(["postfix", "-c", self.config, word], capture_output=True, text=True)

    def start(self):
        begin = time.monotonic()
        done = self.control("start")
        if done.returncode != 0:
            raise RuntimeError("postfix did not start:\n" + done.stdout + done.stderr)
        wait_for_port(self.port)
        with open(f"{self.folder}/queue/pid/master.pid") as f:
            self.master = int(f.read())
        return time.monotonic() - begin

    def queued(self):
        count = 0
        for name in ("incoming", "active", "deferred", "maildrop"):
            for _, _, files in os.walk(f"{self.folder}/queue/{name}"):
                count += len(files)
        return count

    def cpu(self):
        """Master, its children, and the children that it has seen end."""
        own = stat_fields(self.master)
        ticks = sum(int(own[i]) for i in (11, 12, 13, 14))
        for pid in os.listdir("/proc"):
            if not pid.isdigit():
                continue
            fields = stat_fields(pid)
            if fields and int(fields[1]) == self.master:
                ticks += int(fields[11]) + int(fields[12])
        return ticks / TICKS

    def stop(self, keep=False):
        if self.master:
            self.control("stop")
            end = time.monotonic() + 10
            while os.path.exists(f"/proc/{self.master}") and time.monotonic() < end:
                time.sleep(0.05)
            if os.path.exists(f"/proc/{self.master}"):
                self.control("abort")
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)


def source(port, count, size=4096, kept=False, file=None, sessions=SESSIONS):
    """Sends with smtp-source; the seconds that it took."""
    content = ["-F", file] if file else ["-l", str(size)]
    begin = time.monotonic()
    done = subprocess.run(
        ["smtp-source", *(["-d"] if kept else []), "-s", str(sessions), "-m", str(count), *content,
         "-f", "sender@client.example", "-t", "rcpt@sink.example", f"127.0.0.1:{port}"],
        capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError("smtp-source: " + done.stderr.strip())
    return time.monotonic() - begin
