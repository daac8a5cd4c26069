"""`metaseg score`: further scores of a study's test images."""

from metaseg.commands.arguments import StoreArgument
from metaseg.schema import EXTRA_SCORES, ExtraScore
from metaseg.terminal import Terminal


def score(
    store: StoreArgument,
    study: str,
    scores: tuple[ExtraScore, ...] = EXTRA_SCORES,
    tolerance: float = 2.0,
    jobs: int | None = None,
    blocks: tuple[str, ...] = (),
) -> int:
    """Score the test images of a study's finished runs by boundaries and objects, from their stored weights.

    Existing scores aren't computed again. `analysis report STORE --metric` reports on them.

    Args:
        store: Folder or bucket (s3://..., gs://...) of the runs.
        study: Name of the study.
        scores: surface-dice, hd95 (95 % Hausdorff distance) and objects (found at IoU 0.5, false and missed).
        tolerance: Distance in pixels within which boundaries agree for surface Dice.
        jobs: Number of parallel processes. By default one per CPU core, at most 8; one if there is a GPU.
        blocks: Blocks from outside metaseg that the runs were trained with, each FILE.py:CLASS. They are scored by one
            process.
    """
    from metaseg.networks.block_file import read_blocks
    from metaseg.scoring.study import score_study
    from metaseg.store.runs import Store

    own = read_blocks(blocks)
    scored = score_study(Store.at(store), study, scores, tolerance, jobs, Terminal(), own)
    return 0 if scored else 1
