"""Seven Cell Lines: does telling the network the cell line help, and for which lines? (paper, section 3.1 and Table 1)

Trains the paper's arms on seven cell lines and prints Table 1 and, for each line, whether metadata helped.

The laboratory's images aren't public, so this page **simulates** them by default (`metaseg.datasets.synthetic`):
seven lines with a look of their own, except for two pairs of lines that look alike and are annotated differently, for
which the cell line holds information that the image doesn't. `--synthetic.metadata-effect 0` takes that information
away.

The defaults are sized for a first result in minutes on two CPU cores; the paper's are
`--width 64 --depth 4 --reduction 4 --epochs 100 --cycles 8 --lr-max 8e-4`.
"""

import sys
from dataclasses import dataclass, field

from metaseg.config import NetworkConfig, ScheduleConfig
from metaseg.datasets.synthetic import SyntheticConfig, make_seven_cells
from metaseg.launch import launch
from metaseg.options import NetworkOptions, ScheduleOptions, StudyOptions, parse


@dataclass(frozen=True, kw_only=True)
class SevenCells(StudyOptions):
    """Options of the page."""

    # Reduction ratio 1: at this width, the paper's 4 would leave the first level's blocks two hidden units.
    network: NetworkOptions = NetworkConfig(width=8, depth=2, reduction=1)
    schedule: ScheduleOptions = ScheduleConfig(
        epochs=10, cycles=1, lr_max=1e-2, batch_size=4, crop=96, validate_every=2
    )
    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)


if __name__ == "__main__":
    options = parse(SevenCells, __doc__)
    effect = options.synthetic.metadata_effect
    print(f"The images are SIMULATED: seven synthetic cell lines, metadata effect {effect:g} (0: none).")
    sys.exit(
        launch(
            "seven_cells",
            options,
            lambda folder, progress: make_seven_cells(folder / options.synthetic.name, options.synthetic, progress),
        )
    )
