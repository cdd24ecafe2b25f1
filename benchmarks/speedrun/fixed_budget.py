"""How good a model of 32x32, 8 frames, can be so many seconds after its process started.

    python -m benchmarks speedrun --class cpu-10min --ideas record "no attention" --seeds 0 1 2

Import, drawing the digits, warm-up and compilation count; the evaluation after it does not. Fixed
are the data (the stream of built-in digits of the run's seed), the evaluation (SCORE of so many
clips by the demo's sampler, one sampling seed) and the cores (--cores). Everything else can be
varied: `variants.VARIANTS` lists the ideas. Each run is a row of a table. A stored row is not made
again, unless the settings of its idea changed.

Runs of the record also tell when they reached the class' SCORE (`timed_training.time_reached`).
Their weights are kept from a third of the time on, every tenth of it. The learning rate is planned
for the whole time, so the same recipe with another budget would need another time.
"""
from collections.abc import Sequence

import torch

from benchmarks.results_table import ResultsTable
from benchmarks.speed.benchmark_config import BenchmarkConfig
from benchmarks.speed.comparisons import report_failures
from benchmarks.speedrun.variants import RECORD, VARIANTS, BudgetClass, fingerprint, variant_recipe
from minidiff.course.student import claims
from minidiff.evaluation.metrics import MIN_CLIPS
from minidiff.evaluation.scoreboard import HEADLINE_METRICS
from minidiff.training import profiles

KEY = ("idea", "recipe", "seed")
COLUMNS = (*KEY, "steps", "first", "seconds", "n", *HEADLINE_METRICS, "edition", "low", "high",
           "reached")
SNAPSHOTS, CONFIRM_CLIPS = 10, 256          # snapshots in a budget; clips that confirm one


def speedrun(config: BenchmarkConfig, budget_class: BudgetClass, ideas: Sequence[str],
             seeds: Sequence[int], seconds: float | None = None) -> None:
    """Make the rows that are missing and print the table of the class.

    seconds: a trial with another budget and the fewest clips; give it a folder of its own.
    """
    budget = seconds or budget_class.seconds
    n = MIN_CLIPS if seconds else profiles.get_profile(budget_class.profile).clips
    note = (f"{budget:g} s from process start on cores {config.cores}, a thread each; SCORE of n "
            "clips, low and high of its 95 % interval over clips")
    rows = ResultsTable(f"speedrun-{budget_class.name}", COLUMNS, KEY, config.folder, note)
    for seed in seeds:
        for idea in dict.fromkeys(ideas):
            key = variant_key(idea, budget_class) | dict(seed=seed)
            if rows.has(**key):
                continue
            with report_failures(f"{idea}, seed {seed}"):
                target = target_settings(budget_class) if idea == RECORD and not seconds else {}
                recipe = variant_recipe(idea, budget_class)
                row = config.run_timed_training(
                    "speedrun", plan=recipe._asdict(), seed=seed, device=budget_class.device,
                    budget=budget, n=n, **target)
                rows.add(**key, **row)
                print(f"{idea}, seed {seed}: SCORE {row['SCORE']}, {row['steps']} steps, the first "
                      f"after {row['first']:.1f} s", flush=True)
    print(record_table(rows.rows, budget_class))
    print(f"{RECORD}, SCORE {budget_class.target}: {times_table(rows.rows, budget_class)}")


def times_table(rows: Sequence[dict], budget_class: BudgetClass) -> str:
    """After how many seconds each seed of the record had the class' SCORE."""
    key = variant_key(RECORD, budget_class)
    return "; ".join(f"seed {row['seed']} {row['reached'] or 'never'}" for row in rows
                     if row | key == row) or "no run yet"


def target_settings(budget_class: BudgetClass) -> dict:
    """The settings with which a training tells when it reached the class' SCORE."""
    times = [budget_class.seconds * (1 / 3 + i / SNAPSHOTS) for i in range(SNAPSHOTS)]
    return dict(target=budget_class.target, times=[t for t in times if t < budget_class.seconds],
                confirm=CONFIRM_CLIPS)


def variant_key(idea: str, budget_class: BudgetClass) -> dict[str, str]:
    """What identifies the rows of an idea with its present settings."""
    return dict(idea=idea, recipe=fingerprint(variant_recipe(idea, budget_class)))


def record_table(rows: Sequence[dict], budget_class: BudgetClass) -> str:
    """Markdown: each idea with SCORE, difference from the record on the same seeds, and steps.

    Rows of earlier settings are left out. The best idea comes first.
    """
    scores, steps = {}, {}
    for row in rows:
        idea, seed = row["idea"], row["seed"]
        if idea in VARIANTS and row | variant_key(idea, budget_class) == row:
            scores.setdefault(idea, {})[seed] = float(row["SCORE"])
            steps.setdefault(idea, []).append(float(row["steps"]))
    record, lines = scores.get(RECORD, {}), []
    for idea, own in scores.items():
        more = [own[seed] - record[seed] for seed in own if seed in record]
        difference = "" if idea == RECORD else mean_or_value(more)
        lines.append((idea, mean_or_value(own.values()), difference, len(own),
                      round(sum(steps[idea]) / len(own))))
    lines.sort(key=lambda line: -sum(scores[line[0]].values()) / len(scores[line[0]]))
    heads = ("idea", "SCORE", f"less {RECORD}, same seeds", "seeds", "steps")
    table = claims.markdown_table(heads, lines).data
    return (f"{table}\n\n±: 1.96 standard errors over seeds (with three seeds that covers 81 %, "
            "not 95).")


def mean_or_value(values) -> torch.Tensor | float | str:
    """A cell of the table: several values for mean and interval, a single one, or nothing."""
    values = torch.tensor(list(values), dtype=torch.float64)
    return values if len(values) > 1 else values[0].item() if len(values) else ""
