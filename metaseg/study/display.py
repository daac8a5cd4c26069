"""A study as it shows itself in Python and in a notebook."""

from typing import TYPE_CHECKING, cast

from metaseg.notebook import counted, html_table

if TYPE_CHECKING:
    from metaseg.study.plan import Study


class StudyDisplay:
    """Representation of `metaseg.study.plan.Study`: not its dataset's table, but what it asks for."""

    def __repr__(self) -> str:
        study = cast("Study", self)
        size = [
            ", ".join(arm.name for arm in study.arms),
            counted(len({run.config.seed for run in study.runs}), "seed"),
        ]
        size += [counted(len(study.dataset.folds.names), "fold")] if study.dataset.folds else []
        size += [counted(len(study.runs), "run")]
        return f"<Study {study.name!r} on {study.dataset.name!r}: {'; '.join(size)}>"

    def _repr_html_(self) -> str:
        study = cast("Study", self)
        rows = []
        for arm in study.arms:
            runs = [run for run in study.runs if run.arm.name == arm.name]
            epochs = runs[0].config.schedule.epochs if runs else None
            rows.append((arm.name, arm.block_name, arm.metadata_mode, len(runs), epochs))
        compared = ", ".join(
            f"{each.arm} {'equals' if each.claim == 'equal' else 'against'} {each.reference}"
            for each in study.comparisons
        )
        return html_table(
            f"Study {study.name} on {study.dataset.name}",
            ("arm", "block", "metadata", "runs", "epochs"),
            rows,
            (f"Declared: {compared}." if compared else "", study.dataset.about),
        )
