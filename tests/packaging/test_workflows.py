"""Workflows of GitHub: what they run exists, what they use is pinned, and they may do no more than they need."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from checkout import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
MAY_WRITE = {"docs.yml": {"pages", "id-token"}, "publish.yml": {"id-token"}, "image.yml": {"packages"}}
"""Permissions to write that a workflow's jobs may have."""


def read(path: Path) -> dict[str, Any]:
    content = yaml.load(path.read_text(), Loader=yaml.BaseLoader)  # `on` is a key here, not a truth value
    assert isinstance(content, dict)
    return content


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in read(path)["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_to_commits_with_their_version_beside_them(path: Path) -> None:
    used = [line for line in path.read_text().splitlines() if re.match(r"\s*(- )?uses:", line)]
    assert len(used) == sum("uses" in step for step in steps(path)) > 0
    for line in used:
        assert re.fullmatch(r"\s*(- )?uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_read_and_its_jobs_write_only_what_they_need(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    written = {
        name
        for job in workflow["jobs"].values()
        for name, access in job.get("permissions", {}).items()
        if access == "write"
    }
    assert written == MAY_WRITE.get(path.name, set())
    assert all("timeout-minutes" in job for job in workflow["jobs"].values())
    checkouts = [step for step in steps(path) if "actions/checkout@" in step.get("uses", "")]
    assert all(step["with"]["persist-credentials"] == "false" for step in checkouts)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_commands_are_targets_and_files_that_exist(path: Path) -> None:
    for step in steps(path):
        command = step.get("run", "")
        assert "${{" not in command, f"{path.name}: text from outside would be run: {command}"
        for target in re.findall(r"\bmake ([\w-]+)", command):
            wanted = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, timeout=30)
            assert wanted.returncode == 0, wanted.stderr
        for script in re.findall(r"\bbash (\S+)", command):
            assert (ROOT / script).is_file()
        if file := step.get("with", {}).get("file"):
            assert (ROOT / file).is_file()


def test_continuous_integration_takes_the_versions_that_the_workflow_names() -> None:
    matrix = read(ROOT / ".github" / "workflows" / "test.yml")["jobs"]["versions"]["strategy"]["matrix"]["include"]
    assert {each["versions"] for each in matrix} == {"lowest", "highest"}
    for each in matrix:
        wanted = subprocess.run(
            ["make", "-n", f"test-{each['versions']}"], cwd=ROOT, capture_output=True, text=True, timeout=30
        )
        assert f"--resolution {each['versions']}" in wanted.stdout
        assert ".venv-" in wanted.stdout
        assert "pytest" in wanted.stdout


def test_forms_for_issues_ask_for_something_and_their_fields_have_names() -> None:
    forms = [path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml"]
    assert len(forms) == 3
    for path in forms:
        form = read(path)
        assert {"name", "description", "body"} <= form.keys()
        fields = [field for field in form["body"] if field["type"] != "markdown"]
        assert len({field["id"] for field in fields}) == len(fields)
        assert any(field.get("validations", {}).get("required") == "true" for field in fields)
        for mentioned in re.findall(r"`((?:docs|studies)/[\w/.-]+)`", path.read_text()):
            assert (ROOT / mentioned).is_file()


def test_hooks_before_a_commit_run_what_make_check_runs() -> None:
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    entries = [hook["entry"] for hook in local["hooks"]]
    check = subprocess.run(["make", "-n", "check"], cwd=ROOT, capture_output=True, text=True, timeout=30).stdout
    for tool in ("ruff check", "ruff format", "mypy"):
        assert any(f".venv/bin/{tool}" in entry for entry in entries)
        assert f".venv/bin/{tool}" in check
