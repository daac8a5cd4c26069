"""Simulated scores, to try the statistics on before there are results."""

import numpy as np
import pandas as pd

from metaseg.schema import OVERALL

ARMS = ("baseline", "sme")


def example_scores(gain: float = 0.03, seeds: int = 3, images: int = 30, seed: int = 0, folds: int = 1) -> pd.DataFrame:
    """Simulate F1 scores of two arms, `baseline` and `sme`, on the same images.

    Standard deviations are 0.06 among images, 0.005 among seeds of an arm, 0.01 for arm x image and 0.02 for the rest
    (the model of `analysis.stats.mrmc`). Half of the images are of subgroup `a`, half of `b`.

    Args:
        gain: expected difference of `sme` from `baseline`.
        seeds: number of runs of each arm, and of each fold.
        images: number of test images; each is a unit of its own.
        seed: seed of the random numbers.
        folds: number of folds, each tested by networks of its own; names are "0", "1" ...

    Returns:
        A table as `analysis.scores.image_scores.image_scores` gives it: a row per run and image.

    Example:
        >>> from analysis import example_scores
        >>> scores = example_scores(gain=0.03, seeds=3, images=30)
        >>> scores.groupby("arm", observed=True)["score"].mean().round(2).to_dict()
        {'baseline': 0.8, 'sme': 0.82}
    """
    generator = np.random.default_rng(seed)
    difficulty = generator.normal(0, 0.06, images)
    fold = np.arange(images) * folds // images
    of_image = fold.astype(str) if folds > 1 else np.full(images, "")
    rows = []
    for number, arm in enumerate(ARMS):
        by_image = 0.8 + gain * number + difficulty + generator.normal(0, 0.01, images)
        for run in range(seeds):
            network = generator.normal(0, 0.005, folds)[fold]
            score = by_image + network + generator.normal(0, 0.02, images)
            names = [f"image{image:03d}" for image in range(images)]
            run_rows = {"class": "foreground", "arm": arm, "seed": run, "fold": of_image, "group": names}
            subgroup = np.where(np.arange(images) % 2, "b", "a")
            rows.append(
                pd.DataFrame(
                    run_rows | {"image": names, "subgroup": subgroup, "score": score.clip(0, 1), "empty": False}
                )
            )
    orders = {"class": ["foreground"], "arm": list(ARMS), "subgroup": [OVERALL, "a", "b"]}
    types = {column: pd.CategoricalDtype(order, ordered=True) for column, order in orders.items()}
    columns = ["class", "arm", "seed", "fold", "subgroup", "group", "image", "score", "empty"]
    return pd.concat(rows, ignore_index=True)[columns].astype(types)
