"""Machines to launch clusters on: each has processes, files, a network and an sshd of its own, all on this computer.

Linux namespaces make them, so root is needed; nothing that runs on one, not even `ray stop`, sees this computer's
processes. A machine's files are this computer's, with what it writes kept in memory and thrown away with it.
"""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

USER = "researcher"

# What a machine's first process does; {…} is filled in by `machine`.
BOOT = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs {folder}
mkdir {folder}/upper {folder}/work {folder}/root
mount -t overlay overlay -o lowerdir=/,upperdir={folder}/upper,workdir={folder}/work {folder}/root
cd {folder}/root
mount -t proc proc proc
mount --rbind /dev dev
for own in dev/shm tmp run; do mount -t tmpfs tmpfs $own; done
mkdir -p shared run/sshd
mount --bind {shared} shared
hostname {name}
# The user is root by another name, for whom sshd needs no privileges that a container may lack.
{{ echo '{user}:x:0:0::/home/{user}:/bin/bash'; cat /etc/passwd; }} >etc/passwd.new
mv etc/passwd.new etc/passwd
cp -r etc/skel home/{user}
mkdir -m 700 home/{user}/.ssh
cp {key}.pub home/{user}/.ssh/authorized_keys
ssh-keygen -q -t ed25519 -N '' -f run/sshd/key
exec chroot . env -i /usr/sbin/sshd -D -f /dev/null -h /run/sshd/key -o PermitRootLogin=yes -o PidFile=none
"""

# The environment that `make .venv/installed` makes takes minutes and gigabytes: here it is one that borrows the
# packages of the running one, but not metaseg itself, which has to be the machine's copy.
BORROW = """
set -e
{python} -m venv --without-pip metaseg/.venv
printf '%s\\n' {packages} ~/metaseg >metaseg/.venv/lib/python{version}/site-packages/borrowed.pth
printf '%s\\n' "#!$HOME/metaseg/.venv/bin/python" 'from ray.scripts.scripts import main' 'main()' >metaseg/.venv/bin/ray
chmod +x metaseg/.venv/bin/ray
touch metaseg/.venv/installed
"""


@dataclass(frozen=True)
class Machine:
    """A running machine."""

    name: str
    address: str
    key: Path
    """Private key of the user `researcher`."""

    def run(self, command: str) -> str:
        """Run a shell command there and return its output."""
        options = ["-i", str(self.key), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
        done = subprocess.run(
            ["ssh", *options, f"{USER}@{self.address}", command], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, f"{self.name}: {command}: {done.stdout}{done.stderr}"
        return done.stdout

    def processes(self) -> list[str]:
        """Command lines of what runs there, besides this connection and the sshd."""
        lines = self.run("ps -eo pid=,stat=,args=").splitlines()
        fields = [line.split(None, 2) for line in lines]
        return [
            args
            for pid, state, args in fields
            if pid != "1" and state[0] != "Z" and not args.startswith(("sshd", "ps "))
        ]


def need(*programs: str) -> None:
    """Skip the test where there is no root or no such program."""
    missing = [program for program in programs if not shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")]
    if os.geteuid() != 0 or missing:
        pytest.skip(f"machines need root and {', '.join(missing or programs)}")


@contextmanager
def machines(folder: Path, names: list[str]) -> Iterator[list[Machine]]:
    """Machines on a network with this computer, and the folder /shared, which is `folder`/shared here."""
    need("ip", "unshare", "sshd", "ssh", "rsync", "make")
    network, bridge = f"198.18.{os.getpid() % 256}", f"ms{os.getpid()}"
    (folder / "shared").mkdir(parents=True)
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    with ExitStack() as stack:

        def ip(command: str, undo: str | None = None) -> None:
            subprocess.run(["ip", *command.split()], check=True)
            if undo:
                stack.callback(subprocess.run, ["ip", *undo.split()])

        ip(f"link add {bridge} type bridge", undo=f"link del {bridge}")
        ip(f"addr add {network}.1/24 dev {bridge}")
        ip(f"link set {bridge} up")
        started = []
        for number, name in enumerate(names, start=2):
            space, cable, address = f"{bridge}-{number}", f"{bridge}v{number}", f"{network}.{number}"
            ip(f"netns add {space}", undo=f"netns del {space}")
            ip(f"link add {cable} type veth peer name eth0 netns {space}")
            ip(f"link set {cable} master {bridge} up")
            # By a default route, though it leads nowhere, Ray finds a machine's own address.
            settings = (
                f"addr add {address}/24 dev eth0;link set eth0 up;link set lo up;route add default via {network}.1"
            )
            for command in settings.split(";"):
                ip(f"-n {space} {command}")
            (folder / name).mkdir()
            boot = BOOT.format(folder=folder / name, shared=folder / "shared", name=name, user=USER, key=key)
            isolate = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc"]
            first = subprocess.Popen(["ip", "netns", "exec", space, *isolate, "bash", "-c", boot])
            stack.callback(first.wait)
            stack.callback(first.send_signal, signal.SIGKILL)  # and all that runs there ends with it
            started.append(Machine(name, address, key))
        for machine in started:
            _wait_for(machine)
        yield started


def _wait_for(machine: Machine) -> None:
    borrow = BORROW.format(
        python=sys.executable,
        packages=sysconfig.get_path("purelib"),
        version=sysconfig.get_python_version(),
    )
    for attempt in range(50):
        try:
            machine.run(borrow)
            return
        except AssertionError:
            if attempt == 49:
                raise
            time.sleep(0.2)
