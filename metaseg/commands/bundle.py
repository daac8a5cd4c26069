"""`metaseg bundle`: a study in one file, to publish or to pool with others'."""

from pathlib import PurePath
from typing import Annotated

import tyro

from metaseg.commands.arguments import StoreArgument
from metaseg.config import ConfigError
from metaseg.terminal import visible

OutArgument = Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="OUT.zip")]


def bundle(
    store: StoreArgument,
    out: OutArgument,
    study: str,
    license: str | None = None,
    hash_names: bool = False,
    replace: bool = False,
) -> None:
    """Pack a study's counts, settings, declarations and report into one file, without images, weights and paths.

    Others read it with `analysis collect OUT.zip RESULTS`, alone or together with stores and other bundles. It holds
    the names of images and groups and the values of metadata: look whether they may be published.

    Args:
        store: Folder or bucket (s3://..., gs://...) of the runs.
        out: The file to write: a path, or a bucket's URL.
        study: Name of the study.
        license: Licence under which the bundle is published, such as CC-BY-4.0.
        hash_names: Put hashes in the place of the names of images and groups, and of folds that weren't drawn.
        replace: Replace OUT.zip if it is there.
    """
    from analysis.results.declaration import ResultsError
    from metaseg.keeping.bundling import make_bundle
    from metaseg.store.runs import Store
    from metaseg.store.storage import open_storage

    folder, name = ("/".join(out.split("/")[:-1]), out.split("/")[-1]) if "://" in out else _split(out)
    if not name.lower().endswith(".zip"):
        raise ConfigError(f"out is {out!r}; expected a file called .zip")
    target = open_storage(folder)
    target.require_writable()
    if target.exists(name) and not replace:
        raise ConfigError(f"out is {out!r}, which is there already; expected another name, or --replace")
    try:
        made = make_bundle(Store.at(store), study, license, hash_names)
    except ResultsError as error:
        raise ConfigError(str(error)) from None
    target.write(name, made.content)
    size = f"{len(made.content) / 1e6:,.1f} MB"
    print(visible(f"{target.locate(name)}: {made.done} of {made.runs} runs, {len(made.files)} files, {size}"))
    names = "hashes of the names" if hash_names else "the names"
    print(f"It holds {names} of images and groups, and the values of metadata.")
    said = f"Licence: {license}." if license else "It says nothing on who may use it; --license does."
    print(visible(said))
    print(visible(f"Read it with: analysis collect {name} RESULTS"))


def _split(out: str) -> tuple[str, str]:
    path = PurePath(out)
    return str(path.parent), path.name
