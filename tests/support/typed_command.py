"""Commands as they are typed, in this process."""

import sys
from collections.abc import Callable

import pytest

from analysis.__main__ import main as analysis_main
from metaseg.__main__ import main as metaseg_main

MAINS: dict[str, Callable[[], object]] = {"metaseg": metaseg_main, "analysis": lambda: sys.exit(analysis_main())}


def typed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str, program: str = "metaseg"
) -> tuple[int, str, str]:
    """Exit code, standard output and error of a command."""
    monkeypatch.setattr(sys, "argv", [program, *arguments])
    with pytest.raises(SystemExit) as ended:
        MAINS[program]()
    out, err = capsys.readouterr()
    code = ended.value.code
    return code if isinstance(code, int) else int(code is not None), out, err
