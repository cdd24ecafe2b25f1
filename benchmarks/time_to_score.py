"""Seconds of training from process start until a model of 32x32, 8 frames, has a SCORE.

    python -m benchmarks time-to-score --target 0.8 --seeds 0 1 2 3 4 --budget 600
    python -m benchmarks time-to-score --seeds 0 --sides "diffusers LatteTransformer3DModel"

Wall seconds of a process that has the machine's cores to itself, or its GPU; import, drawing the
digits and warm-up count. At given times the clock stands still and a few clips are judged; if they
have the target, more of another sampling seed must confirm it, and the time of that look is the
answer. Ours is the demo's recipe, looked at after a third of the budget and then every tenth of it.
Its learning rate is planned for the whole budget, so another budget gives another time.

Peers train on the CPU alone, on the same clips, by their own loss, constant learning rate and
sampler. They have three budgets and are judged once, by 32 clips when these are over, because their
samplers take long: 1,000 calls for a clip of video-diffusion-pytorch, hours on two cores. One that
cannot be told a digit is judged without PROMPT, which is in its favour.
"""
from collections.abc import Sequence

import torch

from benchmarks.ideas import fingerprint
from benchmarks.rows import told
from benchmarks.setting import OURS, Setting
from benchmarks.stored import Table
from minidiff.course import claims
from minidiff.measures import LEAST
from minidiff.profiles import profile
from minidiff.recipes import Recipe
from minidiff.scoreboard import HEADLINES

KEY = ("side", "recipe", "target", "budget", "seed")
COLUMNS = (*KEY, "reached", "steps", "n", *HEADLINES, "low", "high")
LOOKS, BUDGETS = 10, 3                                     # ours in a budget; budgets of a peer
CLIPS, FEW = (128, 512), (LEAST, LEAST)                    # to look, to confirm


def time_to_score(setting: Setting, sides: Sequence[str], target: float, seeds: Sequence[int],
                  budget: float, quick: bool = False) -> None:
    """Run what is missing and print all rows of this device. quick: the fewest clips judge."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    plan = profile("gpu" if device == "cuda" else "cpu").plan()
    rows = Table(f"time-to-score-{device}", COLUMNS, KEY, setting.folder,
                 f"reached: s of training from process start, judging left out, on {device}, cores "
                 f"{setting.cores}, a thread each; SCORE of n clips then, or when time was over")
    for seed in seeds:
        for side in sides:
            key = dict(side=side, recipe=fingerprint(plan), target=target, budget=budget, seed=seed)
            if rows.has(**key):
                continue
            if side != OURS and device != "cpu":
                print(f"{side}: trains on the CPU alone, ours on {device}; no row.", flush=True)
                continue
            with told(f"{side}, seed {seed}"):
                row = run(setting, side, plan, seed, device, budget, target,
                          FEW if quick or side != OURS else CLIPS)
                print(f"{side}, seed {seed}: {row['reached']} s, SCORE {row['SCORE']}", flush=True)
                rows.add(**key, **row)
    print(reached_table(rows.rows))


def run(setting: Setting, side: str, plan: Recipe, seed: int, device: str, budget: float,
        target: float, clips: tuple[int, int]) -> dict:
    """The columns of one training, but for its key."""
    ours, (n_look, n) = side == OURS, clips
    most = budget if ours else BUDGETS * budget
    row = setting.race("time to score", side, plan=plan._asdict(), seed=seed, device=device,
                       budget=most, target=target, times=looks(budget) if ours else [],
                       n_look=n_look, n=n)
    seconds = row.pop("seconds")
    return dict(reached=f"> {most:g}" if seconds is None else f"{seconds:.1f}", **row)


def looks(budget: float) -> list[float]:
    """When to look: from a third of the budget on; at its end the larger number judges anyway."""
    each = budget / LOOKS
    return [budget / 3 + i * each for i in range(LOOKS) if budget / 3 + i * each < budget]


def reached_table(rows: Sequence[dict]) -> str:
    """Markdown: what each side took, seed by seed."""
    heads = ("side", "target", "budget, s", "seed", "reached after, s", "SCORE", "clips", "steps")
    columns = ("side", "target", "budget", "seed", "reached", "SCORE", "n", "steps")
    lines = sorted(tuple(row[c] for c in columns) for row in rows)
    return claims.table(heads, lines).data
