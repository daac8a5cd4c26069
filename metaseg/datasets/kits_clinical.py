"""The clinical data of KiTS: one record per case, as published in JSON, with harmonised spellings and types."""

import json
import math
import re
from pathlib import Path
from typing import Any

from metaseg.data.manifest import ManifestError

COLUMNS = ("radiographic_size", "malignant", "histology", "gender", "age", "bmi")
"""Columns made from a record; see `read_clinical`."""

UNKNOWN = "unknown"
"""Value of a text column where the record has none."""

Record = dict[str, float | str]
"""Values of `COLUMNS` for one case."""

_SPELLINGS = {
    "papillary": "papillary_rcc",
    "chromophobe": "chromophobe_rcc",
    "clear_cell_papillary_rcc": "clear_cell_papillary",
    "wilms": "wilms_tumor",
    "urothelial": "transitional_cell_carcinoma",
}
"""Spellings of KiTS19 and KiTS21, and those of KiTS23 for the same cases."""

_BOUND = re.compile(r"\s*(?:>=|<=|>|<)?\s*(\d+(?:\.\d+)?)\s*")
_NOTHING = ("", "not_applicable", "unknown")
_LARGEST = 1000.0


def read_clinical(path: Path) -> dict[str, Record]:
    """Read the records of kits.json, clinical_data.json or kits23.json, by `case_id`.

    - `radiographic_size` is the tumour's largest diameter on the images in cm, `age` the age at nephrectomy in years,
      `bmi` is in kg/m²: floats, NaN where the record has none. A bound such as ">=90" becomes its number.
    - `malignant` is "yes", "no" or "unknown". `histology` and `gender` are text, or "unknown"; histology is spelled as
      in KiTS23.

    Raises:
        ManifestError: the file is missing or isn't a list of such records, a case has two, or a value has another type.
    """
    try:
        records = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ManifestError(f"{path} doesn't exist; expected the release's clinical data") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ManifestError(f"{path}: unreadable clinical data ({error}); expected JSON") from error
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise ManifestError(f"{path}: is not a list of records; expected one per case, each with a case_id")
    problems: list[str] = []
    cleaned: dict[str, Record] = {}
    for number, record in enumerate(records, 1):
        case = record.get("case_id")
        if not isinstance(case, str):
            problems.append(f"record {number}: case_id is {case!r}; expected text such as 'case_00000'")
        elif case in cleaned:
            problems.append(f"record {number}: {case} has a record already; expected one per case")
        else:
            cleaned[case] = {}
            try:
                cleaned[case] = _clean(record)
            except ValueError as error:
                problems.append(f"{case}: {error}")
    ManifestError.check(str(path), problems)
    return cleaned


def _clean(record: dict[str, Any]) -> Record:
    """Make `COLUMNS` from a record; raises `ValueError` for the first value of another type."""
    histology = _text(record, "tumor_histologic_subtype")
    size = _number(record, "radiographic_size")
    if size == 0:
        raise ValueError("radiographic_size is 0; expected centimetres above 0, or null")
    malignant = record.get("malignant")
    if not isinstance(malignant, bool | None):
        raise ValueError(f"malignant is {malignant!r}; expected true, false or null")
    return {
        "radiographic_size": size,
        "malignant": UNKNOWN if malignant is None else "yes" if malignant else "no",
        "histology": _SPELLINGS.get(histology, histology),
        "gender": _text(record, "gender"),
        "age": _number(record, "age_at_nephrectomy"),
        "bmi": _number(record, "bmi" if "bmi" in record else "body_mass_index"),
    }


def _text(record: dict[str, Any], name: str) -> str:
    value = record.get(name)
    if not isinstance(value, str | None):
        raise ValueError(f"{name} is {value!r}; expected text or null")
    return (value or UNKNOWN).strip().lower()


def _number(record: dict[str, Any], name: str) -> float:
    value = record.get(name)
    if value is None or (isinstance(value, str) and value.strip().lower() in _NOTHING):
        return math.nan
    if isinstance(value, str) and (match := _BOUND.fullmatch(value)):
        return float(match[1])
    if isinstance(value, int | float) and not isinstance(value, bool) and (math.isnan(value) or 0 <= value < _LARGEST):
        return float(value)
    raise ValueError(f"{name} is {value!r}; expected a number from 0 to {_LARGEST:g}, or null")
