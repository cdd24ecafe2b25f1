"""The row that the scoreboard gives to a set of clips, and how to read it.

A row is a dictionary of plain numbers. The headline metrics are SCORE and its parts, all from 0
to 1; row["interval"] holds the 95 % limits of each of them.
"""
EDITION = 2          # of the scoreboard; rows of different editions cannot be compared
HEADLINE_METRICS = ("SCORE", "CLIPS", "ID", "LOOKS", "PHY", "NEW", "PROMPT", "FIT", "COVER")


def is_missing(value: object) -> bool:
    """Whether a row has no value: None or NaN."""
    return value is None or value != value


def score_interval(row: dict, part: str = "SCORE") -> tuple[float, float] | None:
    """The 95 % limits of a headline metric, or None if the row has none."""
    low, high = (row.get("interval") or {}).get(part) or (None, None)
    return None if is_missing(low) or is_missing(high) else (low, high)
