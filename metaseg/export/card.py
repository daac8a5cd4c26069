"""The model card: Markdown with the Hugging Face Hub's metadata at its head."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from metaseg.export.card_scores import CardScores, Mean
from metaseg.export.model import Checked
from metaseg.schema import UNKNOWN, ZEROS
from metaseg.terminal import visible

HUB_LICENCES = frozenset({
    "afl-3.0", "agpl-3.0", "apache-2.0", "artistic-2.0", "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear",
    "bsl-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0",
    "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0",
    "cc-by-sa-3.0", "cc-by-sa-4.0", "cc0-1.0", "ecl-2.0", "epl-1.0", "epl-2.0", "eupl-1.1", "eupl-1.2", "gpl-2.0",
    "gpl-3.0", "isc", "lgpl-2.1", "lgpl-3.0", "mit", "mpl-2.0", "ms-pl", "odbl", "ofl-1.1", "osl-3.0", "pddl",
    "unlicense", "wtfpl", "zlib",
})  # fmt: skip
"""Licences that the Hub has names for; others are `other`, with their own name."""


def write_card(passport: Mapping[str, Any], scores: CardScores, checked: Checked, library: str, usage: str) -> str:
    """Write the card.

    Args:
        passport: the model's (`metaseg.export.passport`).
        scores: of its test images.
        checked: comparison of the exported program with PyTorch.
        library: name of the library that opens the model, as the Hub calls it.
        usage: Markdown that says how to use the files.
    """
    parts = [
        f"---\n{yaml.safe_dump(hub_metadata(passport, scores, library), sort_keys=False, allow_unicode=True)}---",
        f"# {text(passport['name'])}",
        "\n".join(_summary(passport)),
        f"## Intended use\n\n{_intended(passport)}",
        f"## How to use\n\n{usage}",
        "\n".join(["## Inputs and outputs", "", *_interface(passport)]),
        "\n".join(["## Validation: scores on test images", "", *_scores(passport, scores)]),
        "\n".join(["## Told something else than the truth", "", *_told(passport, scores)]),
        "\n".join(["## Without metadata", "", *_costs(passport, scores)]),
        "\n".join(["## Training", "", *_training(passport)]),
        "\n".join(["## Provenance", "", *_provenance(passport, checked)]),
        f"## Licence\n\n{_licence(passport)}",
    ]
    return "\n\n".join(parts) + "\n"


def hub_metadata(passport: Mapping[str, Any], scores: CardScores, library: str) -> dict[str, Any]:
    """The card's metadata, as the Hub reads it."""
    licence, dataset = passport["license"], str(passport["training"]["dataset"])
    lower = (licence or "").lower()
    lower = re.sub(r"(gpl-\d\.\d)-(only|or-later)$", r"\1", lower)
    named = {} if licence is None else {"license": lower} if lower in HUB_LICENCES else {
        "license": "other", "license_name": lower
    }  # fmt: skip
    metrics = [
        {"type": "f1", "name": f"F1, {name}, {subgroup}" if len(scores.subgroups) > 1 else f"F1, {name}",
         "value": round(mean.value, 4)}
        for name, subgroup, mean in scores.subgroups
    ]  # fmt: skip
    return {
        "library_name": library,
        "pipeline_tag": "image-segmentation",
        **named,
        "tags": ["image-segmentation", "metadata", "metaseg"],
        "datasets": [re.sub(r"[^\w.-]+", "-", dataset).strip("-.") or "dataset"],
        "model-index": [
            {
                "name": passport["name"],
                "results": [
                    {
                        "task": {"type": "image-segmentation"},
                        "dataset": {"type": "images", "name": dataset, "split": "test"},
                        "metrics": metrics,
                    }
                ],
            }
        ],
    }


def text(value: object) -> str:
    """Text of a user's as Markdown that shows it and nothing else."""
    shown = re.sub(r"([\\`*{}\[\]<>|#~$]|\b_|_\b)", r"\\\1", visible(str(value)))
    return shown.replace("&", "&amp;")


def table(header: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> Iterator[str]:
    """Lines of a Markdown table, whose cells are Markdown already; columns after the first `texts` are numbers."""
    yield "| " + " | ".join(header) + " |"
    yield "|" + " --- |" * texts + " ---: |" * (len(header) - texts)
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def _summary(passport: Mapping[str, Any]) -> Iterator[str]:
    classes = ", ".join(map(text, passport["classes"]))
    yield f"A segmentation network ({text(passport['arm']['block'])}) that finds {classes} in two-dimensional images."
    columns = passport["metadata"]["columns"]
    if passport["metadata"]["is_input"]:
        yield f"It is told metadata of each image: {', '.join(text(column['column']) for column in columns)}."
        if passport["arm"]["metadata_mode"] == "shuffled":
            yield "**It is a control**: in training, it was told the metadata of other images."
    elif columns:
        yield "**It is a control**: it has the layers for metadata, and was told zeros in place of them."
    else:
        yield "It isn't told any metadata."


def _intended(passport: Mapping[str, Any]) -> str:
    dataset = text(passport["training"]["dataset"])
    return (
        f"Research on images like those of *{dataset}*: the same kind of sample, staining, microscope or scanner, and "
        "pixel size. On other images its scores aren't known. It isn't a medical device, and nobody has tested it for "
        "diagnosis."
    )


def _interface(passport: Mapping[str, Any]) -> Iterator[str]:
    image, metadata = passport["image"], passport["metadata"]
    yield (
        f"- `image`: float32 `(N, {image['channels']}, H, W)`, pixel values {image['values']}. Each image is "
        "standardised inside, by its own mean and standard deviation over pixels and channels."
    )
    if (factor := image["reading"]["shrink"]) > 1:
        yield (
            f"  **The network sees images at 1/{factor} of their size**: each square of {factor} x {factor} pixels is "
            "averaged first (and rounded, of whole numbers), and the result is enlarged afterwards."
        )
    if metadata["is_input"]:
        yield f"- `metadata`: float32 `(N, {metadata['size']})`, a vector an image, made of:"
        yield ""
        yield from table(
            ["element", "column", "value"],
            [
                [f"`{number}`", text(column["column"]), text(_meaning(column, place))]
                for number, (column, place) in enumerate(
                    (column, place) for column in metadata["columns"] for place in range(len(column["elements"]))
                )
            ],
            texts=3,
        )
        yield ""
        unknown = [text(column["column"]) for column in metadata["columns"] if column["may_be_unknown"]]
        yield (
            f"  Values that aren't known can be told of: {', '.join(unknown)}."
            if unknown
            else "  Every value has to be known: the network wasn't trained for unknown ones."
        )
    else:
        yield "- No metadata input."
    classes = ", ".join(map(text, passport["classes"]))
    yield f"- Result: float32 `(N, {len(passport['classes'])}, H, W)`, the probability of each class: {classes}."


def _meaning(column: Mapping[str, Any], place: int) -> str:
    if column["kind"] == "categorical":
        return f"1 if it is {[*column['vocabulary'], UNKNOWN][place]!r}, else 0"
    if place:
        return "1 if it isn't known, else 0"
    return f"(value - {column['mean']:.6g}) / {column['std']:.6g}{', 0 if not known' * column['may_be_unknown']}"


def interval(mean: Mean, signed: bool = False) -> str:
    """A mean with its 95 % interval, which ends at 0 and 1 where it is of a score."""
    low, high = (mean.low, mean.high) if signed else (max(mean.low, 0.0), min(mean.high, 1.0))
    form = "+.3f" if signed else ".3f"
    return f"{mean.value:{form}} ({low:{form}} to {high:{form}})" if mean.is_certain else f"{mean.value:{form}} (-)"


def _scores(passport: Mapping[str, Any], scores: CardScores) -> Iterator[str]:
    split = passport["training"]["fold"]
    yield (
        f"F1 (Dice) of this one network on its test images{f' (fold {text(split)})' if split is not None else ''}, "
        "which it didn't train on, told their metadata as in training. Mean over images; an image whose reference and "
        "prediction both lack the class counts 1. The 95 % interval is for new images like these, with images of one "
        "group taken together: it says nothing about other trainings of the same network."
    )
    yield ""
    yield from table(
        ["class", "subgroup", "images", "groups", "F1 (95 % interval)"],
        [
            [text(name), text(subgroup), str(mean.images), str(mean.groups), interval(mean)]
            for name, subgroup, mean in scores.subgroups
        ],
        texts=2,
    )
    yield ""
    yield "To validate the model on other images, compare its masks with yours: F1 is 2 TP / (2 TP + FP + FN) pixels."


def _told(passport: Mapping[str, Any], scores: CardScores) -> Iterator[str]:
    if not scores.told:
        yield "No such test: the network isn't told metadata, or a column has only one value or too many."
        return
    over = ", averaged over classes," if len(passport["classes"]) > 1 else ""
    yield f"Mean F1{over} on the test images if the network is told another value than the true one (rows: the truth)."
    for told in scores.told:
        yield ""
        names = list(told.scores.columns)
        yield from table(
            [text(told.column), *(f"told {text(name)}" for name in names)],
            [
                [text(true), *("-" if score != score else f"{score:.3f}" for score in row)]
                for true, row in zip(told.scores.index, told.scores.to_numpy(), strict=True)
            ],
        )


def _costs(passport: Mapping[str, Any], scores: CardScores) -> Iterator[str]:
    if not scores.costs:
        yield "No such test: the network isn't told true metadata, or can't be run without."
        return
    over = ", averaged over classes," if len(passport["classes"]) > 1 else ""
    yield f"F1{over} on the same test images with metadata and without (95 % interval as above)."
    yield ""
    yield from table(
        ["what the network is told", "images", "with metadata", "without", "difference"],
        [
            [_withheld(cost.evaluation), str(cost.difference.images), f"{cost.with_metadata:.3f}",
             f"{cost.without:.3f}", interval(cost.difference, signed=True)]
            for cost in scores.costs
        ],
    )  # fmt: skip
    if not all(column["may_be_unknown"] for column in passport["metadata"]["columns"]):
        yield ""
        yield "The network wasn't trained to do without metadata."
        yield "A zero stands for none of a category's values, or for the mean of a number."


def _withheld(evaluation: str) -> str:
    if evaluation == ZEROS:
        return "zeros in place of the vector"
    column = evaluation.removesuffix(f"={UNKNOWN}")
    return "that nothing is known" if evaluation == UNKNOWN else f"that {text(column)} isn't known"


def _training(passport: Mapping[str, Any]) -> Iterator[str]:
    training = passport["training"]
    about = f", {text(training['about'])}" if training["about"] else ""
    yield f"- Data: {text(training['dataset'])}{about}; fingerprint `{training['fingerprint']}`."
    images = training["images"]
    known = ", ".join(f"{images[split]} for {name}" for split, name in (
        ("train", "training"), ("val", "validation"), ("test", "test")) if split in images)  # fmt: skip
    yield f"- Images with a mask: {known}."
    if training["subset"]:
        subset = training["subset"]
        yield f"- Only those with {text(subset['column'])} {text(subset['value'])} ({', '.join(subset['splits'])})."
    if training["fold"] is not None:
        yield f"- Fold {text(training['fold'])} of a study in folds is its test data."
    if training["best_epoch"] is not None and training["schedule"]:
        epochs, best = training["schedule"]["epochs"], training["best_epoch"]
        yield f"- {epochs} epochs; weights of epoch {best}, the best on validation images."


def _provenance(passport: Mapping[str, Any], checked: Checked) -> Iterator[str]:
    found = passport["provenance"]
    versions = ", ".join(f"{text(name)} {text(version)}" for name, version in (found["versions"] or {}).items())
    yield f"- Run `{found['run_id']}`, seed {found['seed']}, {found['parameters']} parameters."
    yield f"- Trained with {versions} (training version {found['training_version']})."
    if found["git_commit"]:
        yield f"- Git commit of metaseg: `{text(found['git_commit'])}`."
    yield f"- SHA-256 of the run's weights: `{found['weights_sha256']}`."
    yield f"- Exported by {found['exported_by']}. Checked against PyTorch on {checked}."
    yield "- `passport.json` holds all of this, and how metadata become a vector, for programs to read."


def _licence(passport: Mapping[str, Any]) -> str:
    authors = ", ".join(map(text, passport["authors"]))
    licence = passport["license"]
    stated = f"{text(licence)}." if licence else "Not stated: ask the authors before you use or share the model."
    return stated + (f" Authors: {authors}." if authors else "")
