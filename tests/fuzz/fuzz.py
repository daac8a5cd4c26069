"""Fuzzing of readers by atheris, guided by which branches a file reaches: `python tests/fuzz/fuzz.py TARGET SECONDS`.

Files that reach something new are kept in tests/fuzz/corpus/TARGET, for the next time; a file that brings a reader to
anything but its own error is kept as tests/fuzz/found/TARGET-crash-... and ends the fuzzing.
"""

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent))

from metaseg.packages import install  # noqa: E402 (where it is was said just above)

try:
    import atheris
except ImportError:
    sys.exit(f"error: fuzzing needs another package: {install('fuzz')}")

with atheris.instrument_imports(include=["analysis", "metaseg"]):
    from targets import TARGETS

LONGEST = 60
"""Seconds for one file, after which it counts as found."""

MEMORY = 4096
"""Mebibytes, likewise."""


def main() -> None:
    """Fuzz a target from its seeds and what former times have kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("seconds", type=int)
    parser.add_argument("--folder", type=Path, default=HERE, help="of corpus and found (default: beside this file)")
    options = parser.parse_args()
    target = TARGETS[options.target]
    corpus, found = options.folder / "corpus" / options.target, options.folder / "found"
    for folder in (corpus, found):
        folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number:03}").write_bytes(seed)
    settings = {
        "max_total_time": options.seconds,
        "timeout": LONGEST,
        "rss_limit_mb": MEMORY,
        "artifact_prefix": f"{found}/{options.target}-",
        "max_len": 1 << 18,
        "print_final_stats": 1,
    }
    atheris.Setup([sys.argv[0], *(f"-{name}={value}" for name, value in settings.items()), str(corpus)], target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
