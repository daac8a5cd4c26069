"""`analysis report`: from a store, or from collected results, to a conclusion."""

import sys

from analysis.commands.collect import table_of, warn
from analysis.commands.options import Report, given
from analysis.report.declared import DECLARED_ALREADY, Declaration
from analysis.report.study import folder_name, report, report_folder, scored_by, write_report
from analysis.results.dataset import read_results, result_studies
from analysis.results.declaration import ResultsError, readable_studies
from analysis.results.external_study import adopt
from metaseg.command_line import misused
from metaseg.config import ConfigError
from metaseg.store.address import archive_file
from metaseg.store.names import as_name, check_name
from metaseg.store.storage import Storage, open_storage
from metaseg.terminal import visible


def report_command(options: Report, command: str) -> int:
    """Report on each chosen study; the exit status is 1 if one of the reports fails.

    Args:
        options: from the command line.
        command: the command line itself, for the record of a table's study.
    """
    studies = given("--study", options.study)
    tables = [table_of(text) for text in options.where]
    compare, equal = given("--compare", options.compare), given("--equal", options.equal)
    declaration = Declaration(
        options.margin, options.average, options.endpoint, compare, equal, options.baseline, options.words()
    )
    failed = False
    try:
        if bundles := [table.path for table in tables if archive_file(str(table.path)) is not None]:
            raise ResultsError(f"{bundles[0]}: is a bundle; collect it first: analysis collect {bundles[0]} RESULTS")
        if all(table.path.is_file() for table in tables):
            name = as_name(tables[0].path.stem) if options.name is None else options.name
            check_name("study", name)
            target = open_storage(options.out or f"{name}-report")
            if studies or options.dataset:
                misused("--study and --dataset are for stores; the name of a table's study is --name")
            adopt(target, tables, name, options.columns(), options.baseline, command)
            results = declaration.applied(read_results(target, name))
            results, about = scored_by(results, target, options.metric)
            write_report(results, target, about_metric=about)
            return 0
        if len(tables) > 1:
            missing = next(table.path for table in tables if not table.path.is_file())
            raise ResultsError(f"{missing}: no such file; expected tables, or one store")
        storage = open_storage(options.where[0])
        collected = result_studies(storage)
        names = studies or collected or readable_studies(storage, warn)
    except (ConfigError, OSError, ResultsError) as error:
        print(visible(f"error: {error}"), file=sys.stderr)
        return 1
    for name in names:
        try:
            _report(storage, name, bool(collected), options.dataset, options.out, options.metric, declaration)
        except (ConfigError, OSError, ResultsError) as error:
            print(visible(f"error: {error}"), file=sys.stderr)
            failed = True
    return int(failed)


def _report(
    storage: Storage,
    name: str,
    collected: bool,
    dataset: str | None,
    out: str | None,
    metric: str,
    declaration: Declaration,
) -> None:
    target = open_storage(f"{out.rstrip('/')}/{folder_name(name)}") if out else None
    if not collected:
        if not declaration.empty:
            raise ResultsError(f"study {name!r}: {DECLARED_ALREADY}")
        report(storage, name, target, metric=metric)
        return
    results, about = scored_by(declaration.applied(read_results(storage, name, dataset)), storage, metric)
    if target:
        write_report(results, target, about_metric=about)
    else:
        write_report(results, storage, report_folder(name, metric), about_metric=about)
