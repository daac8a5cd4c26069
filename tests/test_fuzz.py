"""Readers of files that others write refuse damaged ones by their own error: a little of what tests/fuzz does."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "fuzz"))

from targets import TARGETS, parquet_seeds  # noqa: E402

ROUNDS = int(os.environ.get("METASEG_FUZZ_ROUNDS", "2"))


def damaged(data: bytes, generator: random.Random) -> bytes:
    """A file cut, with bytes changed, or with a piece of it moved."""
    content = bytearray(data)
    kind = generator.randrange(4)
    if kind == 0:
        return bytes(content[: generator.randrange(len(content))])
    if kind == 1:
        start, end = sorted(generator.randrange(1, len(content) + 1) for _ in range(2))
        return bytes(content[:start] + content[end:] + content[start:end])
    for _ in range(generator.choice([1, 1, 3, 20])):
        place = generator.randrange(1, len(content)) if len(content) > 1 else 0
        content[place] = generator.choice([0, 255, generator.randrange(256), content[place] ^ 1])
    return bytes(content)


@pytest.mark.parametrize("name", TARGETS)
def test_readers_of_damaged_files_raise_nothing_but_their_own_error(name: str) -> None:
    target, generator = TARGETS[name], random.Random(0)
    for seed in target.seeds():
        target.run(seed)
        for _ in range(ROUNDS):
            target.run(damaged(seed, generator))


@pytest.mark.parametrize("name", TARGETS)
def test_what_fuzzing_has_found_stays_mended(name: str) -> None:
    for path in sorted((HERE / "fuzz" / "regressions").glob(f"{name}-*")):
        TARGETS[name].run(path.read_bytes())


def test_a_damaged_parquet_file_never_aborts_the_process(tmp_path: Path) -> None:
    """Threads of pyarrow that still read as the interpreter ends would: `terminate called without ...`, status -6."""
    whole = next(parquet_seeds())[1:]
    files = []
    for number in range(6):
        content = bytearray(whole)
        content[20 + 40 * number : 60 + 40 * number] = bytes(40)
        files.append(tmp_path / f"{number}.parquet")
        files[-1].write_bytes(content)
    code = (
        "import os, sys\n"
        "from analysis.__main__ import main\n"
        "codes = []\n"
        "for path in sys.argv[1:]:\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        sys.exit(main(['report', path, '--out', path + '-report']))\n"
        "    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        "print(*codes)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *map(str, files)], capture_output=True, text=True, check=True)
    codes = done.stdout.splitlines()[-1].split()
    assert len(codes) == len(files)
    assert set(codes) == {"1"}
    errors = done.stderr.splitlines()
    assert len(errors) == len(files)
    assert all(line.startswith(f"error: {tmp_path}/") and ".parquet: " in line for line in errors)
