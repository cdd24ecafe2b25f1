"""The harness of the comparisons, on sides whose speed is known: it must find just that."""
import json
import shutil
import sys
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from random import Random
from statistics import median
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import results_table  # noqa: E402
from benchmarks.release import average_weights, release_checkpoint  # noqa: E402
from benchmarks.speed import comparisons, paired_timing  # noqa: E402
from benchmarks.speed.benchmark_config import (  # noqa: E402
    ALL_OPTIMISATIONS,
    OURS,
    PEERS,
    BenchmarkConfig,
    optimisations_label,
)
from benchmarks.speed.flops import count_flops  # noqa: E402
from benchmarks.speed.naive_clips import naive_clips  # noqa: E402
from benchmarks.speed.naive_clips import place_sprite as plain_place  # noqa: E402
from benchmarks.speed.paired_timing import (  # noqa: E402
    Comparison,
    NotMeasurable,
    Turn,
    Worker,
    WorkerFailed,
    bootstrap_interval,
    check_self_ratio,
    compare_blocks,
    time_blocks,
    warm_up,
)
from benchmarks.speed.peers import build  # noqa: E402
from benchmarks.studies import latent_vs_pixel_cost, scoreboard_figure  # noqa: E402
from benchmarks.studies.denoise_from_noise_level import noise_and_denoise  # noqa: E402
from benchmarks.studies.motion_errors_by_distance import motion_rows as near_or_apart  # noqa: E402
from benchmarks.studies.prompt_errors_by_angle import heading_angles, result_rows  # noqa: E402
from minidiff import load, pipeline  # noqa: E402
from minidiff.data import digits  # noqa: E402
from minidiff.data.media import to_unit  # noqa: E402
from minidiff.data.moving_mnist import moving_mnist, object_specs, place_sprites  # noqa: E402
from minidiff.evaluation.baselines import BASELINES  # noqa: E402
from minidiff.evaluation.rows import HEADLINE_METRICS  # noqa: E402
from minidiff.layers import attention  # noqa: E402
from minidiff.pipeline import GeneratedVideo  # noqa: E402
from minidiff.recipes import build_model, get_recipe  # noqa: E402
from minidiff.runtime import files  # noqa: E402
from minidiff.runtime.old_files import with_new_names  # noqa: E402
from minidiff.schedules import Flow  # noqa: E402

FAKE = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from benchmarks.speed.worker import peak_bytes, serve
kept = []
"""


def worker(iterate: str, facts: str = "{}", name: str = "fake") -> Worker:
    """A real process: `iterate` is the expression that it evaluates over and over."""
    code = FAKE + f"serve(lambda: ({facts}, lambda: {iterate}))"
    return Worker(name, [sys.executable, "-S", "-c", code])


class Clock:
    """Sides in this process on a machine that becomes slower from turn to turn."""

    def __init__(self, slower: float = 0.0):
        self.slower, self.order = slower, []

    def side(self, name: str, *seconds: float) -> "FakeSide":
        return FakeSide(self, name, seconds)


class FakeSide:
    def __init__(self, clock: Clock, name: str, seconds: tuple[float, ...]):
        self.clock, self.name, self.seconds, self.repeats, self.turns = clock, name, seconds, 1, 0

    def run_turn(self, times: int | None = None) -> Turn:
        wall = self.seconds[min(self.turns, len(self.seconds) - 1)]
        wall *= 1 + self.clock.slower * len(self.clock.order)
        self.turns += 1
        self.clock.order.append(self.name)
        return Turn(wall, wall / 2, 100 * self.turns)


def test_turns_are_a_b_b_a():
    clock = Clock()
    made = time_blocks(clock.side("A", 1), clock.side("B", 1), 3)
    assert "".join(clock.order) == "ABBA" * 3 and len(made) == 3


def test_a_machine_that_slows_down_evenly_does_not_change_the_ratio():
    clock = Clock(slower=0.2)
    found = compare_blocks(time_blocks(clock.side("A", 0.1), clock.side("B", 0.3), 8))
    assert (found.ratio, found.low, found.high, found.cpu) == pytest.approx((3, 3, 3, 3))
    assert found.b.peak == 1600 and found.b.cpu == pytest.approx(found.b.wall / 2)


def test_the_ratio_says_how_many_times_as_fast_a_is_and_lies_in_its_interval():
    noise, clock = Random(0), Clock()
    slow = [0.4 * noise.uniform(0.8, 1.2) for _ in range(30)]
    found = compare_blocks(time_blocks(clock.side("A", 0.1), clock.side("B", *slow)))
    assert found.low < found.ratio < found.high and found.low < 4 < found.high
    assert found.blocks == 15


def test_two_processes_that_sleep():
    with worker("time.sleep(0.01)") as a, worker("time.sleep(0.04)") as b:
        found = compare_blocks(time_blocks(a, b, 4))
    assert found.a.wall >= 0.01 and found.b.wall >= 0.04
    assert found.low <= found.ratio <= found.high and 1.5 < found.ratio < 5
    assert found.a.cpu < found.a.wall                              # sleeping takes no processor


def test_a_side_against_itself():
    clock = Clock()
    blocks = time_blocks(clock.side("A", 1.0), clock.side("A", 1.04))
    assert check_self_ratio("A", blocks) == pytest.approx(1.04)
    for other in (1.06, 0.94):
        with pytest.raises(NotMeasurable, match=r"A against itself gave (1\.06|0\.94)"):
            check_self_ratio("A", time_blocks(clock.side("A", 1.0), clock.side("A", other)))


@pytest.fixture
def uneven(monkeypatch):
    """Processes of which each is, for as long as it lives, a tenth faster or slower, in turn."""
    clock = Clock()
    clock.started, clock.closed = [], []

    @contextmanager
    def start(self, side=OURS, **_):
        mine = [s for s in clock.started if s == side]
        assert not clock.order                                     # all start before any turn
        clock.started.append(side)
        pace = (1.0 if side == OURS else 3.0) * clock.pace(side, len(mine))
        worker = clock.side(f"{side} {len(mine)}", pace)
        worker.facts, worker.close = {}, lambda: clock.closed.append(worker.name)
        yield worker
    monkeypatch.setattr(BenchmarkConfig, "start_worker", start)
    return clock


def in_turn(**settings) -> tuple:
    """minidiff against the first of the other libraries."""
    return comparisons.compare_in_turn(BenchmarkConfig([0], **settings), {}, dict(side=PEERS[0]))


def test_sets_of_processes_average_what_differs_between_them(uneven):
    """Each of ours against the next: as many faster as slower; theirs differ, too."""
    uneven.pace = lambda side, i: (0.9, 1.1)[(i if side == OURS else i // 2) % 2]
    found, same, *_ = in_turn(blocks=8, process_sets=8)
    assert len(uneven.started) == 17 and found.blocks == 8 and same == pytest.approx(1, abs=0.03)
    assert found.ratio == pytest.approx(3, rel=0.03) and found.low < 3 < found.high
    assert uneven.closed == [f"{PEERS[0]} {i}" for i in range(8)]


def test_one_set_works_through_all_blocks(uneven):
    uneven.pace = lambda *_: 1.0
    found, same, *_ = in_turn(blocks=8, process_sets=1)
    assert uneven.started == [OURS, OURS, PEERS[0]] and (found.ratio, same) == (3, 1)
    assert found.blocks == 8 and f"{OURS} 1" in uneven.order


def test_sets_share_the_blocks_and_an_uneven_machine_is_told_before_the_long_part(uneven):
    uneven.pace = lambda *_: 1.0
    assert in_turn(blocks=7, process_sets=4)[0].blocks == 7
    uneven.started.clear(), uneven.order.clear()
    uneven.pace = lambda side, i: 1.2 ** i
    with pytest.raises(NotMeasurable, match=r"against itself gave 1\.20"):
        in_turn(blocks=3, process_sets=3)
    assert not any(name.startswith(PEERS[0]) for name in uneven.order)


def test_warming_up_ends_when_three_turns_agree():
    side = Clock().side("A", 9.0, 0.1, 0.5, 0.2, 0.11, 0.105, 0.102, 7.0)
    assert warm_up(side, min_seconds=0.3).wall == 0.105 and side.turns == 7
    assert side.repeats == 3                                       # turns of .3 s and more


def test_two_turns_that_were_disturbed_do_not_keep_a_side_from_settling():
    side = Clock().side("A", 9.0, 1.0, 3.0, 1.05, 2.0, 1.02, 7.0)
    assert warm_up(side).wall == 1.02 and side.turns == 6
    assert warm_up(Clock().side("A", 1.0, 1.02, 0.98, 7.0)).wall == 1.0     # warm at once


def test_a_side_that_never_settles():
    with pytest.raises(NotMeasurable, match="A did not settle: its last turns took"):
        warm_up(Clock().side("A", *[2.0 ** i for i in range(40)]), max_turns=12)


@pytest.mark.parametrize("free, fits, tried, found", [
    (100, True, [1, 2, 8], (27.0, "measured")),
    (100, False, [1, 2, 8], (26.0, "computed from 1 and 2 clips")),      # the machine says no
    (70, True, [1, 2], (26.0, "computed from 1 and 2 clips")),           # much: not tried
    (None, True, [1, 2, 8], (27.0, "measured"))])
def test_peak_bytes_are_measured_where_they_fit(monkeypatch, free, fits, tried, found):
    """3 MiB a clip, momenta of 2 from the second step on, and one more MiB at eight clips."""
    batches = []

    @contextmanager
    def start(self, *_, batch, **__):
        batches.append(batch)
        if batch == 8 and not fits:
            raise WorkerFailed("not enough memory")
        steps = []

        def run_turn(n):
            steps.append(n)
            return Turn(1.0, 1.0, (3 * batch + 2 * (sum(steps) > 1) + (batch == 8)) * 2**20)
        yield SimpleNamespace(run_turn=run_turn)
    monkeypatch.setattr(BenchmarkConfig, "start_worker", start)
    monkeypatch.setattr(comparisons, "free_bytes", lambda: free and free * 2**20)
    assert (comparisons.peak_memory(BenchmarkConfig([0]), OURS, ()), batches) == (found, tried)


def test_the_interval_covers_the_median():
    random = Random(1)
    found = [bootstrap_interval([random.gauss(2, 0.3) for _ in range(15)], draws=200, seed=i)
             for i in range(200)]
    assert 0.88 <= sum(low <= 2 <= high for low, high in found) / 200 <= 1
    assert median(high - low for low, high in found) < 0.6         # a third of the values' spread
    assert bootstrap_interval([1.5] * 15) == (1.5, 1.5)


def test_a_worker_that_dies_gives_one_sentence():
    code = "int('x') if len(kept) == 1 else kept.append(0)"
    with (worker(code, name="theirs") as dies,
          pytest.raises(WorkerFailed, match=r"^theirs ended with status 1: ValueError: .*'x'\.$")):
        for _ in range(3):
            dies.run_turn()
    with pytest.raises(WorkerFailed, match="status 3: it said nothing"):
        worker("0", "sys.exit(3)", name="theirs").run_turn()


@pytest.mark.parametrize("raises, says", [
    ("__import__('no_such_peer')", "theirs: no_such_peer is not installed here"),
    ("kept.pop(1, 2)", "status 1: TypeError"),
    ("(_ for _ in ()).throw(RuntimeError('no room\\nat all'))", r"theirs: no room\.$")])
def test_a_side_that_cannot_begin_says_why(raises, says):
    with (worker("0", facts=raises, name="theirs") as fails,
          pytest.raises(WorkerFailed, match=says)):
        _ = fails.facts


def test_what_a_library_prints_does_not_mix_with_answers():
    with worker("print('{}')", "{'calls': 20, 'printed': print('no JSON')}") as noisy:
        assert noisy.facts == {"calls": 20, "printed": None}
        assert noisy.run_turn(5).wall > 0


def test_peak_memory_is_what_was_needed_beyond_imports():
    held = "b'x' * (8 << 20)"
    facts = f"{{'big': len({held} * 4), 'imports': peak_bytes()}}"
    with worker(f"kept.append({held})", facts) as grows:
        assert grows.run_turn(2).peak < 8 << 20                 # the imports' peak was higher
        grown = grows.run_turn(6).peak
    assert 16 << 20 < grown < 32 << 20                             # 8 x 8 MiB less 40 at import


@pytest.mark.parametrize("layer, shape, each", [
    (nn.Linear(5, 7), (3, 5), 2 * 3 * 5 * 7), (nn.Conv2d(2, 4, 3, padding=1), (1, 2, 6, 6),
                                               2 * 36 * 4 * 2 * 9)])
def test_flops_of_known_layers(layer, shape, each):
    x = torch.randn(shape, requires_grad=True)
    assert count_flops(lambda: layer(x)) == each
    assert count_flops(lambda: layer(x).sum().backward()) == 3 * each


def test_flops_of_attention_fused_and_written_out():
    q = torch.randn(2, 3, 8, 16, requires_grad=True)
    expected = 2 * 2 * (2 * 3 * 8 * 8 * 16)                        # q k^T, and its product with v
    assert count_flops(lambda: attention(q, q, q)) == expected
    assert count_flops(lambda: F.scaled_dot_product_attention(q, q, q)) == expected
    back = count_flops(lambda: F.scaled_dot_product_attention(q, q, q).sum().backward()) - expected
    assert back == 2.5 * expected                                  # the scores are computed again


def test_the_plain_loop_places_digits_as_the_fast_one_does():
    image, corner = torch.rand(14, 14), torch.tensor([3.3, 11.85])
    fast = place_sprites(image[None, None, None], corner[None, None, None], 32)[0, 0, 0, 0]
    assert_close(torch.from_numpy(plain_place(image.numpy(), *corner.tolist(), 32)), fast,
                 atol=1e-5, rtol=0)
    for edge in (0.0, 18.0):
        assert plain_place(image.numpy(), edge, edge, 32).sum() == pytest.approx(image.sum().item())
    clips = naive_clips(np.ones((1, 14, 14), np.float32), 5, np.random.default_rng(0))
    assert clips.shape == (5, 8, 1, 32, 32) and clips.min() == -1 and clips.max() == 1
    ink = (clips + 1).sum((2, 3, 4)) / 2
    assert_close(ink, np.full_like(ink, 14 * 14), rtol=1e-4, atol=0)         # bounces, never leaves


def test_our_side_trains_samples_and_is_counted():
    side = build(OURS, 32, 8, ALL_OPTIMISATIONS)
    labels, clips = torch.arange(1), torch.zeros(1, 8, 1, 32, 32)
    with torch.no_grad():
        once = count_flops(lambda: side.loss(clips, labels))
    step = side.sampling_step(labels)
    assert count_flops(step) == side.passes_per_call * once          # guidance: two passes
    assert step().t > step().t
    train = side.training_step(clips, labels)
    assert [train().step, train().step] == [1, 2] and side.calls == 20


def test_diffusers_transformer_is_as_large_as_ours_and_its_attention_counted(monkeypatch):
    pytest.importorskip("diffusers")
    side = build("diffusers LatteTransformer3DModel", 32, 8)
    size = sum(p.numel() for p in side.network.parameters())
    assert 0.7 < size / 2_818_916 < 1.4
    labels, clips = torch.arange(1), torch.zeros(1, 8, 1, 32, 32)
    with torch.no_grad():
        whole = count_flops(lambda: side.loss(clips, labels))
        monkeypatch.setattr("benchmarks.speed.flops.UNCOUNTED_OPS", {})
        fused = whole - count_flops(lambda: side.loss(clips, labels))
    frames, places, width, depth = 8, 256, 160, 4
    space = frames * places * places + frames * places             # to each other, and to the word
    assert fused == depth * 4 * width * (space + places * frames * frames)


@pytest.fixture
def measured(monkeypatch):
    """Rows without workers: the first peer is missing, the second is four times as slow as ours."""
    def in_turn(setting, ours, theirs):
        if theirs["side"] == PEERS[2]:
            raise NotMeasurable("minidiff against itself gave 1.20 (1.1 to 1.3)")
        turn, facts = Turn(0.5, 0.5, 2**20), dict(flops=10**9, parameters=3)
        found = Comparison(4.0, 3.5, 4.5, 4.2, turn, turn._replace(wall=2.0), 15)
        return found, 1.01, facts | {"calls": 20}, facts | {"calls": 1000}

    def best(setting, task, peer):
        if peer == PEERS[0]:
            raise WorkerFailed(f"{peer}: it is not installed here.")
        return ("bf16",)
    monkeypatch.setattr(comparisons, "compare_in_turn", in_turn)
    monkeypatch.setattr(comparisons, "fastest_optimisations", best)
    monkeypatch.setattr(comparisons, "PEERS", PEERS[:3])


def test_a_row_is_stored_for_each_way_and_number_of_calls(measured, tmp_path, capsys):
    setting = BenchmarkConfig([0], batch=2, folder=tmp_path)
    comparisons.compare_sampling(setting)
    said = capsys.readouterr().out
    assert f"sample, {PEERS[0]}: {PEERS[0]}: it is not installed here." in said
    assert f"sample, {PEERS[2]}: not measurable now (minidiff against itself gave 1.20" in said
    made = comparisons.open_table(setting, "sample", comparisons.SPEED_COLUMNS, ("peer",)).rows
    assert {r["peer"] for r in made} == {PEERS[1]}
    assert [(r["peer_is"], r["calls_peer"], r["times"], r["seconds_peer"]) for r in made] == [
        ("float32", "1000", "200", "1000"), ("float32", "20", "4", "20"),
        ("bf16", "1000", "200", "1000"), ("bf16", "20", "4", "20")]
    comparisons.compare_sampling(setting)                   # what is there is left alone
    assert PEERS[1] not in capsys.readouterr().out


def test_a_way_that_is_stored_is_not_measured_again(measured, tmp_path, capsys):
    setting = BenchmarkConfig([0], batch=2, folder=tmp_path)
    comparisons.compare_sampling(setting)
    table = tmp_path / "sample.csv"
    whole = table.read_text().splitlines(True)
    table.write_text("".join(line for line in whole if "bf16,bf16" not in line))
    capsys.readouterr()
    comparisons.compare_sampling(setting)                   # as after a run that was stopped
    said = capsys.readouterr().out
    assert f"{PEERS[1]} (bf16, 20 calls)" in said and "(float32" not in said
    assert sorted(whole) == sorted(table.read_text().splitlines(True))


def test_training_is_compared_at_the_same_dtype(measured, tmp_path):
    setting = BenchmarkConfig([0], folder=tmp_path)
    comparisons.compare_training(setting)
    made = comparisons.open_table(setting, "train", comparisons.SPEED_COLUMNS, ("peer",)).rows
    assert [("bf16" in r["peer_is"], "bf16" in r["ours_is"]) for r in made] == [
        (False, False), (True, True)]
    assert (tmp_path / "train.csv").read_text().startswith("# python ")


def test_ways_have_names_and_blocks_a_default():
    assert optimisations_label(()) == "float32"
    assert optimisations_label(ALL_OPTIMISATIONS) == "bf16 + channels_last"
    assert paired_timing.BLOCKS >= 15 and paired_timing.TOLERANCE == 0.05


def test_a_stored_command_tells_no_folder_of_this_machine(monkeypatch, tmp_path):
    python = tmp_path / "bin" / "python"
    for program, module in (("benchmarks/studies/x.py", "benchmarks.studies.x"),
                            ("/home/me/benchmarks/benchmarks/__main__.py", "benchmarks")):
        monkeypatch.setattr(sys, "argv", [program, "--peers", str(python), "two words"])
        assert results_table.command_line() == f"python -m {module} --peers python 'two words'"


def test_what_is_denoised_from_t_was_noised_to_t_and_comes_back():
    x0, seen = torch.randn(40, 2, 1, 8, 8), []

    class Knows:
        """A denoiser that is told which clip it looks at."""
        schedule = Flow()

        def __call__(self, x, t, which):
            seen.append((float(t), x.std().item()))
            return x0[which]
    model = SimpleNamespace(denoiser=Knows(), device=torch.device("cpu"))
    found = noise_and_denoise(model, x0, torch.arange(40), 0.6, steps=3, seed=0)
    assert_close(found, x0, rtol=0, atol=1e-5)
    assert [t for t, _ in seen[:3]] == pytest.approx([0.6, 0.4, 0.2]) and len(seen) == 6
    assert seen[0][1] == pytest.approx((0.4**2 + 0.6**2) ** 0.5, rel=0.05)
    assert noise_and_denoise(model, x0, torch.arange(40), 0, steps=3, seed=0) is x0


def test_steps_near_another_digit_are_told_from_steps_apart():
    """Two squares fly towards each other, and one of them trembles once they are near."""
    clips, start = torch.zeros(32, 16, 1, 64, 64), torch.arange(16)
    for t in range(16):
        down = 30 + 5 * (t % 2) * (t >= 12)                # trembles once the other one is close
        clips[:, t, 0, down:down + 12, 4 + start[t]:16 + start[t]] = 1
        clips[:, t, 0, 30:42, 60 - 12 - start[t]:60 - start[t]] = 1
    found = near_or_apart(clips, 20, 2)
    (apart, steady, gone, off, smooth), (near, jolty, lost, erring, rough) = found
    assert (apart, near) == ("apart", "near") and steady > 0 and jolty > 0
    assert gone == lost == 0 and off == 0 and smooth == pytest.approx(1, abs=1e-4)
    assert erring > 0.2 and rough < 0.9
    left = clips[:, :10] * (torch.arange(64) < 30)                       # begins at the wall
    (alone, several, _, none, whole), = near_or_apart(left, 20, 1)
    assert alone == "alone" and several == 32 * 7 and none == 0 and whole == pytest.approx(1)
    (_, _, missing, _, _), = near_or_apart(0 * left, 20, 1)                # of black clips all
    assert missing == 1


def test_missed_prompts_are_counted_by_the_angle_between_headings():
    """Real clips do as their captions say, and none does as captions with headings turned round."""
    assert heading_angles(torch.tensor([[0, 4], [0, 7], [3, 3], [6, 1]])).tolist() == [4, 1, 0, 3]
    real = moving_mnist(digits.load("builtin", "test"), 40, seed=3, size=64, frames=16, sprite=20,
                        num_digits=2)
    shown = torch.tensor([[t.direction for t in row] for row in object_specs(real)])
    kept, turned = (result_rows("real", to_unit(real.x), real.labels, asked, 20)
                    for asked in (shown, (shown + 4) % 8))
    for rows_, least, most in ((kept, 0.8, 1), (turned, 0, 0.1)):
        *by_angle, whole = rows_
        assert [int(row[1]) for row in by_angle] == [0, 45, 90, 135, 180] and whole[1] == "all"
        assert sum(row[2] for row in by_angle) == whole[2] == 40
        assert least <= float(whole[3]) <= most


def test_averaged_weights_are_the_mean_and_say_of_which(monkeypatch, tmp_path, capsys):
    """Two files of half precision become one that loads; another network, or no model, does not."""
    plans = {"one": get_recipe("tiny"), "two": get_recipe("tiny"),
             "other": get_recipe("tiny", patch=8)}
    made, sums = {}, {}
    for seed, (name, plan) in enumerate(plans.items()):
        g = torch.Generator().manual_seed(seed)
        made[name] = {k: torch.randn(v.shape, generator=g).half()
                      for k, v in build_model(plan.model).state_dict().items()}
        sums[name] = files.save_tensors(tmp_path / f"{name}.safetensors", made[name],
                                        {"recipe": plan._asdict(), "seed": seed})
    files.save_tensors(tmp_path / "none.safetensors", made["one"], {"notes": {}})

    def run(*names):
        paths = [str(tmp_path / f"{name}.safetensors") for name in names]
        monkeypatch.setattr(sys, "argv", ["average_weights.py", *paths, "--out", str(tmp_path)])
        average_weights.main()

    run("one", "two")
    mine = load(tmp_path / "model.safetensors")
    tensors, about = files.load_tensors(tmp_path / "model.safetensors")
    assert_close(tensors, {k: ((v.double() + made["two"][k].double()) / 2).half()
                           for k, v in made["one"].items()})
    assert mine.metadata["averaged"] == [sums["one"], sums["two"]] and about["seed"] == 1
    for names, why in ((("one", "other"), "different networks"), (("one", "none"), "no model"),
                       (("one", "lost"), "no file")):
        with pytest.raises(SystemExit):
            run(*names)
        assert why in capsys.readouterr().err


def test_a_file_with_old_names_is_averaged_with_one_of_today(monkeypatch, tmp_path):
    old = pipeline.CHECKPOINTS / "time-none.safetensors"
    tensors, metadata = files.load_tensors(old)
    new_tensors, new_metadata = with_new_names(tensors, metadata)
    assert new_tensors.keys() != tensors.keys()                    # else this tests nothing
    files.save_tensors(tmp_path / "new.safetensors", new_tensors, new_metadata)
    monkeypatch.setattr(sys, "argv", ["average_weights.py", str(old),
                                      str(tmp_path / "new.safetensors"), "--out", str(tmp_path)])
    average_weights.main()
    assert_close(files.load_tensors(tmp_path / "model.safetensors")[0], new_tensors)
    averaged = load(tmp_path / "model.safetensors").metadata["averaged"]
    assert averaged[0] == files.digest(tensors) != averaged[1] == files.digest(new_tensors)


@pytest.mark.parametrize("name", ["time-none", "mmnist32"])
def test_a_file_with_old_names_can_be_released(name, monkeypatch, tmp_path, capsys):
    """It keeps its tensors, and so its hash, and gets a card, a picture and a description."""
    original = pipeline.CHECKPOINTS / f"{name}.safetensors"
    shutil.copy(original, tmp_path / "model.safetensors")
    shipped = tmp_path / "shipped"
    monkeypatch.setattr(release_checkpoint.pipeline, "CHECKPOINTS", shipped)
    monkeypatch.setattr(release_checkpoint.evaluate, "evaluate_model", lambda *_: {})
    monkeypatch.setattr(release_checkpoint.scoreboard, "combine_rows", lambda rows: {"SCORE": 1.0})
    monkeypatch.setattr(release_checkpoint.evaluate, "sample_clips", lambda *_: iter([
        GeneratedVideo(torch.zeros(10, 2, 1, 32, 32), ["a 0"] * 10)]))
    monkeypatch.setattr(sys, "argv", ["release_checkpoint.py", str(tmp_path), "--command", "made",
                                      "--digits", "drawn"])
    monkeypatch.setattr(release_checkpoint, "PICTURES", tmp_path)
    release_checkpoint.main()
    card = json.loads((shipped / f"{name}.json").read_text())
    assert card["sha256"] == files.digest(files.load_tensors(original)[0])
    assert card["command"] == "made" and card["streams"] == release_checkpoint.STREAMS
    assert "size 32, frames 8, num digits 1" in card["limits"]
    load(shipped / f"{name}.safetensors")
    assert (tmp_path / f"{name}.gif").stat().st_size > 0


STUDIES = [path.stem for path in (ROOT / "benchmarks" / "studies").glob("[a-z]*.py")]


@pytest.mark.parametrize("name", sorted(STUDIES))
def test_every_study_can_be_imported_and_names_its_command(name):
    module = import_module(f"benchmarks.studies.{name}")
    assert f"python -m benchmarks.studies.{name}" in module.__doc__ and callable(module.main)


def test_the_figure_of_the_scoreboards_parts_shows_cases_that_these_parts_charge():
    assert [part.name for part in scoreboard_figure.PARTS] == [
        k for k in HEADLINE_METRICS if k not in ("SCORE", "CLIPS", "PROMPT")]
    for part in scoreboard_figure.PARTS:
        assert len(set(part.cases)) == 3 and set(part.cases) <= set(BASELINES)
    clips = torch.arange(8 * 8).view(8, 8, 1, 1, 1).float()
    one, every = (scoreboard_figure.strip(clips, scoreboard_figure.PARTS[k]) for k in (0, -1))
    assert one.tolist() == [[8 * scoreboard_figure.EXAMPLE + k for k in range(8)]]
    assert every.tolist() == [[8 * k for k in range(8)]]


def test_what_studies_import_late_exists(monkeypatch):
    for folder in ("core", "visual"):
        monkeypatch.syspath_prepend(ROOT / "tests" / folder)
    samplers, parity = import_module("test_samplers"), import_module("test_parity_diffusers")
    assert samplers.GRIDS and samplers.SCHEDULES and callable(samplers.flow_error)
    assert parity.ERRORS and parity.STEPS
    assert callable(import_module("browser").chromium)


def test_peak_memory_of_a_recipe_is_measured_in_a_process():
    assert 50 < latent_vs_pixel_cost.peak_mib("tiny") < 5000
