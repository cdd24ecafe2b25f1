"""Baselines score low, real clips high, and each defect lowers the part that measures it."""
import json
from math import exp

import pytest
import torch

from minidiff.data import digits
from minidiff.data.moving_mnist import moving_mnist
from minidiff.evaluation import baselines, references, scoreboard
from minidiff.evaluation.baselines import baseline_clips
from minidiff.evaluation.digit_classifier import load_digit_classifier
from minidiff.evaluation.metrics import frechet_distance, mean_and_cov, measure
from minidiff.evaluation.references import (
    Reference,
    build_reference,
    load_reference,
    reference_for,
    save_reference,
)
from minidiff.evaluation.scoreboard import combine_rows, score
from minidiff.evaluation.tracking import (
    Motion,
    ink_centres,
    measure_motion,
    physics_metrics,
    sectors,
    speed_similarity,
)
from minidiff.runtime.seeds import generator

N = 192
KNOW_NOTHING = ("static", "first frame", "shuffled", "random walk", "mean video", "noise", "black")
DEFECTIVE = ("blurred", "swapped", "half missing", "one digit")


@pytest.fixture(scope="module")
def fresh():
    """Digits that are in no split: neither the reference nor the classifier has seen them."""
    return digits.Digits(*digits.strokes(3000, seed=4242))


@pytest.fixture(scope="module")
def answers(fresh):
    return baseline_clips(fresh, N, seed=1)


@pytest.fixture(scope="module")
def rows(answers):
    return {name: score(x, seeds=(1,)) for name, x in answers.items()}


@pytest.fixture(scope="module")
def real(rows):
    return rows["real"]


# Real clips and baselines

def test_held_out_real_clips_reach_the_ceiling(rows):
    assert rows["real"]["SCORE"] >= 0.95 and rows["real"]["interval"]["SCORE"][0] >= 0.9
    assert rows["real"]["off_half"] == rows["real"]["off_one"] == rows["real"]["flicker"] == 0
    assert rows["real"]["smooth"] > 0.999 and rows["real"]["bounce"] == 1
    assert rows["real"]["memo"] < 0.05
    assert abs(rows["real"]["fvd_local"] / rows["real"]["real_real"] - 1) < 0.4


@pytest.mark.parametrize("name", KNOW_NOTHING)
def test_baselines_that_know_nothing_score_low(rows, name):
    assert rows[name]["SCORE"] <= 0.25 and rows[name]["interval"]["SCORE"][1] <= 0.3


@pytest.mark.parametrize("name", DEFECTIVE)
def test_defects_cost_more_than_the_interval(rows, name):
    assert rows[name]["interval"]["SCORE"][1] < rows["real"]["interval"]["SCORE"][0] - 0.05


CAUGHT = {"static": {"motion": 0.05}, "first frame": {"motion": 0.05}, "mean video": {"ID": 0.05},
          "noise": {"ID": 0.05, "FIT": 0.05},
          "shuffled": {"smooth": 0.3, "bounce": 0.3, "precision": 0.1},
          "random walk": {"smooth": 0.2, "COVER": 0.3, "FIT": 0.7}, "black": {"ID": 0, "COVER": 0},
          "blurred": {"ID": 0.1}, "swapped": {"ID": 0.65}, "half missing": {"COVER": 0.75},
          "one digit": {"COVER": 0.25}}


@pytest.mark.parametrize("name", CAUGHT)
def test_the_part_that_should_catch_it_does(rows, name):
    for part, most in CAUGHT[name].items():
        assert rows[name][part] <= most and rows["real"][part] >= 0.9


def test_missing_digits_show_in_the_histogram(rows):
    assert rows["real"]["chi_square"] < 28 and rows["half missing"]["chi_square"] > 100


def test_the_distance_of_frames_cannot_see_time(rows):
    """FIT uses tracks because shuffled frames are the same frames."""
    assert rows["shuffled"]["fvd_frames"] == pytest.approx(rows["real"]["fvd_frames"], rel=1e-3)
    assert rows["shuffled"]["fvd_local"] > 50 * rows["real"]["fvd_local"]


@pytest.mark.parametrize("source", ["builtin", "mnist"])
def test_shipped_rows_agree(source):
    """The rows in the report are stored with the reference, and pass the same tests."""
    shipped = reference_for(source, 32, 8).metadata["rows"]
    for n in ("128", "512"):
        assert shipped[n]["real"]["SCORE"] >= 0.95 and shipped[n]["copies"]["SCORE"] is None
        assert all(shipped[n][name]["SCORE"] <= 0.25 for name in KNOW_NOTHING)
        best = shipped[n]["real"]["interval"]["SCORE"][0]
        assert all(shipped[n][name]["interval"]["SCORE"][1] < best for name in DEFECTIVE)


def test_real_digits_reach_the_ceiling_without_sharing_any(mnist_folder):
    """Clips of MNIST's training digits are as good as real ones, but are found as copies."""
    train = digits.mnist(mnist_folder, "train")
    row = score((moving_mnist(train, 256, seed=3).x + 1) / 2, reference="mnist")
    assert min(row[k] for k in ("ID", "PHY", "FIT", "COVER")) >= 0.93 and row["SCORE"] is None


# Memory

def test_copies_are_marked_and_new_digits_are_not(fresh):
    train = digits.built_in("train")
    few = digits.Digits(train.images[:10], train.labels[:10])
    for source in (few, train):
        row = score((moving_mnist(source, 64, seed=5).x + 1) / 2)
        assert row["memo"] > 0.8 and row["SCORE"] is None and row["interval"]["SCORE"] is None
    assert score((moving_mnist(fresh, 64, seed=5).x + 1) / 2)["memo"] < 0.1


# Prompts

def test_prompts(fresh, real):
    clips = moving_mnist(fresh, 128, seed=6, labels=torch.arange(128) % 10)
    x, labels = (clips.x + 1) / 2, clips.labels[:, 0]
    right, wrong = score(x, labels), score(x, labels.roll(1))
    assert right["PROMPT"] >= 0.97 and right["SCORE"] >= 0.94 and "PROMPT" in right["interval"]
    assert wrong["PROMPT"] <= 0.1 and wrong["SCORE"] < 0.65 and "PROMPT" not in real


def test_the_reference_follows_the_prompts(fresh):
    """If all prompts are one digit, its clips miss nothing."""
    threes = torch.full((64,), 3)
    x = (moving_mnist(fresh, 64, seed=7, labels=threes).x + 1) / 2
    assert score(x, threes)["COVER"] >= 0.85 > 0.3 >= score(x)["COVER"]


def test_no_more_clips_are_judged_than_the_reference_holds(answers):
    x, ref = answers["real"], reference_for("builtin", 32, 8)
    threes = torch.full((N,), 3)
    have = len(ref.with_labels(threes).predicted)
    assert have > 150
    many, mostly = x.repeat(2, 1, 1, 1, 1), threes.repeat(2)
    with pytest.raises(ValueError, match=f"holds only {have} real clips"):
        score(many, mostly)
    mostly[:10] = torch.arange(10)                          # all ten digits, but mostly one
    with pytest.raises(ValueError, match="The reference holds only"):
        score(many, mostly)


@pytest.mark.parametrize("source", ["builtin", "mnist"])
@pytest.mark.parametrize("n", [32, 512, 2000])
def test_digits_in_turn_may_fall_a_little_short(source, n):
    ref = scoreboard.match_label_mix(reference_for(source, 32, 8), torch.arange(n) % 10)
    assert len(ref.predicted) >= 0.7 * n


def test_directions_of_one_digit(fresh):
    clips = moving_mnist(fresh, 128, seed=6, labels=torch.arange(128) % 10)
    x, labels, v = (clips.x + 1) / 2, clips.labels[:, 0], sectors(clips.velocities[:, 0, 0])
    row, plain = score(x, labels, v), score(x, labels)
    assert row["PROMPT"] >= 0.95 and row["prompt_direction_seen"] >= 0.98
    assert row["prompt_joint_shuffled"] < 0.1 and row["ID"] == plain["ID"]
    assert "tracked" not in plain and "prompt_joint_seen" not in plain


# Two digits

@pytest.fixture(scope="module")
def pairs():
    """A small reference of clips with two small digits."""
    few = {split: digits.built_in(split, 400) for split in digits.SPLITS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(references, "load", lambda source, split, n=400: few[split])
        return build_reference.__wrapped__("builtin", 48, 8, 15, 2, 240)


@pytest.fixture(scope="module")
def duet(fresh, pairs):
    """Real clips in that setting, their prompts and their row."""
    def film(**settings):
        c = moving_mnist(fresh, 64, size=48, frames=8, sprite=15, num_digits=2, seed=15, **settings)
        return (c.x + 1) / 2, c.labels, sectors(c.velocities[:, 0])
    seen, held = film(), film(pairs="held_out")
    return *seen, score(*seen, held_out=held, reference=pairs)


def test_two_digits_are_judged(duet, pairs):
    row = duet[-1]
    assert json.loads(json.dumps(row)) == row and row["reference"] == pairs.name()
    assert pairs.name() == "builtin-48x8-sprite15-digits2-n240-seed0"
    assert row["SCORE"] >= 0.9 and row["PROMPT"] >= 0.9 and "PROMPT" in row["interval"]
    for key in ("prompt_digit_seen", "prompt_joint_seen", "prompt_joint_heldout", "tracked"):
        assert row[key] == pytest.approx(row[f"real_{key}"], abs=0.12) and row[key] > 0.6
    assert row["prompt_joint_shuffled"] < 0.1 > row["real_prompt_joint_shuffled"]
    assert combine_rows([row, row])["prompt_joint_heldout"] == row["prompt_joint_heldout"]


def test_wrong_prompts_cost_their_part_only(duet, pairs):
    x, labels, v, right = duet
    for wrong in ((labels, (v + 3) % 8), ((labels + 1) % 10, v)):
        row = score(x, *wrong, reference=pairs)
        assert row["PROMPT"] < 0.1 and row["SCORE"] < 0.65 and row["ID"] == right["ID"]
    assert score(x, labels.flip(1), v.flip(1), reference=pairs)["PROMPT"] == right["PROMPT"]
    plain = score(x, labels, reference=pairs)
    assert plain["PROMPT"] >= 0.9 and "prompt_joint_seen" not in plain


def test_a_lost_digit_costs(fresh, pairs, duet):
    one = moving_mnist(fresh, 64, size=48, frames=8, sprite=15, seed=16)
    row = score((one.x + 1) / 2, reference=pairs)
    assert row["ID"] < 0.8 and row["SCORE"] < 0.7 and row["unread"] > 0.45
    assert row["chi_square"] > 20 and "PROMPT" not in row


@pytest.mark.parametrize("name", [*KNOW_NOTHING, *DEFECTIVE, "one lost"])
def test_shipped_rows_of_two_digits(name):
    rows = reference_for("mnist", 64, 16, 20, 2).metadata["rows"]["512"]
    assert rows["real"]["SCORE"] >= 0.95 and rows["copies"]["SCORE"] is None
    assert rows[name]["SCORE"] <= 0.25 or name not in KNOW_NOTHING
    assert rows[name]["interval"]["SCORE"][1] < rows["real"]["interval"]["SCORE"][0]


def test_real_pairs_are_read_with_seen_and_held_out_directions():
    """The ceilings in the shipped file."""
    real = reference_for("mnist", 64, 16, 20, 2).metadata["real"]
    assert real["prompt_joint_seen"] > 0.92 < real["prompt_joint_heldout"]
    assert real["prompt_joint_shuffled"] < 0.02 and real["tracked"] > 0.75


def test_bad_prompts_are_named(duet, pairs):
    x, labels, v, _ = duet
    for bad, words in (((None, v), "need labels"), ((labels, v + 8), "sectors from 0 to 7"),
                       ((labels, v[:, :1]), "as many as"), ((labels, v.float()), "Directions"),
                       ((labels[:9], v), "Labels"), ((labels * 0 - 1, v), "Labels"),
                       ((labels.repeat(1, 2), None), "labels ask for 4")):
        with pytest.raises(ValueError, match=words):
            score(x, *bad, reference=pairs)
    with pytest.raises(ValueError, match="Held-out"):
        score(x, labels, v, held_out=(x, labels, None), reference=pairs)


def test_how_many_digits_must_be_known(duet, pairs):
    mixed = pairs._replace(metadata=pairs.metadata | {"num_digits": [1, 2]})
    with pytest.raises(ValueError, match="labels must say"):
        score(duet[0], reference=mixed)
    assert mixed.name().startswith("builtin-48x8-sprite15-digits1to2")


# Rows

def test_a_row_is_plain_and_complete(real):
    assert json.loads(json.dumps(real)) == real
    wanted = ("SCORE ID PHY smooth bounce motion FIT fvd_local fvd_frames real_real COVER "
              "precision chi_square flicker memo off_half off_one n seeds evaluator reference "
              "interval")
    assert set(wanted.split()) <= set(real)
    assert real["evaluator"] == load_digit_classifier()[1] and real["seeds"] == [1]


def test_deterministic_and_blind_to_order(answers, real):
    assert score(answers["real"], seeds=(1,)) == real
    other = score(answers["real"][torch.randperm(N, generator=generator("test", 8))], seeds=(1,))
    for key in ("SCORE", "ID", "PHY", "FIT", "COVER", "precision", "memo", "fvd_frames"):
        assert other[key] == pytest.approx(real[key], abs=2e-3)


def test_combine(rows):
    a, b = rows["half missing"], dict(rows["one digit"], seeds=[2])
    row = combine_rows([a, b])
    assert row["SCORE"] == pytest.approx((a["SCORE"] + b["SCORE"]) / 2)
    assert row["n"] == 2 * N and row["seeds"] == [1, 2]
    low, high = row["interval"]["SCORE"]
    assert low < a["SCORE"] and high > b["SCORE"] - 0.2
    assert high - low > abs(a["SCORE"] - b["SCORE"])
    ends = [r["interval"]["SCORE"] for r in (a, combine_rows([a, a]))]
    assert ends[1][1] - ends[1][0] == pytest.approx((ends[0][1] - ends[0][0]) / 2**0.5)
    assert combine_rows([a, dict(a, SCORE=None)])["SCORE"] is None
    for bad in ([], [a, dict(b, evaluator="x")], [a, dict(b, PROMPT=1.)]):
        with pytest.raises(ValueError, match="combine"):
            combine_rows(bad)


# Bad input

@pytest.mark.parametrize(("spoil", "words"), [
    (lambda x: x[:8], "32 clips"), (lambda x: x[:, :3], "4 frames"),
    (lambda x: x[:, :, 0], "floats"),
    (lambda x: x.long(), "floats"), (lambda x: x[..., :-1], "floats"),
    (lambda x: 2 * x - 1, r"\[0, 1\]"), (lambda x: x / 0, "finite"),
    (lambda x: x.numpy(), "ndarray"),
    (lambda x: x.repeat(12, 1, 1, 1, 1), "at most 2000")])
def test_bad_clips_are_named(answers, spoil, words):
    with pytest.raises(ValueError, match=words):
        score(spoil(answers["real"]))


@pytest.mark.parametrize("labels", [torch.zeros(3).long(), torch.full((N,), 10), torch.zeros(N)])
def test_bad_labels_are_named(answers, labels):
    with pytest.raises(ValueError, match="Labels"):
        score(answers["real"], labels)


def test_a_reference_of_another_setting_is_refused(answers):
    with pytest.raises(ValueError, match="8 frames of 32 px"):
        score(answers["real"][:, :6], reference=reference_for("builtin", 32, 8))


def test_a_reference_of_another_classifier_is_refused(tmp_path):
    ref = reference_for("builtin", 32, 8)
    other = ref._replace(metadata=ref.metadata | {"evaluator": "another"})
    path = save_reference(other, tmp_path / "reference.safetensors")
    with pytest.raises(ValueError, match="another digit classifier"):
        load_reference(path)


# References

def test_only_known_digits_have_a_reference(tmp_path):
    name = references.reference_name
    assert [name(s) for s in ("builtin", "mnist", tmp_path, str(tmp_path))] == [
        "builtin", "mnist", "mnist", "mnist"]
    gone = tmp_path / "gone"
    for unknown in ("bultin", gone):
        with pytest.raises(ValueError, match="builtin, mnist, or an existing folder"):
            name(unknown)
    with pytest.raises(ValueError, match="bultin"):
        name("bultin", allow_missing=True)
    assert name(str(gone), allow_missing=True) == name(r"C:\gone", allow_missing=True) == "mnist"


def test_shipped_references_fit_the_classifier_and_are_small():
    paths = sorted(references.CHECKPOINTS.glob("reference-*.safetensors"))
    assert len(paths) >= 3 and sum(p.stat().st_size for p in paths) <= 4_000_000
    for path in paths:
        ref = load_reference(path)
        assert ref.metadata["evaluator"] == load_digit_classifier()[1]
        assert ref.embeddings.shape == (2, 2000, 64 + 2 * ref.metadata["frames"])


@pytest.mark.parametrize(("setting", "name"), [
    ((32, 8), "32x8"), ((32, 8, 14), "32x8"), ((32, 8, 12), "32x8-1x12"),
    ((64, 16, 20, 2), "64x16-2x20"), ((64, 16, None, (1, 2)), "64x16-1to2x28")])
def test_settings_have_names(setting, name):
    file = references.reference_file_name("mnist", *setting)
    assert file == f"reference-mnist-{name}.safetensors"


def test_other_settings_are_computed(fresh, monkeypatch):
    def few(source, split, n=400):
        return digits.built_in(split, 400)
    monkeypatch.setattr(references, "load", few)
    ref = build_reference.__wrapped__("builtin", size=48, frames=5, n=300)
    assert isinstance(ref, Reference)
    assert ref.metadata["real"]["bounce"] == 1 and ref.metadata["sprite"] == 21
    row = score((moving_mnist(fresh, 128, size=48, frames=5, seed=9).x + 1) / 2, reference=ref)
    assert row["SCORE"] >= 0.9 and row["reference"] == "builtin-48x5-sprite21-n300-seed0"


def test_the_real_distance_falls_with_n():
    ref = reference_for("builtin", 32, 8)
    at = [ref.real_metrics(n)["fvd_local"] for n in (100, 400, 1600)]
    assert at[0] > 2 * at[1] > 4 * at[2]


def test_shipping_is_saving(tmp_path, monkeypatch):
    ref = reference_for("builtin", 32, 8)
    monkeypatch.setattr(baselines, "build_reference", FakeBuild(ref))
    monkeypatch.setattr(baselines, "baseline_rows", lambda source, n, reference: {"real": {"n": n}})
    path = baselines.ship_reference("builtin", folder=tmp_path)
    again = load_reference(path)
    assert again.metadata["rows"] == {"128": {"real": {"n": 128}}, "512": {"real": {"n": 512}}}
    torch.testing.assert_close(again.embeddings, ref.embeddings)
    assert (again.train_codes == ref.train_codes).all()


class FakeBuild:
    def __init__(self, ref):
        self.ref = ref._replace(metadata=dict(ref.metadata))

    def __call__(self, *_):
        return self.ref

    def cache_clear(self):
        pass


# The tracker and the distance against what is known

@pytest.mark.parametrize("size", [32, 64])
def test_tracker_finds_known_positions(fresh, size):
    clips = moving_mnist(fresh, 96, size=size, seed=10)
    sprite = size * 7 // 16
    frames = (clips.x + 1)[:, :, 0].flatten(0, 1) / 2
    centres, seen = (v.unflatten(0, (96, 8)) for v in ink_centres(frames, sprite))
    off = centres - clips.positions[:, :, 0]                                     # constant
    assert seen.all() and (off - off.mean(1, keepdim=True)).abs().max() < 0.01
    f = measure_motion(centres, seen, size, sprite)
    speed = clips.velocities[:, 0, 0].norm(dim=-1)
    assert (f.speeds.amax(1) - speed).abs().max() < 0.01                # between walls, the fastest
    found = physics_metrics(f, size)
    assert found["smooth"] > 0.999 and found["bounce"] == 1 and found["off_half"] == 0


def test_every_contact_found_is_one(fresh):
    clips = moving_mnist(fresh, 256, seed=11)
    frames = (clips.x + 1)[:, :, 0].flatten(0, 1) / 2
    centres, seen = (v.unflatten(0, (256, 8)) for v in ink_centres(frames, 14))
    f = measure_motion(centres, seen, 32, 14)
    v = clips.velocities[:, :, 0]                                                # (N, T, 2)
    turns = v[:, 1:-2] != v[:, 2:-1]                                             # (N, T-3, 2)
    assert turns[f.wall_contact].all() and f.wall_contact.sum() > 0.3 * turns.sum()
    crossed = (v[:, :-2] != v[:, 2:]).any(-1)                                    # (N, T-2)
    assert not (f.free & crossed).any() and f.free.float().mean() > 0.5


def test_jumps_stops_and_sticking_walls_are_seen():
    path = torch.tensor([10., 12, 14, 16, 18, 20, 22, 24])
    still = torch.full((8,), 16.)

    def judge(y):
        centres, seen = torch.stack([y, still], -1)[None], torch.ones(1, 8).bool()
        return physics_metrics(measure_motion(centres, seen, 32, 14), 32)

    assert judge(path)["smooth"] == 1
    jump = path + torch.tensor([0., 0, 0, 2, 0, 0, 0, 0])
    assert judge(jump)["smooth"] < 0.6 and judge(jump)["off_one"] > 0.2
    bounces, sticks, slows = torch.tensor([[18., 20, 22, 24, 24.4, 22.4, 20.4, 18.4],
                                           [18., 20, 22, 24, 25, 25, 25, 25],
                                           [18., 20, 22, 24, 24.8, 24, 23.2, 22.4]])
    assert judge(bounces)["bounce"] == 1 and judge(sticks)["bounce"] == judge(slows)["bounce"] == 0


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("jolt", [0.1, 0.5, 2.])
def test_smooth_of_a_known_jolt(size, jolt):
    """A free step with an error of 1/64 of the frame counts 1/e; steps near a wall do not count."""
    none = torch.zeros(1, 1, 2).bool()
    f = Motion(torch.ones(1, 3), torch.tensor([[jolt, 9.]]), torch.tensor([[True, False]]), none,
               none)
    assert physics_metrics(f, size)["smooth"] == pytest.approx(exp(-jolt * 64 / size))


def test_faint_ink_elsewhere_does_not_move_the_centre(fresh):
    frames = (moving_mnist(fresh, 64, seed=12).x + 1)[:, 0, 0] / 2
    faint = (frames + 0.01).clamp(0, 1)
    faint[:, :2, :2] = 1
    assert (ink_centres(frames, 14)[0] - ink_centres(faint, 14)[0]).norm(dim=-1).median() < 0.3


def test_a_digit_that_blinks_does_not_fly(answers):
    blinking = answers["real"].clone()
    blinking[:, ::2] = 0
    found = physics_metrics(measure(blinking, 14).motion, 32)
    assert found["smooth"] == 0 and found["off_one"] == 1


def test_motion_is_a_distance_between_quantiles():
    speeds = torch.rand(1000, generator=generator("test", 13)) * 2 + 1
    assert speed_similarity(speeds, speeds) == pytest.approx(1)
    assert speed_similarity(speeds * 0, speeds) == 0
    assert speed_similarity(speeds / 2, speeds) == pytest.approx(0.5, abs=1e-3)
    assert speed_similarity(3 * speeds, speeds) == 0


def test_frechet_of_known_gaussians():
    eye = torch.eye(3, dtype=torch.float64)
    a, b = (torch.zeros(3).double(), eye), (torch.ones(3).double(), 4 * eye)
    assert frechet_distance(a, b) == pytest.approx(3 + 3)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    x = torch.randn(500, 3, generator=generator("test", 14))
    assert frechet_distance(mean_and_cov(x), mean_and_cov(x + 2)) == pytest.approx(12, rel=1e-4)
