"""Options of `analysis collect`, `report` and `sweep`: a field is an option, its docstring the help.

This module imports nothing slow, so that help and wrong options are answered at once.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from analysis.wording import RENAMED
from metaseg.command_line import misused
from metaseg.schema import Average

Metric = Literal["f1", "iou", "precision", "recall", "surface_dice", "hd95", "object_f1"]
"""Scores that a report can be on (`analysis.scores.metrics.METRICS`, `analysis.scores.extra_scores.METRICS`)."""

Repeated = UseAppendAction[tuple[tuple[str, ...], ...]]
"""Values of an option that takes several at a time and can be given several times."""

_DEFAULT_IN_HELP = ""
"""Instead of "(default: None)": the help text says what happens without the option."""


def _one(metavar: str) -> object:
    return arg(metavar=metavar, help_behavior_hint=_DEFAULT_IN_HELP)


def _several(metavar: str) -> object:
    return arg(metavar=f"{metavar} [{metavar} ...]", help_behavior_hint="(repeatable)")


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """Contents of tables from elsewhere."""

    name: Annotated[str | None, _one("STUDY")] = None
    """Name of the study that the tables become."""

    column: Annotated[Repeated, _several("NEW=OLD")] = ()
    """Use the tables' column OLD as NEW: image, arm, score, tp, fp, fn, tn, seed, class, subgroup or group."""

    baseline: Annotated[str | None, _one("ARM")] = None
    """The arm that the tables' other arms are compared with (default: the arm called baseline, else
    the first)."""

    def columns(self) -> dict[str, str]:
        """The tables' names of columns, by ours."""
        return dict(_pair("--column", text, "NEW=OLD") for text in given("--column", self.column))


@dataclass(frozen=True, kw_only=True)
class Collect(TableOptions):
    """Collect finished runs of stores, or tables of per-image scores from elsewhere, into one Parquet dataset.

    analysis collect STORE... OUT [--study NAME ...]

    analysis collect OUT --table [ARM[:SEED]=]FILE ... --name STUDY [--column NEW=OLD ...] [--baseline ARM]

    What is there already and hasn't changed isn't read again.
    """

    place: Annotated[Positional[tuple[str, ...]], arg(metavar="STORE [STORE ...] OUT", help_behavior_hint="(required)")]
    """Folders, bucket URLs or bundles (.zip, of `metaseg bundle`) to read from; the last, OUT, is written to."""

    study: Annotated[Repeated, _several("NAME")] = ()
    """Studies to collect (default: all of the stores)."""

    table: Annotated[Repeated, _several("[ARM[:SEED]=]FILE")] = ()
    """CSV, Parquet or nnU-Net's summary.json with a row per image; ARM=FILE or ARM:SEED=FILE where the file doesn't
    name its arm."""

    def check(self) -> None:
        """End the process with a message where options don't go together."""
        studies, files = given("--study", self.study), given("--table", self.table)
        if bool(files) != bool(self.name):
            misused("--table and --name go together")
        if not self.place or (len(self.place) > 1) == bool(files):
            misused("expected STORE... OUT, or OUT and --table")
        if studies and files:
            misused("--study is for stores; the name of a table's study is --name")
        if not files and (self.column or self.baseline):
            misused("--column and --baseline are for --table")
        self.columns()


@dataclass(frozen=True, kw_only=True)
class Report(TableOptions):
    """Test the comparisons that a study declared and write a page (report.html), with tables and figures beside it.

    analysis report STORE [--study NAME ...]

    analysis report FILE ... [--name STUDY] [--column NEW=OLD ...] [--baseline ARM]

    An existing report is replaced; nothing is trained. --margin, --compare, --equal, --average, --endpoint and --call
    declare what scores from elsewhere don't say of themselves; the report says what wasn't declared.
    """

    where: Annotated[Positional[tuple[str, ...]], arg(metavar="STORE|FILE [FILE ...]", help_behavior_hint="(required)")]
    """A store of runs, or a dataset that `analysis collect` made; or tables of scores from elsewhere (CSV, Parquet,
    nnU-Net's summary.json), each as for `analysis collect --table`."""

    study: Annotated[Repeated, _several("NAME")] = ()
    """Studies to report on (default: all that are there)."""

    dataset: Annotated[str | None, _one("NAME")] = None
    """The dataset, where a collected study has several."""

    out: Annotated[str | None, _one("DIR")] = None
    """Write to DIR/NAME (default: reports/NAME in STORE); for a table, to DIR itself."""

    metric: Metric = "f1"
    """Score to report on. Those of boundaries and objects (surface_dice, hd95, object_f1) need `metaseg score`."""

    margin: Annotated[float | None, _one("M")] = None
    """Equivalence margin: arms whose mean scores differ by less than M count as equal."""

    compare: Annotated[Repeated, _several("ARM:REF")] = ()
    """Compare ARM with REF (default: each arm with --baseline)."""

    equal: Annotated[Repeated, _several("ARM:REF")] = ()
    """The same, with the claim that both are equal within the margin."""

    average: Annotated[Average | None, _one("{images,subgroups}")] = None
    """Overall score: the mean over images, or the mean of the subgroups' means."""

    endpoint: Annotated[str | None, _one("CLASS")] = None
    """The class that the conclusion is about."""

    call: Annotated[Repeated, _several("NAME=WORD")] = ()
    """The report's word for a metric, image, group or subgroup: metric=dice group=patient, or with a plural,
    group=mouse/mice (--column sets the word too)."""

    def check(self) -> None:
        """End the process with a message where options are incomplete."""
        if not self.where:
            misused("STORE is missing; expected a store, a collected dataset or tables of scores")
        for option, values in (("--study", self.study), ("--compare", self.compare), ("--equal", self.equal)):
            given(option, values)
        self.words()

    def words(self) -> dict[str, str]:
        """Names of things in the report, by the keys of `analysis.wording.RENAMED`."""
        words = {OF_COLUMNS[new]: old for new, old in self.columns().items() if new in OF_COLUMNS}
        for text in given("--call", self.call):
            name, word = _pair("--call", text, f"NAME=WORD with NAME one of {', '.join(RENAMED)}", RENAMED)
            words[name] = word.strip()
        return words


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Say which numbers of folds, seeds and images decide a comparison with 80 % power, and what they cost.

    analysis plan STORE [--study NAME] [--difference D]

    analysis plan --seed-sd S --arm-image-sd S --residual-sd S --images N [--difference D]

    From a pilot in a store, with the time that its runs took, or from standard deviations. Trains and writes nothing
    but --out.
    """

    where: Annotated[Positional[str | None], arg(metavar="[STORE]", help_behavior_hint=_DEFAULT_IN_HELP)] = None
    """A store with a pilot: a study with 2 seeds an arm or more."""

    study: Annotated[str | None, _one("NAME")] = None
    """The pilot, where the store has several studies."""

    compare: Annotated[str | None, _one("ARM:REF")] = None
    """The comparison to plan for (default: of those with the baseline, the one that varies most)."""

    metric: Metric = "f1"
    """Score to plan for."""

    difference: Annotated[float | None, _one("D")] = None
    """Difference of mean scores that is to be found (default: the margin)."""

    margin: Annotated[float | None, _one("M")] = None
    """Equivalence margin (default: the pilot's, else 0.01)."""

    folds: tuple[int, ...] = (5,)
    """Numbers of folds to plan, beside one split."""

    seeds: tuple[int, ...] = (1, 2, 3, 5, 10, 20)
    """Numbers of seeds an arm, and fold, to show."""

    arms: Annotated[int | None, _one("N")] = None
    """Number of arms (default: the pilot's, else 2)."""

    images: Annotated[int | None, _one("N")] = None
    """Images that there are or could be in all, each tested in one fold (default: those of the pilot's dataset)."""

    tested: Annotated[int | None, _one("N")] = None
    """Images that are tested on one split (default: as many as in the pilot, else a fifth of --images)."""

    seed_sd: tuple[float, ...] = ()
    """Standard deviation of the mean score among an arm's seeds; two numbers where the reference's differs."""

    arm_image_sd: Annotated[float | None, _one("S")] = None
    """Standard deviation among images of what an arm gains on one image and not on another, whatever the seed."""

    residual_sd: Annotated[float | None, _one("S")] = None
    """Standard deviation of an image's score among seeds, beyond that of the mean score."""

    minutes: Annotated[float | None, _one("M")] = None
    """Duration of one run (default: as measured in the pilot)."""

    out: Annotated[str | None, _one("FILE.csv")] = None
    """Write the table of designs there, too."""

    def check(self) -> None:
        """End the process with a message where options don't go together."""
        sds = {
            "--seed-sd": self.seed_sd or None,
            "--arm-image-sd": self.arm_image_sd,
            "--residual-sd": self.residual_sd,
        }
        if self.where is None:
            missing = [
                option for option, value in {**sds, "--images": self.images or self.tested}.items() if value is None
            ]
            if missing:
                misused(
                    f"{missing[0]} is missing; expected a STORE with a pilot, or --seed-sd, --arm-image-sd, "
                    "--residual-sd and --images"
                )
            if self.study or self.compare:
                misused("--study and --compare are for a STORE")
        elif given := [option for option, value in sds.items() if value is not None]:
            misused(f"{given[0]} is given with a STORE; expected one of them")
        if len(self.seed_sd) > 2:
            misused(f"--seed-sd has {len(self.seed_sd)} values; expected one, or the arm's and the reference's")
        numbers = [
            ("--difference", self.difference), ("--margin", self.margin), ("--minutes", self.minutes),
            *(("--arms", each) for each in ([self.arms] if self.arms is not None else [])),
        ]  # fmt: skip
        for option, number in numbers:
            if number is not None and not 0 < number < float("inf"):
                misused(f"{option} is {number}; expected a number above 0")
        for option, number in (("--seed-sd", min(self.seed_sd, default=0)), ("--arm-image-sd", self.arm_image_sd),
                               ("--residual-sd", self.residual_sd)):  # fmt: skip
            if number is not None and not 0 <= number < float("inf"):
                misused(f"{option} is {number}; expected 0 or more")
        for option, counts, fewest in (("--folds", self.folds, 2), ("--seeds", self.seeds, 1)):
            if wrong := [count for count in counts if count < fewest]:
                misused(f"{option} has {wrong[0]}; expected numbers from {fewest}")
        if self.out is not None and not self.out.endswith(".csv"):
            misused(f"--out is {self.out!r}; expected a file called .csv")


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Write a page (report.html) for each sweep of a store: the best settings, which ones matter, what they cost.

    The page also says how far the best score can be believed. Tables, figures and all trials lie beside it. A sweep
    that is still running can be reported on too.
    """

    where: Annotated[Positional[str], arg(metavar="STORE")]
    """A store with sweeps."""

    names: Annotated[Positional[tuple[str, ...]], arg(metavar="[NAME ...]", help_behavior_hint=_DEFAULT_IN_HELP)] = ()
    """Sweeps to report on (default: all that are there)."""

    out: Annotated[str | None, _one("FOLDER")] = None
    """Write to FOLDER/NAME (default: reports/sweeps/NAME in STORE)."""


OF_COLUMNS = {"score": "metric", "image": "image", "group": "group", "subgroup": "subgroup"}
"""A table's column whose name the report takes over, and for what."""


def given(option: str, values: Sequence[Sequence[str]]) -> list[str]:
    """All values of an option that can be repeated; ends the process where it is given without any."""
    if any(not each for each in values):
        misused(f"{option} is given without a value")
    return [value for each in values for value in each]


def _pair(option: str, text: str, expected: str, known: Container[str] | None = None) -> tuple[str, str]:
    name, _, value = text.partition("=")
    if not name or not value.strip() or (known is not None and name not in known):
        misused(f"{option} is {text!r}; expected {expected}")
    return name, value
