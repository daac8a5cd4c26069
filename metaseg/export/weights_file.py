"""safetensors: weights alone, with the passport that says which network they are of."""

from pathlib import Path

from safetensors.torch import save

from metaseg.export.model import Checked, Floats, Model
from metaseg.study.exported_model import PASSPORT, to_text
from metaseg.study.predict import Predictor

USAGE = """\
`model.safetensors` holds the weights under the names of the run's own state dict, and the passport in its header. With
metaseg:

```python
from pathlib import Path
from metaseg import Predictor, decode_image

predictor = Predictor.load(Path("model.safetensors"))
mask = predictor.predict(decode_image(Path("image.png"), predictor.reading), {"COLUMN": "VALUE"})
```

Without it, build the network that `network`, `arm` and `architecture` of the passport describe."""


def write(model: Model, folder: Path) -> Checked:
    """Write model.safetensors, and check that `Predictor` opens it."""
    path = folder / "model.safetensors"
    path.write_bytes(save(model.weights, {PASSPORT: to_text(model.passport)}))
    again = Model(Predictor.load(path, model.blocks), model.passport, model.weights)

    def run(images: Floats, rows: Floats) -> Floats:
        return again.probabilities(images, rows)

    return model.check(run)
