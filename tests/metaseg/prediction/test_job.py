"""Segmenting many images: what is written, what is kept, what fails."""

from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from analysis.scores.metrics import f1
from metaseg.config import ConfigError
from metaseg.data.mask_values import MaskValues
from metaseg.prediction import job
from metaseg.prediction.ensemble import Ensemble
from metaseg.prediction.job import Outcome, segment
from metaseg.prediction.requests import find_requests
from metaseg.prediction.results import KINDS, Results
from metaseg.store.storage import open_storage
from metaseg.terminal import Terminal
from planted_networks import member, planted

COUNT = 37
"""More than a window."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Random images of two sizes, references and a table of their lines."""
    generator = np.random.default_rng(0)
    rows = []
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for k in range(COUNT):
        pixels = generator.integers(0, 256, (9, 12) if k % 3 else (12, 9), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"images/{k:02d}.png")
        Image.fromarray((pixels > 150).astype(np.uint8) * np.uint8(255)).save(tmp_path / f"masks/{k:02d}.png")
        rows.append({"image": f"{k:02d}", "line": "abc"[k % 3]})
    pd.DataFrame(rows).to_csv(tmp_path / "lines.csv", index=False)
    return tmp_path


def run(
    folder: Path, ensemble: Ensemble, masks: bool = True, networks: str = "one", out: str = "out"
) -> tuple[Outcome, pd.DataFrame]:
    requests = find_requests(folder / "images", ensemble, {}, folder / "lines.csv", folder / "masks" if masks else None)
    results = Results.open(open_storage(str(folder / out)), {"networks": networks}, KINDS)
    outcome = segment(requests, ensemble, results, MaskValues(("cell",)), Terminal(quiet=True))
    return outcome, pd.read_csv(folder / out / "predictions.csv")


def test_each_image_gets_its_networks_mask_probabilities_and_scores(folder: Path) -> None:
    network = member(0.2, (0.7, 0.0, -0.7))
    outcome, table = run(folder, planted(network, member(0.4, name="other")))
    assert (outcome.done, outcome.before, outcome.failed) == (COUNT, 0, {})
    assert table["image"].tolist() == [f"{k:02d}.png" for k in range(COUNT)]
    for k in (0, 1, 36):
        pixels = np.asarray(Image.open(folder / f"images/{k:02d}.png"))[..., None]
        told = {"line": "abc"[k % 3]}
        expected = planted(network, member(0.4, name="other")).predict([pixels], [told])[0]
        mask = np.asarray(Image.open(folder / f"out/masks/{k:02d}.png"))
        np.testing.assert_array_equal(mask, expected.mask * 255)
        np.testing.assert_allclose(
            tifffile.imread(folder / f"out/probabilities/{k:02d}.tif").reshape(expected.probabilities.shape),
            expected.probabilities,
            rtol=1e-5,
        )
        reference = pixels[..., 0] > 150
        counts = [np.array([(one & other).sum()]) for one, other in
                  ((mask > 0, reference), (mask > 0, ~reference), (mask == 0, reference))]  # fmt: skip
        row = table.iloc[k]
        assert row[["tp", "fp", "fn"]].tolist() == [int(count[0]) for count in counts]
        assert row["f1"] == pytest.approx(f1(*counts)[0])
        assert row["area_px"] == (mask > 0).sum()
        assert row["meta_line"] == told["line"]
        assert row["disagreement"] == pytest.approx(expected.disagreement[0])  # type: ignore[index]


def test_an_image_whose_reference_and_mask_are_empty_has_f1_1(folder: Path) -> None:
    for file in (folder / "masks").iterdir():
        Image.fromarray(np.zeros_like(np.asarray(Image.open(file)))).save(file)
    assert run(folder, planted(member(99.0)))[1]["f1"].eq(1).all()
    assert run(folder, planted(member(0.0)), out="other")[1]["f1"].eq(0).all()


def test_an_interrupted_job_goes_on_where_it_was_and_gives_the_same(folder: Path) -> None:
    ensemble = planted(member(0.2, (0.7, 0.0, -0.7)))
    whole = run(folder, ensemble, out="whole")[1]
    predict, calls = Ensemble.predict, 0

    def killed(self: Ensemble, *arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return predict(self, *arguments)  # type: ignore[arg-type]

    with mock.patch.object(Ensemble, "predict", killed), pytest.raises(KeyboardInterrupt):
        run(folder, ensemble)
    outcome, table = run(folder, ensemble)
    assert 0 < outcome.before < COUNT
    assert outcome.before + outcome.done == COUNT
    pd.testing.assert_frame_equal(table, whole)
    assert run(folder, ensemble)[0] == Outcome(0, COUNT)


def test_what_has_changed_is_segmented_again(folder: Path) -> None:
    ensemble = planted(member(0.0, (3.0, 0.0, 0.0)))
    run(folder, ensemble)
    Image.fromarray(np.zeros((9, 12), np.uint8)).save(folder / "images/01.png")
    (folder / "out/masks/02.png").unlink()
    rows = pd.read_csv(folder / "lines.csv", dtype=str)
    rows.loc[4, "line"] = "a"
    rows.to_csv(folder / "lines.csv", index=False)
    outcome, _ = run(folder, ensemble)
    assert outcome.done == 3
    assert (folder / "out/masks/02.png").is_file()


def test_predictions_of_other_networks_are_not_mixed(folder: Path) -> None:
    run(folder, planted())
    with pytest.raises(ConfigError, match=r"holds predictions with other networks \(one, not other\)"):
        run(folder, planted(), networks="other")


def test_an_image_that_cannot_be_read_is_named_and_the_others_are_segmented(folder: Path) -> None:
    (folder / "images/05.png").write_bytes(b"no image")
    Image.fromarray(np.zeros((3, 3), np.uint8)).save(folder / "masks/06.png")
    outcome, table = run(folder, planted())
    assert outcome.failed.keys() == {"05.png", "06.png"}
    assert "05.png: unreadable image" in outcome.failed["05.png"]
    assert "is 3x3 (width x height); expected 9x12" in outcome.failed["06.png"]
    assert outcome.done == COUNT - 2
    assert len(table) == COUNT - 2


def test_results_can_be_in_a_bucket(folder: Path) -> None:
    requests = find_requests(folder / "images", planted(), {}, folder / "lines.csv")
    results = Results.open(open_storage(f"memory://bucket/{folder.name}"), {}, ["masks"])
    segment(requests, planted(), results, MaskValues(("cell",)), Terminal(quiet=True))
    assert len(results.storage.names("masks")) == COUNT


def test_images_of_another_folder_with_equal_names_are_refused_and_others_join_the_table(folder: Path) -> None:
    run(folder, planted())
    other = folder / "other" / "images"
    other.mkdir(parents=True)
    (folder / "images/00.png").rename(other / "00.png")
    (folder / "images/01.png").rename(other / "new.png")
    results = Results.open(open_storage(str(folder / "out")), {"networks": "one"}, KINDS)
    requests = find_requests(other, planted(), {"line": "a"})
    with pytest.raises(
        ConfigError, match=r"holds 00 of images in .*images; expected another folder for those in .*other"
    ):
        segment(requests, planted(), results, MaskValues(("cell",)), Terminal(quiet=True))
    segment(requests[1:], planted(), results, MaskValues(("cell",)), Terminal(quiet=True))
    names = pd.read_csv(folder / "out/predictions.csv")["image"]
    assert len(names) == COUNT + 1
    assert names.iloc[-1] == "new.png"


def test_a_changed_mask_of_one_object_is_noticed(folder: Path) -> None:
    """References may be folders with a file for each object."""
    for file in list((folder / "masks").iterdir()):
        (folder / "masks" / file.stem).mkdir()
        file.rename(folder / "masks" / file.stem / "1.png")
    before = run(folder, planted())[1]["f1"]
    Image.fromarray(np.zeros((12, 9), np.uint8)).save(folder / "masks/00/1.png")
    outcome, table = run(folder, planted())
    assert outcome.done == 1
    assert table["f1"][0] < before[0]


def test_large_images_are_decoded_few_at_a_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = find_requests(folder / "images", planted(), {}, folder / "lines.csv")
    assert [len(part) for part in job._windows(requests)] == [32, 5]
    monkeypatch.setattr(job, "WINDOW_PIXELS", 250)
    assert {len(part) for part in job._windows(requests)} == {1, 2}
    assert [each for part in job._windows(requests) for each in part] == requests
