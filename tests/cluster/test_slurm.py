"""`cluster/slurm.sbatch`: its directives, and a study on two machines where a stand-in for Slurm starts it by ssh."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster_head import ROOT, SMALL
from machines import USER, Machine, machines

SCRIPT = ROOT / "cluster" / "slurm.sbatch"

# Of sbatch's options, those used here, and the form of their values.
SBATCH = {
    "job-name": r"\w+",
    "nodes": r"\d+",
    "ntasks-per-node": "1",
    "cpus-per-task": r"\d+",
    "gpus-per-node": r"\d+",
    "time": r"\d\d:\d\d:\d\d",
    "output": r"[\w-]+%j\.log",
    "requeue": "",
    "open-mode": "append",
    "no-kill": "",
    "signal": r"B:TERM@\d+",
}

# Starts what it is given on the named node, in the same folder and environment, and ends with it.
SRUN = """#!/usr/bin/env bash
for option; do
    case $option in
    --nodelist=*) node=${option#*=} ;;
    --*) ;;
    *) break ;;
    esac
    shift
done
export -p >"$SHARED/environment-$node"
printf '%q ' "$@" >"$SHARED/command-$node"
exec ssh -tt -i "$SHARED/key" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR \\
    "$(cat "$SHARED/address-$node")" ". $SHARED/environment-$node; cd $PWD; . $SHARED/command-$node" </dev/null
"""
SCONTROL = """#!/usr/bin/env bash
[ "$1 $2" = "show hostnames" ] && tr , '\\n' <<<"$3"
"""


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[Machine]]:
    with machines(tmp_path / "machines", ["one", "two"]) as started:
        yield started


@pytest.fixture
def shared(nodes: list[Machine], tmp_path: Path) -> Path:
    """Folder that all nodes see at /shared: homes, a clone with its environment, and the simulated commands."""
    folder = tmp_path / "machines" / "shared"
    clone = folder / "home" / "metaseg"
    clone.mkdir(parents=True)
    for name in ("analysis", "metaseg", "studies", "cluster"):
        (clone / name).symlink_to(ROOT / name)
    (clone / ".venv").symlink_to(sys.prefix)
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    (folder / "key").write_bytes(nodes[0].key.read_bytes())
    (folder / "key").chmod(0o600)
    for node in nodes:
        (folder / f"address-{node.name}").write_text(f"{USER}@{node.address}")
    return folder


def sbatch(node: Machine, *command: str) -> subprocess.CompletedProcess[str]:
    """Run the script as Slurm would, on the job's first node."""
    given = {
        "HOME": "/shared/home",
        "SHARED": "/shared",
        "PATH": f"/shared:{os.environ['PATH']}",
        "SLURM_JOB_ID": "1234567",
        "SLURM_JOB_NODELIST": "one,two",
        "SLURM_CPUS_PER_TASK": "2",
        "SLURM_SUBMIT_DIR": "/shared/home/metaseg",
    }
    job = shlex.join(["env", *(f"{name}={value}" for name, value in given.items())])
    script = shlex.join(["bash", "/shared/home/metaseg/cluster/slurm.sbatch", *command])
    ssh = ["ssh", "-i", str(node.key), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    return subprocess.run(
        [*ssh, f"{USER}@{node.address}", f"{job} {script}"], capture_output=True, text=True, timeout=200
    )


def test_slurm_reads_every_directive():
    """Those after the first command would be left out."""
    lines = SCRIPT.read_text().splitlines()
    subprocess.run(["bash", "-n", SCRIPT], check=True)
    first = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    directives = [line.split() for line in lines if line.startswith("#SBATCH")]
    assert lines[0] == "#!/usr/bin/env bash"
    assert len([line for line in lines[:first] if line.startswith("#SBATCH")]) == len(directives)
    for _, directive in directives:
        option, _, value = directive.removeprefix("--").partition("=")
        assert re.fullmatch(SBATCH[option], value), directive


@pytest.mark.cluster
def test_a_study_runs_on_all_nodes_of_an_allocation_and_leaves_nothing_there(nodes, shared):
    done = sbatch(nodes[0], "python", "studies/seven_cells.py", *SMALL, "--seeds", "4", "--epochs", "24")
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert "Did metadata help?" in output
    home = shared / "home"
    runs = [json.loads((path.parent / "config.json").read_text()) for path in home.glob("metaseg-store/runs/*/DONE")]
    assert len(runs) == 8
    assert {run["hardware"]["host"] for run in runs} == {"one", "two"}
    token = home / ".ray" / "auth_token"
    assert token.stat().st_mode & 0o777 == 0o600
    assert token.read_text().strip() not in output
    assert [node.processes() for node in nodes] == [[], []]
    assert [node.run("ls /tmp").split() for node in nodes] == [[], []]

    wrong = sbatch(nodes[0], "python", "studies/seven_cells.py", "--arms", "nonesuch")
    assert wrong.returncode == 2, "the study's own code"
