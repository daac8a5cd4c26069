"""Declarations on scores from elsewhere, by whoever reports on them; the report says what wasn't declared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from analysis.results.declaration import Comparison, ResultsError
from analysis.results.store_rows import Collected
from analysis.scores.extra_scores import METRICS as EXTRA_METRICS
from analysis.wording import RENAMED, Names, metric_name, plural
from metaseg.schema import AS_TRAINED, MACRO, Average, Claim

DECLARED_ALREADY = (
    "the study declared its comparisons when it was started; --margin, --average, --endpoint, --compare, --equal and "
    "--call "
    "are for scores from elsewhere"
)


@dataclass(frozen=True)
class Declaration:
    """The options of a report on scores from elsewhere; None and nothing: not declared."""

    margin: float | None = None
    average: Average | None = None
    endpoint: str | None = None
    compare: Sequence[str] = ()
    """`ARM:REFERENCE`, which are expected to differ."""
    equal: Sequence[str] = ()
    """`ARM:REFERENCE`, which are claimed to differ by less than the margin."""
    baseline: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    """Other names for some of `analysis.wording.RENAMED`."""

    @property
    def empty(self) -> bool:
        """True if nothing is declared."""
        given = (self.margin, self.average, self.endpoint)
        return given == (None, None, None) and not (self.compare or self.equal or self.names)

    def applied(self, collected: Collected) -> Collected:
        """The results with what is declared of them.

        Raises:
            ResultsError: results of a study that has declared its own; a class, arm or name that there isn't; a margin
                that isn't above 0; a comparison of an arm with itself, or one that is there twice.
        """
        if self.empty:
            return collected
        if not from_elsewhere(collected):
            raise ResultsError(f"study {collected.study.name!r}: {DECLARED_ALREADY}")
        study, declared = collected.study, frozenset[str]()
        if self.margin is not None:
            if not 0 < self.margin < 1:
                raise ResultsError(f"--margin is {self.margin:g}; expected a number between 0 and 1, as scores are")
            study, declared = replace(study, margin=self.margin), declared | {"margin"}
        if self.average is not None:
            if collected.images["subgroup"].nunique() < 2:
                raise ResultsError("--average is of several subgroups; these scores have one: name it with --column")
            study, declared = replace(study, average=self.average), declared | {"average"}
        if self.endpoint is not None:
            classes = sorted(map(str, collected.images["class"].unique()))
            if self.endpoint not in (known := [*classes, *([MACRO] if len(classes) > 1 else [])]):
                raise ResultsError(f"--endpoint is {self.endpoint!r}; expected one of {', '.join(known)}")
            study, declared = replace(study, endpoint=self.endpoint), declared | {"endpoint"}
        if comparisons := self._comparisons(study.arms):
            baseline = self.baseline or comparisons[0].reference
            if baseline not in {each.reference for each in comparisons}:
                raise ResultsError(f"--baseline is {baseline!r}, with which nothing is compared; expected a REFERENCE")
            study = replace(study, comparisons=comparisons, baseline=baseline)
            declared |= {"comparisons"}
        if unknown := sorted(set(self.names) - set(RENAMED)):
            raise ResultsError(f"--call names {unknown[0]!r}; expected one of {', '.join(RENAMED)}")
        column = self.names.get("subgroup", collected.subgroup_column)
        if "image" in self.names:
            images = plural(self.names["image"])[1]
            study = replace(study, about=study.about.replace(" images, scored", f" {images}, scored", 1))
        return replace(collected, study=study, declared=declared, names=dict(self.names), subgroup_column=column)

    def _comparisons(self, arms: Sequence[str]) -> tuple[Comparison, ...]:
        wanted: list[tuple[str, str, Claim]] = [("--compare", text, "differs") for text in self.compare]
        wanted += [("--equal", text, "equal") for text in self.equal]
        found: list[Comparison] = []
        for option, text, claim in wanted:
            splits = [(text[:at], text[at + 1 :]) for at, character in enumerate(text) if character == ":"]
            pairs = [pair for pair in splits if set(pair) <= set(arms) and pair[0] != pair[1]]
            if len(pairs) != 1:
                raise ResultsError(
                    f"{option} is {text!r}; expected ARM:REFERENCE, two different arms of {', '.join(arms)}"
                )
            if set(pairs[0]) in [{each.arm, each.reference} for each in found]:
                raise ResultsError(f"{option} {text!r} compares two arms that are compared already; expected it once")
            found.append(Comparison(*pairs[0], claim))
        return tuple(found)


def from_elsewhere(collected: Collected) -> bool:
    """True if the rows come from tables that say nothing of the networks, and for which no study declared anything."""
    return not (collected.images["block"] != "").any()


def undeclared(collected: Collected) -> frozenset[str]:
    """Those of margin, average, endpoint and comparisons that nobody declared; none where the results are a study's."""
    if not from_elsewhere(collected):
        return frozenset()
    return frozenset({"margin", "average", "endpoint", "comparisons"}) - collected.declared


def names_of(collected: Collected) -> Names:
    """Names of things in a report on these results, and what was declared of them."""
    given, elsewhere = collected.names, from_elsewhere(collected)
    tested = collected.images[collected.images["evaluation"] == AS_TRAINED]
    grouped = tested["group"].nunique() < tested["image"].nunique()
    if elsewhere:
        margin = "the declared margin" if "margin" in collected.declared else "a default: no margin was declared"
    elif collected.metric == EXTRA_METRICS["hd95"]:
        margin = "a default of one pixel, which the study didn't declare"
    else:
        margin = "the study's margin" + ("" if collected.metric == "f1" else ", which it declared for F1")
    compared = "the declared comparisons" if collected.metric == "f1" else "comparisons that were declared for F1"
    if elsewhere:
        compared = (
            "the declared comparisons" if "comparisons" in collected.declared else "comparisons that weren't declared"
        )
    claimed = {each.arm for each in collected.study.comparisons if each.claim == "equal"}
    modes = tested.loc[tested["arm"].isin(claimed), "metadata_mode"].astype(str).unique()
    untold = not elsewhere and set(modes) <= {"zeros", "absent", "shuffled"}
    image, images = plural(given.get("image", "image"))
    equal = "arms that receive no metadata" if untold else "arms that are expected to be equal"
    return Names(
        given.get("metric", metric_name(collected.metric)), image, images, plural(given.get("group", "group"))[1],
        collected.subgroup_column, grouped, not elsewhere, margin, compared, equal, undeclared(collected),
    )  # fmt: skip


def sees_metadata(collected: Collected) -> bool:
    """True if the networks of some arm receive metadata."""
    return bool((collected.images["metadata_mode"] == "true").any())
