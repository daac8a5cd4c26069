"""The page that compares mechanisms: all of them, each that is told metadata with its dummy."""

from pathlib import Path

from metaseg.networks.blocks import BLOCKS
from metaseg.networks.native import NATIVE
from metaseg.simulators.settings import SyntheticConfig
from metaseg.study.arms import find_arm
from studies.mechanisms import STUDY, TOLD, UNTOLD


def test_the_page_plans_every_mechanism_and_compares_each_with_its_dummy(tmp_path: Path) -> None:
    images = SyntheticConfig(size=64, images_per_line=3, wells_per_line=3)
    study = STUDY.plan(STUDY.options(synthetic=images, seeds=1, storage=str(tmp_path)))
    assert {run.config.block for run in study.runs} == set(BLOCKS) - {"se-matched"}, "a control, not a mechanism"
    assert {run.config.architecture.network for run in study.runs if run.config.architecture} == set(NATIVE)
    assert len({run.run_id for run in study.runs}) == len(study.runs) == len(UNTOLD) + 2 * len(TOLD)
    pairs = {(each.arm, each.reference): each.claim for each in study.comparisons}
    for arm in TOLD:
        assert pairs[arm, f"{arm}-dummy"] == pairs[arm, "baseline"] == "differs"
        same = find_arm(arm).network is None  # a dummy in another network needn't equal the baseline's
        assert pairs[f"{arm}-dummy", "baseline"] == ("equal" if same else "differs")
        assert find_arm(arm).design == find_arm(f"{arm}-dummy").design
