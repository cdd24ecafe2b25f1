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
                "black and white. The line is the same for all: -1 to 0, and 1 to 1.", 1),
        Mistake("wrong-limits", {".clamp(0, 1)": ".clamp(-1, 1)"},
                "You cut off at -1 and 1, the limits of the model's range. After the line the "
                "limits are 0 and 1, so values below -1 come out negative.", 1),
        Mistake("only-above", {".clamp(0, 1)": ".clamp(max=1)"},
                "You cut off what is above 1, but what is below 0 stays. Both ends need it.", 1),
        Mistake("only-below", {".clamp(0, 1)": ".clamp(min=0)"},
                "You cut off what is below 0, but what is above 1 stays: a picture's brightest "
                "value is 1.", 1),
        Mistake("clipped-first", {"((x + 1) / 2).clamp(0, 1)": "(x.clamp(0, 1) + 1) / 2"},
                "You cut off at 0 before you shift, so the whole darker half becomes 0.5. First "
                "the line, then the limits.", 1),
        Mistake("bytes", {"((x + 1) / 2).clamp(0, 1)": "((x + 1) * 127.5).clamp(0, 255)"},
                "Your values run from 0 to 255, as bytes do. Here a picture's range is 0 ... 1.",
                1),
        Mistake("whole-numbers", {"(x + 1) / 2": "(x + 1) // 2"},
                "// divides and rounds down, so all greys turn black. To halve, use /.", 2),
        Mistake("absolute", {"((x + 1) / 2)": "x.abs()"},
                "abs() folds the range: black (-1) and white (1) both become 1. A line keeps them "
                "apart.", 1),
        Mistake("negative", {"(x + 1) / 2": "(1 - x) / 2"},
                "Your pictures are negatives: -1, which is black, becomes 1, which is white.", 2),
        Mistake("sigmoid", {"((x + 1) / 2).clamp(0, 1)": "x.sigmoid()"},
                "A sigmoid squeezes all numbers into 0 ... 1, but it takes -1 to .27 and 1 to .73, "
                "and pictures lose contrast. A straight line takes them to 0 and 1.", 1)),
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
                "but a model trained on one sign must be sampled with that sign.)", 3),
        Mistake("sigma-from-alpha", {"sigma * eps": "(1 - alpha**2)**0.5 * eps"},
                "You compute sigma as sqrt(1 - alpha^2). That holds on some schedules, not on all: "
                "with alpha = 0.3 and sigma = 0.7, say, it does not. Use the sigma that you are "
                "given.", 3),
        Mistake("alpha-from-sigma", {"alpha * x0": "(1 - sigma) * x0"},
                "You take 1 - sigma for alpha. Both are given, because on most schedules they do "
                "not sum to 1.", 3),
        Mistake("normalised", {"alpha * x0 + sigma * eps":
                               "(alpha * x0 + sigma * eps) / (alpha**2 + sigma**2)**0.5"},
                "You divide by sqrt(alpha^2 + sigma^2), which makes the variance 1. Not every "
                "schedule wants that: the mixture is the plain sum.", 3),
        Mistake("rooted", {"alpha * x0 + sigma * eps": "alpha**0.5 * x0 + sigma**0.5 * eps"},
                "You take square roots of alpha and sigma. They are the factors already; the roots "
                "belong to papers whose alpha is a variance.", 3),
        Mistake("brackets", {"alpha * x0 + sigma * eps": "alpha * (x0 + sigma * eps)"},
                "Your alpha multiplies the noise, too. Only x0 is multiplied by alpha.", 3),
        Mistake("product", {"alpha * x0 + sigma * eps": "alpha * x0 * sigma * eps"},
                "You multiply data and noise. A mixture is their sum: each with its weight, then "
                "added.", 1),
        Mistake("clipped", {"alpha * x0 + sigma * eps": "(alpha * x0 + sigma * eps).clamp(-1, 1)"},
                "You cut the mixture off at -1 and 1. Noise goes beyond that range, and the "
                "network must see all of it.", 1),
        Mistake("one-noise-per-clip", {"* eps": "* eps[:, :1]"},
                "All frames of a clip get the first frame's noise. eps has noise for every frame; "
                "use all of it.", 1)),
}

RIGHT = {
    "c00-seed": (0, (
        "All its randomness comes from the seed. So a clip can be shown to others by its prompt, "
        "its seed and the name of the model.",
        "On another machine, or with another number of threads, sums are taken in another order "
        "and the last bits may differ. Here it is the same arithmetic twice.",
        "Chance on a computer is computed: from the same seed, the same noise.")),
}
