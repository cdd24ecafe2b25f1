"""Chapter 00, welcome: two small things to write, to see how exercises work."""
import torch

from minidiff.course.checking.exercise import Case, Exercise, Question, dtype_name, seeded_randn

DTYPES = torch.float32, torch.float64


def unit_cases() -> list[Case]:
    """Tensors in [-1, 1], tensors inside half of that range, and tensors beyond it."""
    cases = [Case(f"x {shape} from -1 to 1, {dtype_name(dtype)}",
                  (seeded_randn(seed, *shape, dtype=dtype).clamp(-1, 1),))
             for seed, (shape, dtype) in enumerate(
                 (s, d) for s in ((2, 1, 4, 4), (7,)) for d in DTYPES)]
    cases.append(
        Case("x (3, 5), all of it inside -0.5 ... 0.5", (seeded_randn(8, 3, 5).clamp(-0.5, 0.5),))
    )
    cases.append(Case("x (4, 6), from about -3 to 3", (2 * seeded_randn(9, 4, 6),)))
    return cases


def mix_cases() -> list[Case]:
    """Clips and noise with four pairs of alpha and sigma, all data to all noise."""
    cases, weights = [], ((1.0, 0.0), (0.8, 0.6), (0.3, 0.7), (0.0, 1.0))
    for seed, ((alpha, sigma), dtype) in enumerate((w, d) for w in weights for d in DTYPES):
        x0, eps = (
            seeded_randn(seed, 2, 3, 1, 4, 4, dtype=dtype),
            seeded_randn(seed + 50, 2, 3, 1, 4, 4, dtype=dtype),
        )
        cases.append(Case(f"clips (2, 3, 1, 4, 4), alpha = {alpha}, sigma = {sigma}, "
                          f"{dtype_name(dtype)}", (x0, eps, alpha, sigma)))
    return cases


EXERCISES = (
    Exercise(
        "c00-unit", "to_unit", "From the model's range to a picture's", 1, 3, 1,
        ("A straight line takes -1 to 0 and 1 to 1. Values outside are cut off.",
         "Shift by 1, so that it runs from 0 to 2; then halve.",
         "((x + 1) / 2).clamp(0, 1)"),
        unit_cases, ("minidiff.data.media.to_unit",)),
    Exercise(
        "c00-mix", "mix", "Data and noise", 1, 3, 1,
        ("One line: the data times its weight plus the noise times its weight.",
         "alpha is the weight of x0 in the mixture, sigma is the weight of eps.",
         "alpha * x0 + sigma * eps"),
        mix_cases, ("minidiff.schedules.add_noise",)),
)

QUESTIONS = (
    Question("c00-seed", "predict",
             "A model starts from random noise and adds more at every step. You run it twice, "
             "with the same prompt and the same seed. How do the two clips differ?",
             ("Not at all, to the last bit", "In details that nobody sees",
              "Another digit, on another path")),
)
