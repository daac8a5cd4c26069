"""The page on using it as a library: what it shows runs as it stands, in order, and is short."""

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from checkout import ROOT
from single_precision import in_single_precision

PAGE = ROOT / "docs" / "how-to" / "as-a-library.md"
SNIPPETS = dict(re.findall(r"^## ([^\n]+)\n(?:(?!^## ).)*?^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.M))


@pytest.fixture(scope="module")
def after(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> dict[str, Any]:
    """The page's variables after its snippets have run, one after the other."""
    names: dict[str, Any] = {}
    folder = tmp_path_factory.mktemp("notebook")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a tiny dataset
        patch.chdir(folder)
        for title, snippet in SNIPPETS.items():
            exec(compile(snippet, title, "exec"), names)
    return names | {"folder": folder}


def test_each_task_has_a_snippet_of_five_lines_or_fewer() -> None:
    titles = re.findall(r"^## (.+)$", PAGE.read_text(), re.M)
    assert list(SNIPPETS) == titles
    assert len(titles) == PAGE.read_text().count("```python")
    lengths = {title: sum(bool(line.strip()) for line in snippet.splitlines()) for title, snippet in SNIPPETS.items()}
    assert max(lengths.values()) <= 5, lengths


def test_the_pages_network_is_trained_and_its_study_is_done(after: dict[str, Any]) -> None:
    assert after["logits"].shape == (2, 1, 100, 130)
    assert list(pd.DataFrame(after["fitted"].history)["epoch"]) == [1, 2]
    assert not after["outcome"].failed
    assert len(after["outcome"].trained) == len(after["study"].runs) == 4


def test_the_pages_results_are_those_of_its_store(after: dict[str, Any]) -> None:
    assert after["results"].images["run_id"].nunique() == 4
    tests = after["tests"].set_index("subgroup")
    means = after["scores"].groupby("arm", observed=True)["score"].mean()
    assert tests.loc["Average", "difference"] == pytest.approx(means["sme"] - means["baseline"])
    assert isinstance(after["figure"], Figure)
    assert len(after["table"]) == 9


def test_the_pages_prediction_is_a_mask_and_its_export_takes_other_sizes(after: dict[str, Any]) -> None:
    assert after["mask"].shape == (64, 64)
    assert set(after["mask"].flat) <= {0, 1}
    assert after["probabilities"].shape == (2, 1, 64, 70)
    pixels, predictor = np.random.default_rng(0).integers(0, 256, (33, 50, 1), np.uint8), after["predictor"]
    told = {"cell_line": "HeLa"}
    image, metadata = torch.from_numpy(pixels).movedim(2, 0)[None].float(), torch.from_numpy(predictor.encode(told))
    with in_single_precision():
        expected = torch.from_numpy(predictor.probabilities(pixels, told))
    torch.testing.assert_close(after["program"](image=image, metadata=metadata)[0], expected, rtol=1e-4, atol=1e-4)


def test_what_the_page_trains_is_found_by_the_same_study_planned_anew(after: dict[str, Any]) -> None:
    study = after["study"]
    again = after["plan"]("cells", after["dataset"], ["baseline", "sme"], 2, after["network"], after["schedule"])
    assert again.missing(after["Store"].at(str(Path(after["folder"]) / "store"))) == ()
    assert again.runs == study.runs
