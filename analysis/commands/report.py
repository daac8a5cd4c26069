"""`analysis report`: from a store, or from collected results, to a conclusion."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from typing import get_args

from analysis.commands.collect import add_table_options, columns_of, table_of, warn
from analysis.report.declared import DECLARED_ALREADY, Declaration
from analysis.report.study import folder_name, report, report_folder, scored_by, write_report
from analysis.results.dataset import read_results, result_studies
from analysis.results.declaration import Average, ResultsError, readable_studies
from analysis.results.external_study import adopt
from analysis.scores.extra_scores import METRICS as EXTRA_METRICS
from analysis.scores.metrics import METRICS
from analysis.wording import RENAMED
from metaseg.config import ConfigError
from metaseg.store.names import as_name, check_name
from metaseg.store.storage import Storage, open_storage
from metaseg.terminal import visible

OF_COLUMNS = {"score": "metric", "image": "image", "group": "group", "subgroup": "subgroup"}
"""What a table's own name of a column names in the report."""


def report_command(arguments: Sequence[str]) -> int:
    """Report on each chosen study; the exit status is 1 where one of them couldn't be."""
    parser = argparse.ArgumentParser(
        prog="analysis report",
        usage="%(prog)s STORE [--study NAME ...]\n       %(prog)s FILE ... [--name STUDY] [--column NEW=OLD ...] "
        "[--baseline ARM]\n"
        "       [--margin M] [--compare ARM:REF ...] [--equal ARM:REF ...] [--average images|subgroups] [--endpoint "
        "CLASS] "
        "[--call NAME=WORD ...]",
        description="Test the comparisons that studies declared, and write for each a page (report.html) with its "
        "tables and figures beside it. What is there already is written anew; nothing is trained.",
    )
    parser.add_argument(
        "where", nargs="+", metavar="STORE",
        help="a store of runs, or what `analysis collect` made; or tables of scores from elsewhere (CSV, Parquet, "
        "nnU-Net's summary.json), as for `analysis collect --table`",
    )  # fmt: skip
    parser.add_argument("--study", nargs="+", metavar="NAME", help="studies to report on (default: all that are there)")
    parser.add_argument("--dataset", metavar="NAME", help="which one, where a collected study is of several datasets")
    parser.add_argument(
        "--out", metavar="DIR", help="write to DIR/NAME (default: reports/NAME in STORE); of a table, to DIR"
    )
    parser.add_argument(
        "--metric", default="f1", choices=[*METRICS, *EXTRA_METRICS],
        help="what to score by (default: f1); boundaries and objects where `metaseg score` has been run",
    )  # fmt: skip
    add_table_options(parser)
    _add_declaration(parser)
    options = parser.parse_args(arguments)
    tables = [table_of(text) for text in options.where]
    columns = columns_of(parser, options.column)
    called = {OF_COLUMNS[new]: old for new, old in columns.items() if new in OF_COLUMNS} | _called(parser, options.call)
    declaration = Declaration(
        options.margin, options.average, options.endpoint, options.compare, options.equal, options.baseline, called
    )
    failed = False
    try:
        if all(table.path.is_file() for table in tables):
            name = as_name(tables[0].path.stem) if options.name is None else options.name
            check_name("study", name)
            target = open_storage(options.out or f"{name}-report")
            command = shlex.join(["analysis", "report", *arguments])
            if options.study or options.dataset:
                parser.error("--study and --dataset are of stores; a table's study is called by --name")
            adopt(target, tables, name, columns, options.baseline, command)
            results = declaration.applied(read_results(target, name))
            results, about = scored_by(results, target, options.metric)
            write_report(results, target, about_metric=about)
            return 0
        if len(tables) > 1:
            missing = next(table.path for table in tables if not table.path.is_file())
            raise ResultsError(f"{missing}: no such file; expected tables, or one store")
        storage = open_storage(options.where[0])
        collected = result_studies(storage)
        names = options.study or collected or readable_studies(storage, warn)
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


def _add_declaration(parser: argparse.ArgumentParser) -> None:
    """Add what can be declared of scores from elsewhere."""
    group = parser.add_argument_group(
        "of scores from elsewhere",
        "What isn't given here is said to be not declared, wherever the report speaks of it.",
    )
    group.add_argument(
        "--margin", type=float, metavar="M", help="arms whose mean scores differ by less than M are as good as equal"
    )
    group.add_argument(
        "--compare", nargs="+", action="extend", default=[], metavar="ARM:REF",
        help="compare ARM with REF (default: each arm with --baseline)",
    )  # fmt: skip
    group.add_argument(
        "--equal", nargs="+", action="extend", default=[], metavar="ARM:REF",
        help="the same, claiming that both are equal within the margin",
    )  # fmt: skip
    group.add_argument(
        "--average",
        choices=get_args(Average),
        help="what the row of all images is: the mean over images, or of subgroups",
    )
    group.add_argument("--endpoint", metavar="CLASS", help="the class that is concluded on")
    group.add_argument(
        "--call", nargs="+", action="extend", default=[], metavar="NAME=WORD",
        help=f"what {', '.join(RENAMED)} are called: metric=dice group=patient (as by --column), or with a plural, "
        "group=mouse/mice",
    )  # fmt: skip


def _called(parser: argparse.ArgumentParser, given: Sequence[str]) -> dict[str, str]:
    """What things are called, from `--call`'s values."""
    called = {}
    for text in given:
        name, _, word = text.partition("=")
        if name not in RENAMED or not word.strip():
            parser.error(f"--call is {text!r}; expected NAME=WORD with NAME one of {', '.join(RENAMED)}")
        called[name] = word.strip()
    return called


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
