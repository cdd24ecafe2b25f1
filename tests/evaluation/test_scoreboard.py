"""Rows of the scoreboard: real clips reach 1, prompts and lost digits count, bad input is named."""
import json
from itertools import pairwise

import pytest
import torch

from minidiff.data import digits
from minidiff.data.moving_mnist import moving_mnist
from minidiff.evaluation import references, scoreboard
from minidiff.evaluation.digit_classifier import load_digit_classifier
from minidiff.evaluation.metrics import measure
from minidiff.evaluation.references import (
    Reference,
    build_reference,
    load_reference,
    reference_for,
    save_reference,
)
from minidiff.evaluation.rows import HEADLINE_METRICS
from minidiff.evaluation.scoreboard import combine_rows, score
from minidiff.evaluation.tracking import sectors
from minidiff.runtime.seeds import generator

N = 192


@pytest.fixture(scope="module")
def fresh():
    """Digits that are in no split: neither the reference nor the classifier has seen them."""
    return digits.Digits(*digits.strokes(3000, seed=4242))


@pytest.fixture(scope="module")
def clips(fresh):
    """Real clips of digits that nobody has seen."""
    return (moving_mnist(fresh, N, seed=1, step=7).x + 1) / 2


@pytest.fixture(scope="module")
def shuffled(clips):
    """The same frames in another order."""
    order = torch.rand(N, 8, generator=generator("test order")).argsort(1)
    return clips[torch.arange(N)[:, None], order]


@pytest.fixture(scope="module")
def real(clips):
    return score(clips, seeds=(1,))


# Real clips

def test_held_out_real_clips_reach_the_ceiling(real):
    assert real["SCORE"] >= 0.94 and real["interval"]["SCORE"][0] >= 0.85
    assert all(real[k] >= 0.95 for k in HEADLINE_METRICS[1:] if k in real)
    assert real["off_half"] == real["off_one"] == real["flicker"] == 0
    assert real["smooth"] > 0.999 and real["bounce"] == 1 and real["memo"] < 0.2


def test_missing_digits_show_in_the_histogram(fresh, real):
    few = (moving_mnist(fresh, N, seed=1, labels=torch.arange(N) % 5).x + 1) / 2
    assert real["chi_square"] < 28 and score(few)["chi_square"] > 100


def test_the_distance_of_frames_cannot_see_time(shuffled, real):
    """FIT uses paths because shuffled frames are the same frames."""
    row = score(shuffled)
    assert row["fvd_frames"] == pytest.approx(real["fvd_frames"], rel=1e-2)
    assert row["SCORE"] < 0.1 and row["FIT"] < 0.5 < 0.9 <= real["FIT"]


def test_real_digits_reach_the_ceiling_without_sharing_any(mnist_folder):
    """Clips of MNIST's training digits are as good as real ones, but are found as copies."""
    train = digits.mnist(mnist_folder, "train")
    row = score((moving_mnist(train, 256, seed=3).x + 1) / 2, reference="mnist")
    assert min(row[k] for k in ("ID", "LOOKS", "PHY")) >= 0.93 and row["SCORE"] < 0.1
    assert row["COVER"] >= 0.7          # these rows of MNIST were written by other people


def test_a_fifth_of_noise_leaves_four_fifths(clips, real):
    x = clips.clone()
    x[::5] = torch.rand(x[::5].shape, generator=generator("test noise"))
    assert score(x)["SCORE"] == pytest.approx(0.8 * real["SCORE"], abs=0.05)


def test_the_same_clips_score_the_same_whatever_their_number(fresh):
    """Nothing but chance changes with n: subsets scatter around the whole."""
    m = measure((moving_mnist(fresh, 768, seed=2).x + 1) / 2, 14)
    ref = reference_for("builtin", 32, 8)
    whole = scoreboard.entry(m, {}, ref)
    order = torch.randperm(768, generator=generator("test subsets"))
    parts = [scoreboard.part_estimates(whole.select(r), ref) for r in order.split(128)]
    for name in ("CLIPS", "FIT", "COVER"):
        few = torch.stack([p[name][0] for p in parts])
        all_ = float(scoreboard.part_estimates(whole, ref)[name][0])
        assert abs(float(few.mean()) - all_) < 0.015 + 2 * float(few.std()) / 6**0.5


# Copies

def test_copies_are_marked_and_new_digits_are_not(fresh):
    train = digits.built_in("train")
    few = digits.Digits(train.images[:10], train.labels[:10])
    for source in (few, train):
        row = score((moving_mnist(source, 64, seed=5).x + 1) / 2)
        assert row["memo"] > 0.8 and row["NEW"] < 0.2 and row["SCORE"] < 0.2
    row = score((moving_mnist(fresh, 128, seed=5).x + 1) / 2)
    assert row["memo"] < 0.2 and row["NEW"] > 0.9


def test_the_score_falls_with_the_share_of_copies(fresh):
    train, n = digits.built_in("train"), 128
    new, old = ((moving_mnist(source, n, seed=5).x + 1) / 2 for source in (fresh, train))
    scores = [score(torch.cat([new[k:], old[:k]]))["SCORE"] for k in (0, 32, 64, 96)]
    assert all(0.1 < a - b < 0.4 for a, b in pairwise(scores))


# Prompts

def test_prompts(fresh, real):
    clips = moving_mnist(fresh, 128, seed=6, labels=torch.arange(128) % 10)
    x, labels = (clips.x + 1) / 2, clips.labels[:, 0]
    right, wrong = score(x, labels), score(x, labels.roll(1))
    assert right["PROMPT"] >= 0.97 and right["SCORE"] >= 0.9 and "PROMPT" in right["interval"]
    assert wrong["PROMPT"] <= 0.1 and wrong["SCORE"] < 0.1 and "PROMPT" not in real


def test_the_reference_follows_the_prompts(fresh):
    """If all prompts are one digit, its clips miss nothing."""
    threes = torch.full((128,), 3)
    x = (moving_mnist(fresh, 128, seed=7, labels=threes).x + 1) / 2
    assert score(x, threes)["COVER"] >= 0.85 > 0.3 >= score(x)["COVER"]


def test_prompts_that_leave_few_real_clips_are_refused():
    ref = reference_for("builtin", 32, 8)
    few = ref._replace(embeddings=ref.embeddings[:, :90], labels=ref.labels[:, :90],
                       films=ref.films[:, :90], predicted=ref.predicted[:90])
    with pytest.raises(ValueError, match=r"The reference holds only .* more evenly mixed"):
        scoreboard.match_label_mix(few, torch.arange(10))


@pytest.mark.parametrize("source", ["builtin", "mnist"])
@pytest.mark.parametrize("n", [32, 512, 2000])
def test_digits_in_turn_may_fall_a_little_short(source, n):
    ref = scoreboard.match_label_mix(reference_for(source, 32, 8), torch.arange(n) % 10)
    assert len(ref.predicted) >= 1000


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
    assert row["CLIPS"] >= 0.85 and row["PROMPT"] >= 0.9 and "PROMPT" in row["interval"]
    for key in ("prompt_digit_seen", "prompt_joint_seen", "prompt_joint_heldout", "tracked"):
        assert row[key] == pytest.approx(row[f"real_{key}"], abs=0.12) and row[key] > 0.6
    assert row["prompt_joint_shuffled"] < 0.1 > row["real_prompt_joint_shuffled"]
    assert combine_rows([row, row])["prompt_joint_heldout"] == row["prompt_joint_heldout"]


def test_wrong_prompts_cost_their_part_only(duet, pairs):
    x, labels, v, right = duet
    for wrong in ((labels, (v + 3) % 8), ((labels + 1) % 10, v)):
        row = score(x, *wrong, reference=pairs)
        assert row["PROMPT"] < 0.1 and row["SCORE"] < 0.1
        assert row["ID"] == pytest.approx(right["ID"], abs=0.02)
    assert score(x, labels.flip(1), v.flip(1), reference=pairs)["PROMPT"] == right["PROMPT"]
    plain = score(x, labels, reference=pairs)
    assert plain["PROMPT"] >= 0.9 and "prompt_joint_seen" not in plain


def test_a_lost_digit_costs(fresh, pairs, duet):
    one = moving_mnist(fresh, 64, size=48, frames=8, sprite=15, seed=16)
    row = score((one.x + 1) / 2, reference=pairs)
    assert row["ID"] < 0.7 and row["SCORE"] < 0.65 and row["unread"] > 0.45
    assert row["chi_square"] > 20 and "PROMPT" not in row


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
    wanted = ("SCORE CLIPS ID LOOKS PHY NEW FIT COVER smooth bounce fvd_frames chi_square flicker "
              "memo off_half off_one n seeds evaluator edition reference interval")
    assert set(wanted.split()) <= set(real)
    assert real["evaluator"] == load_digit_classifier()[1] and real["seeds"] == [1]


def test_deterministic_and_blind_to_order(clips, real):
    assert score(clips, seeds=(1,)) == real
    other = score(clips[torch.randperm(N, generator=generator("test", 8))], seeds=(1,))
    for key in ("SCORE", "CLIPS", "ID", "LOOKS", "PHY", "FIT", "COVER", "memo", "fvd_frames"):
        assert other[key] == pytest.approx(real[key], abs=2e-3)


def test_combine(fresh, clips, real):
    threes = (moving_mnist(fresh, N, seed=1, labels=torch.full((N,), 3)).x + 1) / 2
    a, b = real, score(threes, seeds=(2,))
    row = combine_rows([a, b])
    for key in ("CLIPS", "FIT", "COVER"):
        assert row[key] == pytest.approx((a[key] + b[key]) / 2)
    assert row["SCORE"] == min(row["CLIPS"], row["FIT"], row["COVER"])
    assert row["n"] == 2 * N and row["seeds"] == [1, 2]
    low, high = row["interval"]["SCORE"]
    assert low <= row["SCORE"] <= high and high - low > abs(a["COVER"] - b["COVER"]) / 2
    ends = [r["interval"]["ID"] for r in (b, combine_rows([b, b]))]
    assert ends[1][1] - ends[1][0] <= ends[0][1] - ends[0][0]
    vae = {k: v for k, v in a.items() if k not in ("SCORE", "CLIPS", "COVER")} | {
        "interval": {"ID": [0.9, 1.]}}
    assert combine_rows([vae, vae])["ID"] == pytest.approx(a["ID"])
    weighted = combine_rows([dict(a, n=3 * N), b])
    assert weighted["CLIPS"] == pytest.approx((3 * a["CLIPS"] + b["CLIPS"]) / 4)
    for bad in ([], [a, dict(b, evaluator="x")], [a, dict(b, PROMPT=1.)], [a, dict(b, edition=1)]):
        with pytest.raises(ValueError, match="combine"):
            combine_rows(bad)


# Bad input

@pytest.mark.parametrize(("spoil", "words"), [
    (lambda x: x[:8], "32 clips"), (lambda x: x[:, :3], "4 frames"),
    (lambda x: x[:, :, 0], "floats"),
    (lambda x: x.long(), "floats"), (lambda x: x[..., :-1], "floats"),
    (lambda x: 2 * x - 1, r"\[0, 1\]"), (lambda x: x / 0, "finite"),
    (lambda x: x.numpy(), "ndarray")])
def test_bad_clips_are_named(clips, spoil, words):
    with pytest.raises(ValueError, match=words):
        score(spoil(clips))


@pytest.mark.parametrize("labels", [torch.zeros(3).long(), torch.full((N,), 10), torch.zeros(N)])
def test_bad_labels_are_named(clips, labels):
    with pytest.raises(ValueError, match="Labels"):
        score(clips, labels)


def test_a_reference_of_another_setting_is_refused(clips):
    with pytest.raises(ValueError, match="8 frames of 32 px"):
        score(clips[:, :6], reference=reference_for("builtin", 32, 8))


@pytest.mark.parametrize("other", [{"evaluator": "another"}, {"edition": 1}])
def test_a_reference_of_another_classifier_or_edition_is_refused(tmp_path, other):
    ref = reference_for("builtin", 32, 8)
    path = save_reference(ref._replace(metadata=ref.metadata | other),
                          tmp_path / "reference.safetensors")
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
        assert ref.embeddings.shape == (2, 2000, 32 + 2 * ref.metadata["frames"])
        assert ref.films.shape == (2, 2000, 7)


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
    assert row["SCORE"] >= 0.85 and row["reference"] == "builtin-48x5-sprite21-n300-seed0"
