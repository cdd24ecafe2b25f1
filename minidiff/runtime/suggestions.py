"""Suggestions for misspelt names: "Unknown sampler 'eulr' (do you mean 'euler'?)"."""
import difflib
from collections.abc import Iterable


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """" (do you mean 'euler'?)" for the one or two most similar names, or "" if none is similar."""
    close = difflib.get_close_matches(str(word).lower(), list(known), n=2, cutoff=0.7)
    return f" (do you mean {' or '.join(map(repr, close))}?)" if close else ""
