"""`metaseg COMMAND`: what each waits for, and how it says that it was misused."""

import json
import subprocess
import sys

from checkout import ROOT


def test_status_waits_for_neither_torch_nor_ray(tmp_path):
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "small.json").write_text(json.dumps({"name": "small", "runs": []}))
    code = (
        "import sys, metaseg.__main__\n"
        f"sys.argv = ['metaseg', 'status', {str(tmp_path)!r}]\n"
        "try: metaseg.__main__.main()\n"
        "finally: print('imported:', *{'ray', 'torch', 'pandas', 'numpy'} & set(sys.modules))"
    )
    status = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert status.returncode == 0, status.stderr
    assert "small" in status.stdout
    assert status.stdout.endswith("imported:\n")


def test_a_misused_command_is_one_line_and_code_2(tmp_path):
    for arguments, message in [
        (["submit"], "the command is missing; expected `metaseg submit -- python studies/seven_cells.py`"),
        (["submit", "--working-dir", str(tmp_path / "nowhere"), "--", "true"], "expected a folder"),
        (["status", str(tmp_path)], "has no study"),
    ]:
        misused = subprocess.run(
            [sys.executable, "-m", "metaseg", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        assert misused.returncode == 2, misused.stderr
        assert misused.stderr.startswith("error: ")
        assert message in misused.stderr
        assert misused.stderr.count("\n") == 1
