"""A SLURM of one node on this machine, for as long as a test takes.

Munge, MariaDB, slurmdbd, slurmctld and slurmd run as this user, on free ports of 127.0.0.1, with
all their files in one folder; nothing of the machine's own settings is read or changed. By hand:

    python tests/loopback_slurm.py /tmp/slurm    # runs until it is interrupted
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

#: what has to be there, and the Debian package that brings it
PROGRAMS = {
    "munged": "munge", "mariadbd": "mariadb-server", "mariadb-install-db": "mariadb-server",
    "slurmdbd": "slurmdbd", "slurmctld": "slurm-wlm", "slurmd": "slurm-wlm", "sbatch": "slurm-wlm",
    "sacctmgr": "slurm-wlm", "setpriv": "util-linux",
}  # fmt: skip
#: a GPU has to be a file of its own; nothing opens it
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random")
#: seconds that any part may take to come up
PATIENCE = 60.0
PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))

SLURM_CONF = """\
ClusterName=loopback
SlurmctldHost={node}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={controller}
SlurmdPort={worker}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/controller
SlurmdSpoolDir={folder}/worker
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
# a test may want more CPUs than there are
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
ReturnToService=2
MpiDefault=none
SwitchType=switch/none
KillWait=3
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={accounting}
AccountingStoragePass={folder}/munge.socket
AccountingStorageEnforce=associations
AccountingStoreFlags=job_comment
{gpu_types}
NodeName={node} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} {gpus} State=UNKNOWN
PartitionName=main Nodes={node} Default=YES MaxTime=INFINITE State=UP
PartitionName=other Nodes={node} MaxTime=INFINITE State=UP
"""
SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost=localhost
DbdPort={accounting}
SlurmUser={user}
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser={user}
StorageLoc=slurm
"""


def missing() -> str:
    """Say what keeps SLURM from running here; the empty string where nothing does."""
    packages = {package for name, package in PROGRAMS.items() if not shutil.which(name, path=PATH)}
    if not packages:
        return ""
    return f"no SLURM on this machine; `sudo apt install {' '.join(sorted(packages))}` brings one"


class LoopbackSlurm:
    """Starts on entering, ends on leaving; `environment` is what SLURM's commands need."""

    def __init__(self, folder: Path, cpus: int = 4, gpus: int = 0, memory: int = 64_000) -> None:
        """Say where its files go: a short path, for sockets lie there.

        Args:
            folder: made if it is not there.
            cpus: what the node says it has, as the following.
            gpus: at most four.
            memory: in MB.
        """
        self.folder = folder
        self.daemons: list[subprocess.Popen[bytes]] = []
        ports = _free_ports(3)
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True)
        self.facts = {
            "folder": folder, "user": user.stdout.strip(), "cpus": cpus, "memory": memory,
            "node": socket.gethostname().split(".")[0], "gpus": f"Gres=gpu:{gpus}" if gpus else "",
            "gpu_types": "GresTypes=gpu\nAccountingStorageTRES=gres/gpu" if gpus else "",
            **dict(zip(("controller", "worker", "accounting"), ports, strict=True)),
        }  # fmt: skip
        self.devices = DEVICES[:gpus]
        self.environment = {
            **os.environ,
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": f"{folder / 'bin'}{os.pathsep}{PATH}",
        }

    def __enter__(self) -> LoopbackSlurm:
        """Start all of it, and wait until a job runs."""
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End all of it."""
        self.stop()

    def ask(self, *command: str) -> str:
        """Return what one of SLURM's commands prints.

        Raises:
            RuntimeError: it failed; with what it said.
        """
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{shlex.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def jobs(self, *fields: str) -> list[dict[str, str]]:
        """Return all jobs there ever were, oldest first; fields are those of ``sacct``."""
        listed = self.ask(
            "sacct", "-X", "-n", "-P", "-S", "now-1days", f"--format={','.join(fields)}"
        )
        return [dict(zip(fields, line.split("|"), strict=True)) for line in listed.splitlines()]

    def _start(self) -> None:
        folder = self.folder
        for part in ("controller", "worker", "bin", "database"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        self._write("munge.key", os.urandom(128).hex(), 0o400)
        self._write("slurm.conf", SLURM_CONF.format(**self.facts))
        self._write("slurmdbd.conf", SLURMDBD_CONF.format(**self.facts), 0o600)
        node = self.facts["node"]
        lines = [f"NodeName={node} Name=gpu File={device}\n" for device in self.devices]
        self._write("gres.conf", "".join(lines))
        # a job of Snakemake's forgets every SLURM_ variable, the place of the configuration too
        srun = shutil.which("srun", path=PATH)
        script = (
            f'#!/bin/sh\nSLURM_CONF={shlex.quote(str(folder / "slurm.conf"))} exec {srun} "$@"\n'
        )
        self._write("bin/srun", script, 0o755)

        socket_file, database = folder / "munge.socket", folder / "database.socket"
        self._daemon(
            "munged", "--foreground", "--force", f"--key-file={folder / 'munge.key'}",
            f"--socket={socket_file}", f"--pid-file={folder / 'munge.pid'}",
            f"--seed-file={folder / 'munge.seed'}",
        )  # fmt: skip
        user = f"--user={self.facts['user']}"
        install = ["mariadb-install-db", "--no-defaults", user, f"--datadir={folder / 'database'}"]
        self.ask(*install, "--auth-root-authentication-method=normal", "--skip-test-db")
        self._daemon(
            "mariadbd", "--no-defaults", user, f"--datadir={folder / 'database'}",
            f"--socket={database}", f"--pid-file={folder / 'database.pid'}", "--skip-networking",
            "--skip-grant-tables", "--innodb-buffer-pool-size=64M", "--performance-schema=OFF",
            "--innodb-lock-wait-timeout=900",
        )  # fmt: skip
        client = ["mariadb", "--no-defaults", f"--socket={database}", "-e"]
        self._wait(lambda: self.ask(*client, "create database if not exists slurm"))
        self._wait(lambda: self.ask("munge", "-n", "-S", str(socket_file)))
        self.environment["MYSQL_UNIX_PORT"] = str(database)
        self._daemon("slurmdbd", "-D")
        self._wait(lambda: self.ask("sacctmgr", "-n", "list", "cluster"))
        self.ask("sacctmgr", "-i", "add", "cluster", "loopback")
        for account in ("mine", "theirs"):
            self.ask("sacctmgr", "-i", "add", "account", account, "Cluster=loopback")
        users = ["sacctmgr", "-i", "add", "user", str(self.facts["user"])]
        self.ask(*users, "Account=mine,theirs", "DefaultAccount=mine")
        self._daemon("slurmctld", "-D", "-c")
        self._wait(lambda: self.ask("scontrol", "ping"))
        self._daemon("slurmd", "-D", "-N", str(node))
        self._wait(lambda: self.ask("srun", "-n1", "-t1", "-Q", "-I10", "true"))

    def _write(self, name: str, text: str, mode: int = 0o644) -> None:
        path = self.folder / name
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def _daemon(self, *command: str) -> None:
        """Start a part of it, which ends with this process at the latest."""
        with (self.folder / f"{command[0]}.out").open("wb") as out:
            self.daemons.append(
                subprocess.Popen(
                    ["setpriv", "--pdeathsig", "TERM", *command],
                    env=self.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                    start_new_session=True,
                )
            )  # fmt: skip

    def _wait(self, works: Callable[[], object]) -> None:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                works()
                return
            except RuntimeError as error:
                for daemon in self.daemons:
                    if daemon.poll() is not None:
                        name = str(daemon.args[3])  # type: ignore[index]
                        said = (self.folder / f"{name}.out").read_text(errors="replace")
                        raise RuntimeError(f"{name} has ended: {said[-2000:]}") from error
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)

    def stop(self) -> None:
        """End every job, and then every part, the last one first."""
        with contextlib.suppress(RuntimeError):
            self.ask("scancel", f"--user={self.facts['user']}")
            until = time.monotonic() + 20
            while self.ask("squeue", "--noheader") and time.monotonic() < until:
                time.sleep(0.2)
        for daemon in reversed(self.daemons):
            daemon.terminate()
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
        self.daemons.clear()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


if __name__ == "__main__":
    if missing():
        sys.exit(missing())
    with LoopbackSlurm(Path(sys.argv[1]).resolve(), gpus=2) as slurm:
        print(
            f"export SLURM_CONF={slurm.environment['SLURM_CONF']} PATH={slurm.environment['PATH']}"
        )
        sys.stdout.flush()
        signal.sigwait((signal.SIGINT, signal.SIGTERM))
