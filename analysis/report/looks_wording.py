"""Outcomes of looks at a comparison, in words: for the terminal and the report."""

from analysis.stats.sequential import Standing


def outcome_of(standing: Standing, margin: float, more: bool) -> str:
    """A comparison's outcome so far.

    Args:
        standing: after the last look.
        margin: of equivalence.
        more: whether further looks were planned.
    """
    last = standing.last
    if last is None or last.estimate is None:
        return "not looked at yet"
    numbers = f"{last.estimate:+z.3f}"
    low, high = standing.adjusted
    if low == low:
        numbers += f" (interval {low:+z.3f} to {high:+z.3f})"
    if standing.open:
        return f"{numbers}, open: it goes on"
    said = {
        "helps": f"helps, {numbers}",
        "hurts": f"hurts, {numbers}",
        "equal": f"equal within ±{margin:g}, {numbers}",
        "too few": f"{numbers}, too few images for a test: it stops",
        "futile": f"futile, {numbers}: it stops, since {why_futile(standing, margin)}",
        "no evidence": f"undecided, {numbers}" + ("" if more else ": that was the last look"),
    }
    return said[standing.verdict]


def why_futile(standing: Standing, margin: float) -> str:
    """The reason why a comparison was given up, to go behind "since"."""
    last = standing.last
    if last is None or last.chance is None:
        return "more seeds would hardly decide it"
    if not standing.by_images:
        return f"all further seeds would decide it with a chance of {100 * last.chance:.0f} %"
    more = f"; about {last.images_needed} would do" if last.images_needed else ""
    return f"differences between images alone hide ±{margin:g}, whatever the number of seeds{more}"
