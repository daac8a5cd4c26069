"""Search spaces: what can't be searched is refused at once; what can always gives settings that can be."""

import math
import re
from dataclasses import asdict, replace

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.samplers import RandomSampler
from optuna.trial import FixedTrial

from metaseg.config import ConfigError, NetworkConfig, ScheduleConfig
from metaseg.study.arms import ARMS, find_arm
from metaseg.sweeps.dimensions import Choice, Dimension, Float, Integer
from metaseg.sweeps.settings import parse_dimension
from metaseg.sweeps.space import Space
from metaseg.sweeps.spaces import BOTTLENECK_SPACE, NETWORK_SPACE, SCHEDULE_SPACE

SPACES = {"schedule": SCHEDULE_SPACE, "bottleneck": BOTTLENECK_SPACE, "network": NETWORK_SPACE}
SHAPE = Choice("shape", ("cyclic", "cosine"))

BAD = {
    "nothing": ((), "the space has no dimension; expected at least one"),
    "no such setting": ((Float("lr_maxx", 1e-4, 1e-2),), r"'lr_maxx' is no setting \(did you mean 'lr_max'\?\); known"),
    "far from any setting": ((Integer("zzz", 1, 2),), "'zzz' is no setting; known: width, "),
    "twice": ((Integer("depth", 1, 2), Choice("depth", (3,))), "'depth' is there twice"),
    "a range of fractions for a count": ((Float("depth", 1, 2),), "'depth' is a range of any numbers; expected whole"),
    "a range for names": ((Integer("shape", 1, 2),), "'shape' is a range of whole numbers; expected some of cyclic"),
    "counts for a rate": ((Integer("lr_max", 1, 2),), "'lr_max' is a range of whole numbers; expected numbers"),
    "a low end that can't be": ((Integer("width", 0, 8),), "'width': width is 0; expected at least 1 channel"),
    "a high end that can't be": ((Float("lr_max", -1.0, 1.0),), "'lr_max' has -1.0; expected above 0"),
    "an unknown name": ((Choice("shape", ("cyclic", "round")),), "'shape' has 'round'; expected some of cyclic, "),
    "a fraction for a count": ((Choice("depth", (2, 2.5)),), "'depth' has 2.5; expected whole numbers"),
    "truth for a count": ((Choice("depth", (True,)),), "'depth' has True; expected whole numbers"),
    "an unknown position": ((Choice("positions", (("encoder", "top"),)),), "'encoder', 'top'.*joined by +"),
    "a position that isn't in a tuple": ((Choice("positions", ("encoder",)),), "'positions' has 'encoder'; expected"),
    "a condition on nothing": ((Integer("cycles", 1, 8, when=("shape", ("cyclic",))),), "on 'shape'; .*there is none"),
    "a condition on what comes later": (
        (Integer("depth", 1, 2), Integer("cycles", 1, 8, when=("shape", ("cyclic",))), SHAPE),
        "'cycles' depends on 'shape'; expected an earlier dimension: depth",
    ),
    "a condition on no value": ((SHAPE, Integer("cycles", 1, 8, when=("shape", ("round",)))), "on 'shape', .*'round'"),
    "rates that cross": (
        (Float("lr_min", 1e-5, 2e-3), Float("lr_max", 1e-3, 1e-2)),
        "lr_min is searched up to 0.002 and lr_max down to 0.001",
    ),
    "rates that cross in choices": (
        (Choice("lr_max", (1e-2, 1e-4)), Choice("lr_min", (1e-5, 1e-3))),
        "lr_min is searched up to 0.001 and lr_max down to 0.0001",
    ),
}  # fmt: skip


@pytest.mark.parametrize("why", BAD)
def test_a_space_that_cant_be_is_refused_when_it_is_made(why: str):
    dimensions, message = BAD[why]
    with pytest.raises(ConfigError, match=message):
        Space(dimensions)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Float("lr_max", 1e-2, 1e-4), "'lr_max' goes from 0.01 to 0.0001; expected numbers, the first at most"),
        (lambda: Integer("depth", 4, 2), "'depth' goes from 4 to 2"),
        (
            lambda: Float("lr_max", 0.0, 1.0, log=True),
            "'lr_max' goes from 0.0 to 1.0 by orders of magnitude; .*above 0",
        ),
        (lambda: Integer("depth", 0, 4, log=True), "'depth' goes from 0 to 4 by orders of magnitude"),
        (lambda: Float("lr_max", math.nan, 1.0), "'lr_max' goes from nan"),
        (lambda: Float("lr_max", 1.0, math.inf), "to inf; expected numbers"),
        (lambda: Integer("width", 8, 20, step=8), "'width' goes from 8 to 20 by steps of 8; expected steps"),
        (lambda: Integer("width", 8, 16, step=0), "by steps of 0; expected steps of at least 1"),
        (lambda: Integer("width", 8, 16, log=True, step=8), "'width' has log and steps of 8; expected one"),
        (lambda: Choice("shape", ()), "'shape' has no values; expected at least one"),
        (lambda: Choice("depth", (2, 3, 2)), "'depth' has values .*; expected each only once"),
    ],
)
def test_a_dimension_that_cant_be_is_refused_when_it_is_made(make, message: str):
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_space_is_checked_against_the_settings_that_it_leaves_alone():
    base = NetworkConfig(), ScheduleConfig(lr_min=2e-4, lr_max=8e-4)
    with pytest.raises(ConfigError, match=r"lr_min, where it isn't searched, is 0.0002 and lr_max is down to 0.0001;"):
        Space((Float("lr_max", 1e-4, 1e-2),)).check(*base)
    with pytest.raises(ConfigError, match=r"lr_min is searched up to 0.001 and lr_max, where it isn't, is 0.0008;"):
        Space((Float("lr_min", 1e-4, 1e-3),)).check(*base)
    sometimes = Float("lr_min", 1e-6, 1e-5, when=("shape", ("cosine",)))
    with pytest.raises(ConfigError, match=r"lr_min, where it isn't searched, is 0.0002 and lr_max is down to 0.0001;"):
        Space((SHAPE, sometimes, Float("lr_max", 1e-4, 1e-2))).check(*base)
    for space in SPACES.values():
        space.check(*base)


def test_one_value_may_be_both_ends():
    space = Space((Integer("depth", 3, 3), Float("lr_max", 1e-3, 1e-3, log=True)))
    assert space.grid(None) == [{"depth": 3, "lr_max": 1e-3}]
    assert space.suggest(optuna.create_study().ask()) == {"depth": 3, "lr_max": 1e-3}


def numbers(name: str, low: float, high: float) -> st.SearchStrategy[Dimension]:
    """Ranges of a setting that lie from `low` to `high`."""
    pairs = st.tuples(st.floats(low, high), st.floats(low, high)).map(sorted)
    return st.builds(lambda ends, log: Float(name, ends[0], ends[1], log), pairs, st.booleans())


def counts(name: str, low: int, high: int) -> st.SearchStrategy[Dimension]:
    def make(start: int, step: int, steps: int, log: bool) -> Dimension:
        end = start + steps * step if start + steps * step <= high else start
        return Integer(name, start, end, log=True) if log else Integer(name, start, end, step=step)

    return st.builds(make, st.integers(low, high), st.integers(1, 4), st.integers(0, 9), st.booleans())


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    """Spaces of some settings, one of which depends on another."""
    shapes = draw(st.lists(st.sampled_from(["cyclic", "one-cycle", "cosine", "constant"]), min_size=1, unique=True))
    when = ("shape", tuple(draw(st.lists(st.sampled_from(["cyclic", "constant"]), min_size=1, unique=True))))
    cycles = draw(counts("cycles", 1, 20))
    assert isinstance(cycles, Integer)
    dimensions: list[Dimension] = [
        Choice("shape", tuple(shapes)),
        Integer("cycles", cycles.low, cycles.high, cycles.log, cycles.step, when=when),
    ]
    others = [
        numbers("lr_min", 1e-8, 1e-4),
        numbers("lr_max", 1e-3, 1.0),
        counts("epochs", 1, 50),
        counts("width", 1, 64),
        st.just(Choice("positions", (("encoder",), ("encoder", "decoder"), ("bottleneck",)))),
        st.just(Choice("embedding", (0, 4))),
    ]
    for other in others:
        if draw(st.booleans()):
            dimensions.append(draw(other))
    return Space(tuple(dimensions))


@settings(max_examples=60, deadline=None)
@given(space=spaces(), seed=st.integers(0, 2**16))
def test_whatever_is_suggested_gives_settings_that_can_be(space: Space, seed: int):
    trial = optuna.create_study(sampler=RandomSampler(seed=seed)).ask()
    params = space.suggest(trial)
    network, schedule = space.settings(params, NetworkConfig(), ScheduleConfig())
    chosen = {**asdict(network), **asdict(schedule)}
    assert params == trial.params
    for name, value in params.items():
        assert chosen[name] == (tuple(value.split("+")) if name == "positions" else value)
    untouched = {**asdict(NetworkConfig()), **asdict(ScheduleConfig())}
    assert all(chosen[name] == untouched[name] for name in chosen.keys() - params.keys())
    assert ("cycles" in params) == (params["shape"] in space.dimensions[1].when[1])


@settings(max_examples=60, deadline=None)
@given(space=spaces(), points=st.integers(1, 4))
def test_members_of_a_grid_are_distinct_and_can_be_suggested(space: Space, points: int):
    rows = space.grid(points)
    assert len({frozenset(row.items()) for row in rows}) == len(rows)
    for row in rows[:: max(1, len(rows) // 20)]:
        assert space.suggest(FixedTrial(row)) == row
        space.settings(row, NetworkConfig(), ScheduleConfig())


@settings(max_examples=60, deadline=None)
@given(space=spaces())
def test_a_dimension_as_a_string_is_what_a_command_line_gives(space: Space):
    texts = [str(dimension) for dimension in space.dimensions]
    names = [dimension.name for dimension in space.dimensions]
    read = [parse_dimension(name, text.partition("=")[2], None) for name, text in zip(names, texts, strict=True)]
    assert read == [replace(dimension, when=None) for dimension in space.dimensions]


@settings(max_examples=60, deadline=None)
@given(space=spaces(), share=st.floats(0, 1))
def test_any_share_of_a_dimension_is_a_value_of_it(space: Space, share: float):
    for dimension in space.dimensions:
        value = dimension.at(share)
        assert dimension.distribution._contains(dimension.distribution.to_internal_repr(value))
        if isinstance(dimension, Float | Integer):
            assert dimension.at(dimension.share(value)) == pytest.approx(value)


def test_uniform_shares_give_every_whole_number_its_due():
    steps = Integer("width", 8, 32, step=8)
    assert [steps.at(share) for share in (0, 0.24, 0.26, 0.74, 0.76, 1)] == [8, 8, 16, 24, 32, 32]
    log = Integer("reduction", 1, 32, log=True)
    drawn = [log.at((i + 0.5) / 6000) for i in range(6000)]
    expected = math.log(1.5 / 0.5) / math.log(32.5 / 0.5)
    assert drawn.count(1) / 6000 == pytest.approx(expected, abs=1e-3)


def test_a_grid_is_geometric_where_orders_of_magnitude_count():
    space = Space((Float("lr_max", 1e-4, 1e-2, log=True), Integer("epochs", 10, 90, step=10)))
    rows = space.grid(3)
    assert sorted({row["lr_max"] for row in rows}) == pytest.approx([1e-4, 1e-3, 1e-2])
    assert sorted({row["epochs"] for row in rows}) == [10, 50, 90]
    assert len(Space((Integer("epochs", 1, 64, log=True),)).grid(None)) == 64
    assert [row["epochs"] for row in Space((Integer("epochs", 1, 64, log=True),)).grid(3)] == [1, 8, 64]
    assert Space((Float("lr_max", 1e-4, 1e-2, log=True),)).grid(1) == [{"lr_max": pytest.approx(1e-3)}]


def test_a_grid_holds_a_conditional_dimension_only_where_it_exists():
    space = Space((SHAPE, Integer("cycles", 1, 2, when=("shape", ("cyclic",))), Choice("batch_size", (4, 8))))
    rows = space.grid(None)
    assert len(rows) == 2 * 2 + 2
    assert all(("cycles" in row) == (row["shape"] == "cyclic") for row in rows)


def test_a_grid_of_a_range_needs_points():
    with pytest.raises(ConfigError, match="'lr_max' is a range of any numbers; expected a number of grid points"):
        Space((Float("lr_max", 1e-4, 1e-2),)).grid(None)
    with pytest.raises(ConfigError, match="number of grid points is 0; expected at least 1"):
        Space((Float("lr_max", 1e-4, 1e-2),)).grid(0)


def test_dimensions_are_changed_as_a_command_line_says():
    space = SCHEDULE_SPACE.changed(["lr_max=1e-3..1e-2", "shape=cosine,cyclic", "cycles=2..4", "width=8..64:step=8"])
    by_name = {dimension.name: dimension for dimension in space.dimensions}
    assert by_name["lr_max"] == Float("lr_max", 1e-3, 1e-2, log=True), "orders of magnitude count as they did"
    assert by_name["shape"] == Choice("shape", ("cosine", "cyclic"))
    assert by_name["cycles"] == Integer("cycles", 2, 4, when=("shape", ("cyclic",)))
    assert space.dimensions[-1] == Integer("width", 8, 64, step=8)
    assert [dimension.name for dimension in space.dimensions[:-1]] == [one.name for one in SCHEDULE_SPACE.dimensions]
    linear = SCHEDULE_SPACE.changed(["lr_max=0.001..0.01:linear", "weight_decay=0,1e-4", "epochs=8"])
    by_name = {dimension.name: dimension for dimension in linear.dimensions}
    assert by_name["lr_max"] == Float("lr_max", 0.001, 0.01)
    assert by_name["weight_decay"] == Choice("weight_decay", (0.0, 1e-4))
    assert by_name["epochs"] == Choice("epochs", (8,))
    positions = BOTTLENECK_SPACE.changed(["positions=encoder+decoder,bottleneck"]).dimensions[3]
    assert positions == Choice("positions", (("encoder", "decoder"), ("bottleneck",)))
    assert SCHEDULE_SPACE.changed(["lr_min=1e-7..1e-6:log"]).changed([]).dimensions[2].distribution.low == 1e-7


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("lr_max", "'lr_max'; expected NAME=LOW..HIGH or NAME=VALUE,VALUE"),
        ("lr_max=", "'lr_max='; expected NAME"),
        ("lr_mox=1..2", "'lr_mox' is no setting (did you mean 'lr_max'?)"),
        ("lr_max=fast", "'lr_max' has 'fast'; expected numbers"),
        ("lr_max=1e-2..1e-3", "goes from 0.01 to 0.001; expected numbers, the first at most the second"),
        ("lr_max=0..1", "'lr_max' goes from 0.0 to 1.0 by orders of magnitude; expected both above 0"),
        ("lr_max=1e-3..1e-2:logg", "expected log or linear after the colon"),
        ("lr_max=1e-3:log", "expected log after a range only"),
        ("lr_max=1e-5..1e-2", "lr_min is searched up to 0.0002 and lr_max down to 1e-05"),
        ("depth=2..4.5", "'depth' has '4.5'; expected whole numbers"),
        ("depth=2..4:step=x", "'depth' has 'x'; expected whole numbers"),
        ("depth=2..4:step", "'depth' has ''; expected whole numbers"),
        ("epochs=4..12:log:step=2", "'epochs' has log and steps of 2; expected one of the two"),
        ("depth=0..4", "depth is 0; expected at least 1"),
        ("shape=cyclic,round", "'shape' has 'round'; expected some of cyclic, one-cycle, cosine, constant"),
        ("shape=1..2", "'shape' is the range '1..2'; expected some of cyclic"),
        ("shape=cyclic,cyclic", "expected each only once"),
        ("positions=encoder+top", "expected some of encoder, bottleneck, decoder, joined by +"),
    ],
)
def test_a_command_line_that_cant_be_is_refused(override: str, message: str):
    with pytest.raises(ConfigError, match=re.escape(message)):
        SCHEDULE_SPACE.changed([override])


def test_a_setting_is_given_once():
    with pytest.raises(ConfigError, match="'depth' is given twice"):
        SCHEDULE_SPACE.changed(["depth=2..4", "depth=3"])


def names(space: Space) -> set[str]:
    return {dimension.name for dimension in space.dimensions}


def test_arms_search_only_what_means_something_to_them():
    assert names(BOTTLENECK_SPACE.for_arm(find_arm("sme"))) == names(BOTTLENECK_SPACE)
    assert names(BOTTLENECK_SPACE.for_arm(find_arm("sme-dummy"))) == names(BOTTLENECK_SPACE)
    for arm in ("baseline", "heads", "baseline-matched"):
        assert names(BOTTLENECK_SPACE.for_arm(find_arm(arm))) == names(BOTTLENECK_SPACE) - {"embedding"}
    assert names(BOTTLENECK_SPACE.for_arm(find_arm("film-ivadomed"))) == {"positions", "modulate", "embedding"}
    assert names(BOTTLENECK_SPACE.for_arm(find_arm("concat"))) == {"modulate", "embedding"}, "it has its own positions"
    with pytest.raises(ConfigError, match="nothing of the space means anything to arm 'none': reduction, "):
        BOTTLENECK_SPACE.for_arm(find_arm("none"))
    for arm in ARMS.values():
        assert SCHEDULE_SPACE.for_arm(arm) == SCHEDULE_SPACE
        assert NETWORK_SPACE.for_arm(arm) == NETWORK_SPACE


def test_what_depends_on_a_dropped_dimension_is_dropped_with_it():
    space = Space(
        (Choice("embedding", (0, 4)), Integer("depth", 2, 3), Integer("reduction", 1, 4, when=("embedding", (4,))))
    )
    assert names(space.for_arm(find_arm("baseline"))) == {"depth"}
    assert names(space.for_arm(find_arm("sme"))) == {"embedding", "depth", "reduction"}


def test_groups_are_dimensions_that_the_same_trials_have():
    def grouped(space: Space) -> list[list[str]]:
        return [[dimension.name for dimension in group] for group in space.groups()]

    always = ["shape", "lr_max", "epochs", "batch_size", "weight_decay"]
    assert grouped(SCHEDULE_SPACE) == [always, ["cycles"], ["lr_min"]]
    assert grouped(SCHEDULE_SPACE.changed(["shape=cosine"])) == [["shape", "lr_min", *always[1:]]]
    assert grouped(SCHEDULE_SPACE.changed(["shape=constant"])) == [always]


def test_a_trial_that_died_between_two_values_gets_the_others():
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    died = study.ask()
    first = SCHEDULE_SPACE.dimensions[0].suggest(died)
    again = SCHEDULE_SPACE.suggest(optuna.Trial(study, died._trial_id))
    assert again["shape"] == first
    assert again.keys() >= {"lr_max", "epochs", "batch_size", "weight_decay"}
    assert study.trials[0].params == again


def test_settings_have_their_own_types_whatever_kept_them():
    """A table gives 8.0 for a count and 1 for a rate; a run's id must not depend on that."""
    network, schedule = Space((Integer("epochs", 1, 9), Float("lr_max", 0.5, 1), Integer("depth", 1, 9))).settings(
        {"epochs": 8.0, "lr_max": 1, "depth": 2}, NetworkConfig(), ScheduleConfig()
    )
    assert repr((schedule.epochs, schedule.lr_max, network.depth)) == "(8, 1.0, 2)"


def test_a_parameter_that_isnt_searched_is_refused():
    with pytest.raises(ConfigError, match="parameter 'width' is no dimension of the space; known: shape, "):
        SCHEDULE_SPACE.settings({"width": 8}, NetworkConfig(), ScheduleConfig())
