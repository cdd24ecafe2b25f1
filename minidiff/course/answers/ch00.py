"""Chapter 00, welcome: the right answers and the common mistakes."""
from torch import Tensor

from minidiff.course.answers import Mistake, answer


def to_unit(x: Tensor) -> Tensor:
    """Pixels from [-1, 1] to [0, 1]; values beyond are clipped."""
    return ((x + 1) / 2).clamp(0, 1)


def mix(x0: Tensor, eps: Tensor, alpha: float, sigma: float) -> Tensor:
    """Data and noise, added with their weights."""
    return alpha * x0 + sigma * eps


ANSWERS = {
    "c00-unit": answer(
        to_unit,
        Mistake("not-clipped", {".clamp(0, 1)": ""},
                "The line is right, but values outside -1 ... 1 stay outside 0 ... 1; cut them off "
                "with clamp.", 1),
        Mistake("not-halved", {"((x + 1) / 2)": "(x + 1)"},
                "You shift, but do not halve: half of your values are cut off at 1.", 2),
        Mistake("clipped-only", {"((x + 1) / 2)": "x"},
                "You cut off all negative values: in our range they are the darker half of the "
                "picture.", 1),
        Mistake("halved-first", {"(x + 1) / 2": "x / 2 + 1"},
                "You halve before you shift by 1, which ends at 1.5: halve the sum, or shift by "
                "0.5.", 2),
        Mistake("backwards", {"(x + 1) / 2": "2 * x - 1"},
                "That is the way back, from 0 ... 1 to -1 ... 1.", 1),
        Mistake("stretched", {"((x + 1) / 2).clamp(0, 1)": "(x - x.min()) / (x.max() - x.min())"},
                "You stretch each input to its own minimum and maximum, so a grey picture turns "
                "black and white. The line is the same for all: -1 to 0, and 1 to 1.", 1)),
    "c00-mix": answer(
        mix,
        Mistake("swapped", {"alpha * x0 + sigma * eps": "sigma * x0 + alpha * eps"},
                "alpha belongs to the data, sigma to the noise; yours are exchanged.", 2),
        Mistake("no-alpha", {"alpha * x0": "x0"},
                "All of the data is in your mixture, whatever alpha is.", 2),
        Mistake("no-sigma", {"sigma * eps": "eps"},
                "All of the noise is in your mixture, whatever sigma is.", 2),
        Mistake("squared", {"alpha * x0 + sigma * eps": "alpha**2 * x0 + sigma**2 * eps"},
                "You square alpha and sigma. They are the factors of data and noise; their squares "
                "are variances.", 3),
        Mistake("one-minus", {"sigma * eps": "(1 - alpha) * eps"},
                "You take 1 - alpha for sigma. That is one schedule of many; use the sigma that "
                "you are given.", 3),
        Mistake("minus", {"+ sigma": "- sigma"},
                "You take the noise away; it is added. (Noise has no sign that anyone could see, "
                "but a model trained on one sign must be sampled with that sign.)", 3)),
}

RIGHT = {
    "c00-seed": (0, (
        "All its randomness comes from the seed. So a clip can be shown to others by its prompt, "
        "its seed and the name of the model.",
        "On another machine, or with another number of threads, sums are taken in another order "
        "and the last bits may differ. Here it is the same arithmetic twice.",
        "Chance on a computer is computed: from the same seed, the same noise.")),
}
