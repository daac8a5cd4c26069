"""The benchmarks run, at a tiny size; the regression check fails where training has become slow."""

import json
import re
import subprocess
import sys
import time

import pytest
import torch
from torch.nn.modules.module import register_module_forward_hook

import metaseg.device
from benchmarks.performance_page import PAGE, load, written
from benchmarks.scale import curve, imported
from benchmarks.training import capacity, check, trainers
from benchmarks.training.accuracy import final_scores
from benchmarks.training.bare import Arithmetic, BareLoop
from benchmarks.training.capacity import Peak, flops, packing, sizes
from benchmarks.training.contender import Lap, NotMeasuredError, closest_width
from benchmarks.training.ivadomed_peer import VARIABLE, IvadomedPeer
from benchmarks.training.operators import profiles
from benchmarks.training.ours import Ours
from benchmarks.training.parallel import rate
from benchmarks.training.rounds import Spread, interleaved, ratios
from benchmarks.training.throughput import blocks, evaluation, training
from benchmarks.training.trainers import OURS
from benchmarks.training.work import Size, Work, make_work
from checkout import ROOT
from metaseg.config import NetworkConfig
from metaseg.networks.blocks import BLOCKS
from metaseg.training import fit as fitting
from metaseg.training import step as training_step

TINY = Size(side=64, images=42, network=NetworkConfig(width=2, depth=2), batch=8, crop=32)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    return make_work(tmp_path_factory.mktemp("work"), TINY, torch.device("cpu"), torch.get_num_threads())


def quiet(line: str) -> None:
    """No progress."""


def test_every_trainer_is_measured_beside_the_bare_loop_or_says_what_it_needs(work, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    names = [OURS, "textbook float32", "MONAI bfloat16", "ivadomed"]
    rows = {row["name"]: row for row in training(work, names, 1, False, quiet)}
    assert {"bare float32 NCHW", "bare bfloat16 channels last", *names} <= set(rows)
    assert VARIABLE in rows["ivadomed"]["not_measured"]
    assert rows[OURS]["limit"] in rows
    assert rows["MONAI bfloat16"]["limit"] == "bare bfloat16 NCHW"
    assert rows[OURS]["parameters"] == rows["textbook float32"]["parameters"] == rows["bare float32 NCHW"]["parameters"]
    assert 0 < rows[OURS]["validation_share"]["median"] < 1
    bare = [row["ratio_to_fastest"]["median"] for name, row in rows.items() if name.startswith("bare")]
    assert max(bare) == 1
    json.dumps(rows)


def test_evaluation_is_measured_beside_the_bare_forward_pass(work):
    rows = {row["name"]: row for row in evaluation(work, 1, quiet)}
    assert rows[OURS]["limit"] == rows[f"{OURS}, within training"]["limit"] in rows
    assert all(row["images_per_second"]["median"] > 0 for row in rows.values())


def test_blocks_are_measured_beside_a_network_without_any(work):
    rows = {row["name"]: row for row in blocks(work, 1, quiet)}
    assert set(rows) == set(BLOCKS)
    assert rows["none"]["ratio_to_none"]["median"] == 1
    assert rows["sme"]["parameters"] > rows["none"]["parameters"]


def test_trainers_end_with_a_score_for_each_seed(work):
    rows = final_scores(work, [OURS, "textbook float32"], 2, 2, quiet)
    assert [row["name"] for row in rows] == [OURS, "textbook float32"]
    assert all(len(row["f1_by_seed"]) == 2 and 0 <= row["f1"] <= 1 for row in rows)


def test_our_training_keeps_still_between_laps_and_can_be_ended_early(work):
    ours = Ours(work, work.config(epochs=50))
    first = ours.lap()
    time.sleep(0.2)
    assert ours._news.empty()
    assert first.images == ours.lap().images == work.crops
    ours.close()
    assert not ours._thread.is_alive()


def test_what_stops_our_training_reaches_the_caller(work):
    ours = Ours(work, work.config(lr_min=1e30, lr_max=1e38))
    with pytest.raises(fitting.DivergedError):
        ours.lap()
    ours.close()


class Fixed:
    """A contender whose rates are known; it leaves cuDNN's switch as it wants it."""

    def __init__(self, seconds: list[float], deterministic: bool) -> None:
        self.seconds, self.deterministic, self.found = iter(seconds), deterministic, []

    def lap(self) -> Lap:
        self.found.append(torch.backends.cudnn.deterministic)
        torch.backends.cudnn.deterministic = self.deterministic
        return Lap(10, next(self.seconds))

    def close(self) -> None:
        """Nothing to let go of."""


def test_laps_are_compared_within_a_round_and_the_first_one_is_left_out(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    slow, fast = Fixed([99, 2, 4, 8], True), Fixed([77, 1, 2, 4], False)
    laps = interleaved({"slow": slow, "fast": fast}, 3)
    assert ratios(laps["slow"], laps["fast"]) == [0.5, 0.5, 0.5]
    assert Spread.of([1, 2, 3, 4, 5]) == Spread(2, 3, 4)
    assert slow.found == [False, True, True, True]
    assert fast.found == [False] * 4


def test_peers_widths_are_those_with_the_closest_number_of_parameters():
    assert closest_width(lambda width: width**2, 24) == 5
    assert closest_width(lambda width: width**2, 19) == 4


def test_ivadomed_that_isnt_there_says_how_it_is_named(work, monkeypatch):
    monkeypatch.setenv(VARIABLE, "/nowhere/python")
    with pytest.raises(NotMeasuredError, match=r"METASEG_BENCH_IVADOMED must name .*, and /nowhere/python is no file"):
        IvadomedPeer(work, 0, 1, 1000, "flips")


def test_a_peer_process_that_fails_says_why(work, monkeypatch):
    """Here, an interpreter that has no ivadomed."""
    monkeypatch.setenv(VARIABLE, sys.executable)
    with pytest.raises(RuntimeError, match="ivadomed's process failed at 'start': it ended with exit code 1"):
        IvadomedPeer(work, 0, 1, 1000, "flips")


@pytest.mark.slow  # beside other work it is too noisy for the default suite
def test_the_check_fails_on_a_slow_down_and_passes_without(work, monkeypatch, tmp_path):
    committed = tmp_path / "check.json"
    check.record(check.measure(work, work, 3), committed)
    content = json.loads(committed.read_text())
    tolerances = dict.fromkeys(content["tolerances"], 0.7)  # at this size, a ratio is mostly noise
    committed.write_text(json.dumps(content | {"tolerances": tolerances}))
    check.check(lambda: check.measure(work, work, 3), committed)

    batches = fitting.epoch_batches

    def sleepy(*arguments, **settings):
        for batch in batches(*arguments, **settings):
            time.sleep(0.3)
            yield batch

    monkeypatch.setattr(fitting, "epoch_batches", sleepy)
    with pytest.raises(check.SlowerError, match=r"check.json says.*: training runs at 0\.\d+ .*expected at least"):
        check.check(lambda: check.measure(work, work, 2), committed)


def test_training_and_evaluation_are_as_close_to_their_limits_as_is_committed():
    """The regression check itself, in a process that nothing else has run in."""
    # With one thread each, so that none waits for another's that other tests keep from running.
    command = [sys.executable, "-m", "benchmarks.training", "--check", "--threads", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_shows_the_committed_figures():
    page, figures = PAGE.read_text(), load()
    assert written(page, figures) == page
    rows = {row["name"]: row for row in figures["throughput"]["figures"]}
    for claim in (
        rows[OURS]["ratio"],
        rows["ivadomed"]["ours_is_faster_by"],
        rows["MONAI float32"]["ours_is_faster_by"],
    ):
        assert f"**{claim['median']:.2f}**" in page
    for figure in re.findall(r"\]\((figures/[^)]+)\)", page):
        assert (PAGE.parent / figure).exists()


def test_a_ratio_that_is_low_once_is_measured_again(tmp_path):
    committed = tmp_path / "check.json"
    check.record({"training": 0.9, "evaluation": 0.9}, committed)
    measured = iter([{"training": 0.5, "evaluation": 0.9}, {"training": 0.8, "evaluation": 0.1}])
    assert check.check(lambda: next(measured), committed) == {"training": 0.8, "evaluation": 0.9}
    with pytest.raises(check.SlowerError, match=r"evaluation runs at 0\.100 .*expected at least 0\.720"):
        check.check(lambda: {"training": 0.9, "evaluation": 0.1}, committed)


def test_a_curve_has_the_exponent_of_its_growth():
    points = [{"images": n, "open": {"median": 3e-6 * n**1.5}} for n in (100, 1000, 10_000)]
    assert curve(points, "images", ["open"])["exponents"]["open"] == pytest.approx(1.5)
    assert curve(points[:1], "images", ["open"])["exponents"]["open"] is None


def test_import_time_is_what_comes_after_the_interpreters_own():
    log = """import time: self [us] | cumulative | imported package
import time:       900 |        900 |   encodings
import time:       100 |       1000 | site
import time:       200 |        200 |   json
import time:       300 |        500 | metaseg
"""
    assert imported(log) == pytest.approx(500e-6)


@pytest.mark.parametrize("full_precision", [True, False])
def test_ours_is_compared_with_bare_loops_that_compute_as_it_may(work, monkeypatch, full_precision):
    """`QUICK_STEPS` is above 300, so that the arithmetic is measured."""
    seen, layouts = [], []
    losses = training_step.supervised_loss
    monkeypatch.setattr(
        training_step, "supervised_loss", lambda logits, *target: seen.append(logits.dtype) or losses(logits, *target)
    )

    def note(module, inputs, output):
        # Validation, which is another computation, has no gradients; maps of one pixel lie both ways.
        if isinstance(module, torch.nn.Conv2d) and output.requires_grad and output[0, 0].numel() > 1 < output.shape[1]:
            layouts.append(output.is_contiguous(memory_format=torch.channels_last))

    monkeypatch.setattr(metaseg.device, "half_precision", lambda device: torch.bfloat16)
    ours = Ours(work, work.config(), full_precision)
    with register_module_forward_hook(note):
        ours.lap()
    ours.close()
    limits = {
        (each.dtype, each.channels_last)
        for each in trainers.limits_of("ours float32" if full_precision else OURS, work.device)
    }
    assert len(limits) == (2 if full_precision else 4)
    assert len(set(layouts[-10:])) == 1
    assert (str(seen[-1]).removeprefix("torch."), layouts[-1]) in limits


def test_the_check_fails_where_a_better_arithmetic_exists_and_is_not_used(work, monkeypatch, tmp_path):
    """As on a machine where the choice is wrong: the loop with the other memory format is made fast."""
    usual = trainers.usual_limit(work.device)
    lap = BareLoop.lap

    def faster(loop):
        found = lap(loop)
        return Lap(found.images, found.seconds / (1 if loop.arithmetic == usual else 100))

    monkeypatch.setattr(check, "chosen_arithmetic", lambda work: usual)
    monkeypatch.setattr(BareLoop, "lap", faster)
    with pytest.raises(
        check.SlowerError, match=r"arithmetic runs at 0\.0\d+ of the bare loop's speed; expected at least 0\.88"
    ):
        check.check(lambda: check.measure(work, work, 1))


def test_the_papers_sizes_are_a_share_of_the_devices_peak():
    (row,) = sizes([TINY], torch.device("cpu"), 1, 1, Peak(side=256, products=2))
    json.dumps(row)
    assert row["side"] == TINY.crop
    assert row["memory"] is None
    # So small a network is slow, but does something.
    assert 0 < row["share_of_peak"]["median"] < 1


def test_a_size_that_doesnt_fit_is_said_and_others_are_measured(monkeypatch):
    memory = iter([torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), None])

    def take(work):
        if error := next(memory):
            raise error

    monkeypatch.setattr(capacity, "_memory", take)
    rows = sizes([TINY, TINY], torch.device("cpu"), 1, 1, Peak(side=256, products=2))
    assert rows[0]["not_measured"] == "CUDA out of memory"
    assert rows[1]["ratio"]["median"] > 0


def test_flops_are_those_of_the_networks_convolutions(work):
    """Against a count by hand: a layer's backward pass does its forward pass's products once for each gradient."""
    loop, counted = BareLoop(work, Arithmetic()), []

    def count(layer, inputs, output):
        places = {torch.nn.Linear: len(output), torch.nn.ConvTranspose2d: inputs[0][:, 0].numel()}
        if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            forward = 2 * layer.weight.numel() * places.get(type(layer), output[:, 0].numel())
            counted.append(forward * (2 + inputs[0].requires_grad))

    with register_module_forward_hook(count):
        found = flops(loop)
    assert found == pytest.approx(sum(counted) / (work.steps * TINY.batch))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_sizes_and_packing_are_measured_on_a_gpu(tmp_path):
    device = torch.device("cuda")
    (row,) = sizes([TINY], device, 1, 1, Peak(side=1024, products=2))
    assert row["memory"] > 0
    assert 0 < row["share_of_peak"]["median"] < 1
    work = make_work(tmp_path, TINY, device, 1)
    rows = packing(work, (1, 2), epochs=4, rounds=1)
    assert all(each["images_per_second"]["median"] > 0 for each in rows)
    assert sum(row["share"] for row in profiles(work) if row["of"] == "training") == pytest.approx(1)


def test_packed_runs_are_each_a_process_on_the_same_device(work):
    rows = packing(work, (1, 2), epochs=4, rounds=1)
    assert [row["runs"] for row in rows] == [1, 2]
    assert all(row["images_per_second"]["median"] > 0 for row in rows)


def test_runs_side_by_side_are_timed_from_when_all_have_begun_until_the_last_is_done(work, tmp_path, monkeypatch):
    """Stand-ins for the processes: what they would have written."""

    def spawned(function, arguments, nprocs):
        folder = arguments[5]
        for rank, times in enumerate([[100.0, 103.0], [101.0, 105.0]]):
            (folder / f"{rank}.json").write_text(json.dumps(times))

    monkeypatch.setattr(torch.multiprocessing, "spawn", spawned)
    config = work.config(epochs=5)
    assert rate(work, config, 2, together=False, device="cpu") == pytest.approx(2 * 3 * work.crops / 5)
    assert rate(work, config, 2, together=True, device="cpu") == pytest.approx(3 * work.crops / 5)


def test_operators_shares_add_up(work):
    rows = profiles(work)
    json.dumps(rows)
    for part in ("training", "evaluation"):
        shares = [row["share"] for row in rows if row["of"] == part]
        assert sum(shares) == pytest.approx(1)
        assert any("conv" in row["operator"] for row in rows if row["of"] == part)


def test_the_bare_loop_trains_on_whole_batches(work):
    loop = BareLoop(work, Arithmetic())
    before = [weights.clone() for weights in loop.model.parameters()]
    assert loop.lap().images == work.steps * TINY.batch
    assert any(not torch.equal(old, new) for old, new in zip(before, loop.model.parameters(), strict=True))
