"""Seconds of training from process start until a model of 32x32, 8 frames, has its class' SCORE.

    python -m benchmarks time-to-score --class cpu-10min --seeds 0 1 2 3 4
    python -m benchmarks time-to-score --class cpu-10min --seeds 0 --sides video-diffusion-pytorch

Wall seconds of a process that has the machine's cores, or its GPU, to itself. Import, drawing the
digits and warm-up count; scoring does not. Our rows are the speedrun's runs of the record.

The other libraries train on the CPU alone, on the same clips, by their own loss and constant
learning rate, with the optimisations (bfloat16, channels_last) that are fastest here, which are
tried first. They have three budgets and are scored once at the end, by 32 clips, because their
samplers are slow. One without labels is scored without PROMPT, which is in its favour.
"""
from collections.abc import Sequence

from benchmarks.results_table import ResultsTable
from benchmarks.speed.benchmark_config import OURS, BenchmarkConfig, optimisations_label
from benchmarks.speed.comparisons import fastest_optimisations, report_failures
from benchmarks.speedrun.fixed_budget import COLUMNS, KEY, speedrun
from benchmarks.speedrun.variants import RECORD, BudgetClass, fingerprint, variant_recipe
from minidiff.course.student import claims
from minidiff.evaluation.metrics import MIN_CLIPS

PEER_BUDGETS = 3                                      # budgets of another library


def time_to_score(config: BenchmarkConfig, budget_class: BudgetClass, sides: Sequence[str],
                  seeds: Sequence[int]) -> None:
    """Make the rows that are missing and print all rows of the class."""
    if OURS in sides:
        speedrun(config, budget_class, [RECORD], seeds)
    budget = PEER_BUDGETS * budget_class.seconds
    note = (f"{budget:g} s from process start on cores {config.cores}, a thread each; reached: "
            f"whether SCORE of n clips was {budget_class.target} then")
    rows = ResultsTable(f"peers-{budget_class.name}", ("side", "side_is", *COLUMNS[1:]),
                        ("side", *KEY[1:]), config.folder, note)
    recipe = variant_recipe(RECORD, budget_class)
    for seed in seeds:
        for side in (side for side in sides if side != OURS):
            key = dict(side=side, recipe=fingerprint(recipe), seed=seed)
            if rows.has(**key):
                continue
            if budget_class.device != "cpu":
                print(f"{side}: trains on the CPU alone; no row.", flush=True)
                continue
            with report_failures(f"{side}, seed {seed}"):
                ways = fastest_optimisations(config, "train", side)
                row = config.run_timed_training(
                    "speedrun", side, optimisations=ways, plan=recipe._asdict(), seed=seed,
                    device="cpu", budget=budget, n=MIN_CLIPS, confirm=MIN_CLIPS,
                    target=budget_class.target)
                rows.add(**key, side_is=optimisations_label(ways), **row)
                print(f"{side}, seed {seed}: SCORE {row['SCORE']}, {row['steps']} steps",
                      flush=True)
    print(peers_table(rows.rows, budget_class))


def peers_table(rows: Sequence[dict], budget_class: BudgetClass) -> str:
    """Markdown: the result of each library and seed."""
    heads = ("side", "as", "seed", f"SCORE {budget_class.target} after, s", "SCORE", "clips",
             "steps")
    never = f"> {PEER_BUDGETS * budget_class.seconds:g}"
    lines = [(row["side"], row["side_is"], row["seed"], row["reached"] or never, row["SCORE"],
              row["n"], row["steps"]) for row in rows]
    return claims.markdown_table(heads, lines).data
