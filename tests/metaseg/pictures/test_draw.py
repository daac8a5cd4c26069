"""Pictures of predictions: what is in them, how large they are, and that no text covers another."""

import io
import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from metaseg.pictures.draw import (
    CLASSES,
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    MAP_HALF,
    MATCH,
    OWN,
    TRUTH,
    OverlayRow,
    Panel,
    ProbabilityPanel,
    ProbabilityRow,
    draw_overlays,
    draw_probabilities,
    draw_sweep,
)

ABOUT = "SIMULATED images that a test made, in which nothing is to be seen that anybody would want to segment at all."
SIDE = 40


def box(top: int, left: int, bottom: int, right: int) -> npt.NDArray[np.bool_]:
    mask = np.zeros((SIDE, SIDE), dtype=np.bool_)
    mask[top:bottom, left:right] = True
    return mask


GREY = np.full((SIDE, SIDE, 1), 90, dtype=np.uint8)
GREY[:20] = 120
TARGET = box(10, 5, 30, 25)
PREDICTED = box(10, 15, 30, 35)  # half right, half wrong; half missed


def pixels(png: bytes) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def count(png: bytes, colour: str) -> int:
    """Pixels of exactly this colour."""
    wanted = np.rint(np.array(to_rgb(colour)) * 255).astype(np.uint8)
    return int((pixels(png) == wanted).all(axis=2).sum())


def overlay_row(label: str = "A549\nA549-W01-F01.png", panels: int = 1, **other: Any) -> OverlayRow:
    values: dict[str, Any] = {"image": GREY, "target": TARGET, "predicted": PREDICTED, **other}
    made = tuple(Panel(f"network {k}, F1 0.861", values["predicted"]) for k in range(panels))
    return OverlayRow(label, values["image"], values["target"], made)


def probability_row(probability: npt.NDArray[np.floating], target: npt.NDArray[np.bool_] = TARGET) -> ProbabilityRow:
    return ProbabilityRow("sample", GREY, target, (ProbabilityPanel("network told style", probability),))


def sweep(
    values: list[float], own: float = 3.0, masks: list[npt.NDArray[np.uint8]] | None = None, **other: Any
) -> bytes:
    made = [2 * box(10, 10, 12 + k, 12 + k).astype(np.uint8) for k in range(len(values))] if masks is None else masks
    settings: dict[str, Any] = {
        "image": GREY, "target": TARGET.astype(np.uint8), "class_names": ("kidney", "tumour"), "label": "size, cm",
        "title": "sweep", "about": ABOUT, **other,
    }  # fmt: skip
    return draw_sweep(values=values, masks=made, own=own, **settings)


def test_matches_false_positives_and_false_negatives_have_their_colours() -> None:
    picture = draw_overlays([overlay_row()], "title", ABOUT)
    found = {colour: count(picture, colour) for colour in (FALSE_POSITIVE, FALSE_NEGATIVE)}
    panel = 336**2 * 200 / SIDE**2  # of 336 x 336 pixels, 200 of the sample's 1600
    legend = 2000
    assert panel * 0.95 < found[FALSE_POSITIVE] < panel + legend
    assert panel * 0.95 < found[FALSE_NEGATIVE] < panel + legend
    perfect = draw_overlays([overlay_row(predicted=TARGET)], "title", ABOUT)
    assert count(perfect, FALSE_POSITIVE) < legend
    assert count(perfect, FALSE_NEGATIVE) < legend
    assert count(perfect, MATCH) - count(picture, MATCH) == pytest.approx(panel, rel=0.05)
    assert count(picture, TRUTH) > 100


def test_where_nothing_is_and_nothing_is_predicted_the_image_is_dimmed() -> None:
    image = pixels(draw_overlays([overlay_row(target=box(0, 0, 0, 0), predicted=box(0, 0, 0, 0))], "", ABOUT))
    left, right = image[:, : image.shape[1] // 2], image[:, image.shape[1] // 2 :]
    assert np.percentile(right, 30) < 0.5 * np.percentile(left, 60)
    assert not (right[100:300, 50:-50] == 255).all(axis=2).any()


def test_a_figure_grows_with_its_rows_and_columns() -> None:
    def size(rows: int, panels: int) -> tuple[int, ...]:
        return pixels(draw_overlays([overlay_row(panels=panels)] * rows, "title", "about")).shape[:2]

    heights = [size(rows, 1)[0] for rows in (1, 2, 3)]
    assert heights[2] - heights[1] == heights[1] - heights[0] == pytest.approx(336 + 16, abs=1)
    assert size(1, 3)[1] - size(1, 2)[1] == size(1, 2)[1] - size(1, 1)[1] > 336
    wide = np.repeat(GREY, 2, axis=1)
    flat = overlay_row(image=wide, target=np.hstack([TARGET] * 2), predicted=np.hstack([TARGET] * 2))
    assert pixels(draw_overlays([flat], "title", "about")).shape[0] < heights[0] - 150


def test_rows_may_be_of_different_sizes_grey_and_coloured() -> None:
    coloured = np.repeat(GREY, 3, axis=2).copy()
    coloured[..., 0] = 200
    half = slice(None, SIDE // 2)
    cut = overlay_row("cut", image=GREY[half], target=TARGET[half], predicted=PREDICTED[half])
    assert pixels(draw_overlays([overlay_row(image=coloured), cut], "title", ABOUT)).ndim == 3


def test_probabilities_have_their_colour_and_the_half_contour() -> None:
    viridis_low, viridis_high = "#440154", "#fde724"
    sharp = draw_probabilities([probability_row(TARGET.astype(np.float32))], "title", ABOUT)
    assert count(sharp, viridis_low) > 2 * count(sharp, viridis_high) > 20_000
    assert count(sharp, MAP_HALF) > 100
    unsure = draw_probabilities([probability_row(np.full((SIDE, SIDE), 0.3))], "title", ABOUT)
    assert count(unsure, viridis_low) < 1000
    assert count(unsure, MAP_HALF) < count(sharp, MAP_HALF)


def test_a_sweep_shows_classes_and_frames_the_value_nearest_to_the_images_own() -> None:
    values = [1.0, 2.0, 4.0]
    for own, position in ((0.5, 1), (2.0, 2), (3.3, 3)):
        image = pixels(sweep(values, own))
        frame = np.rint(np.array(to_rgb(OWN)) * 255).astype(np.uint8)
        columns = np.flatnonzero((image[:250] == frame).all(axis=2).any(axis=0))  # above the legend
        assert columns.mean() // 352 == position, own
        assert columns.max() - columns.min() < 352, "one panel"
    assert count(sweep(values), CLASSES[0]) > 50
    few, many = (sweep([float(k) for k in range(count)]) for count in (5, 6))
    assert pixels(many).shape[0] > pixels(few).shape[0] + 300, "the seventh panel is on a line of its own"
    assert pixels(many).shape[1] == pixels(few).shape[1]


def drawn_texts(figure: Figure) -> list[tuple[str, npt.NDArray[np.float64]]]:
    """Each text that is drawn, with its box: left, bottom, right, top in pixels."""
    canvas: Any = figure.canvas
    texts = [text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text().strip()]
    drawn = [(t.get_text(), t.get_window_extent(canvas.get_renderer())) for t in texts if t.get_visible()]
    return [(text, np.array(extent.extents)) for text, extent in drawn]


LONG = "a network with a name that nobody would type twice, F1 0.861"


@pytest.mark.parametrize("panels", [1, 2, 7])
@pytest.mark.parametrize("kind", ["overlays", "probabilities", "sweep"])
def test_no_text_covers_another_or_leaves_the_figure(kind: str, panels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    save = Figure.savefig

    def keep(figure: Figure, *args: Any, **kwargs: Any) -> None:
        save(figure, *args, **kwargs)
        figure.set_dpi(kwargs["dpi"])
        figure.draw_without_rendering()
        figures.append(figure)

    monkeypatch.setattr(Figure, "savefig", keep)
    name = "A549\na_file_name_without_a_space_that_is_longer_than_the_image_is_tall$_$.png"
    title = "a_study: what all of these networks miss, and what they don't, at some length $"
    about = 3 * ABOUT
    if kind == "overlays":
        row = OverlayRow(name, GREY, TARGET, tuple(Panel(f"{k} {LONG}", PREDICTED) for k in range(panels)))
        picture = draw_overlays([row, row], title, about)
    elif kind == "probabilities":
        maps = tuple(ProbabilityPanel(f"{k} {LONG}", PREDICTED.astype(float)) for k in range(panels))
        picture = draw_probabilities([ProbabilityRow(name, GREY, TARGET, maps)] * 2, title, about)
    else:
        picture = sweep(
            [float(k) for k in range(panels)], own=2.125, label="tumour_size_at_its_widest_in_cm", title=title
        )
    assert pixels(picture).ndim == 3
    (figure,) = figures
    width, height = figure.bbox.size
    texts = drawn_texts(figure)
    assert any("SIMULATED" in text for text, _ in texts)
    for text, (left, bottom, right, top) in texts:
        assert left >= 0, text
        assert bottom >= 0, text
        assert right <= width, text
        assert top <= height, text
    panels_drawn = [(f"panel {k}", np.array(axis.get_window_extent().extents)) for k, axis in enumerate(figure.axes)]
    for (a, p), (b, q) in itertools.combinations([*texts, *panels_drawn], 2):
        overlap = np.minimum(p[2:], q[2:]) - np.maximum(p[:2], q[:2])
        assert not (overlap > 1).all(), (a, b)


def test_what_does_not_fit_together_is_an_error_that_names_it() -> None:
    small = TARGET[:-1]
    with pytest.raises(ValueError, match=r"A549.*target is bool \(39, 40\); expected bool.* \(40, 40\)"):
        overlay_row("A549", target=small)
    with pytest.raises(ValueError, match=r"prediction 'network 0, F1 0.861' is bool \(39, 40\)"):
        overlay_row("A549", predicted=small)
    with pytest.raises(ValueError, match=r"prediction .* is uint8 \(40, 40\); expected bool"):
        overlay_row("A549", predicted=PREDICTED.astype(np.uint8))
    with pytest.raises(ValueError, match=r"image is uint8 \(40, 40\); expected uint8 \(H, W, 1\) or \(H, W, 3\)"):
        overlay_row("A549", image=GREY[..., 0])
    with pytest.raises(ValueError, match=r"probability 'network told style' is float64 \(39, 40\)"):
        probability_row(np.zeros((39, 40)))
    for wrong in (1.5, -0.1, np.nan):
        with pytest.raises(ValueError, match="expected values from 0 to 1"):
            probability_row(np.full((SIDE, SIDE), wrong))
    with pytest.raises(ValueError, match="0 rows of"):
        draw_overlays([], "title", ABOUT)
    with pytest.raises(ValueError, match=r"2 rows of \[1, 2\] panels"):
        draw_overlays([overlay_row(panels=1), overlay_row(panels=2)], "title", ABOUT)


def test_a_sweep_that_does_not_fit_together_is_an_error_that_names_it() -> None:
    mask = TARGET.astype(np.uint8)
    with pytest.raises(ValueError, match="2 values and 1 masks"):
        sweep([1.0, 2.0], masks=[mask])
    with pytest.raises(ValueError, match="0 values and 0 masks"):
        sweep([])
    with pytest.raises(ValueError, match=r"mask of 2 is uint8 \(39, 40\)"):
        sweep([1.0, 2.0], masks=[mask, mask[:-1]])
    with pytest.raises(ValueError, match="mask of 1 has value 3; expected at most 2"):
        sweep([1.0], masks=[3 * mask])
    with pytest.raises(ValueError, match="own is nan"):
        sweep([1.0], own=np.nan)
    with pytest.raises(ValueError, match="7 classes; expected 1 to 6"):
        sweep([1.0], class_names=tuple("abcdefg"))
