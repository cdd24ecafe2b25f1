"""Measurements of clips with known values: guidance's metrics, dirt, odd frames, faint digits."""
from math import exp

import pytest
import torch
from torch.testing import assert_close

from minidiff.data import media
from minidiff.data.digits import load
from minidiff.data.moving_mnist import moving_mnist
from minidiff.evaluation.metrics import (
    cleanness,
    guidance_metrics,
    mean_change,
    measure,
    smooth_windows,
    smoothness,
)
from minidiff.evaluation.references import reference_for


def real(n: int = 24, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    made = moving_mnist(load("builtin", "test", n=400), n, frames=4, seed=seed)
    return media.to_unit(made.x), made.labels[:, 0]


def test_real_clips_adhere_to_their_digits_and_to_no_others():
    clips, labels = real()
    assert guidance_metrics(clips, labels)["adherence"].mean() > 0.9
    assert guidance_metrics(clips, (labels + 1) % 10)["adherence"].mean() < 0.1


def test_copies_have_no_diversity_and_a_single_label_has_nan():
    clips, _ = real(4)
    found = guidance_metrics(clips[[0, 0, 0, 1]], torch.tensor([3, 3, 3, 5]))["diversity"]
    assert_close(found[:3], torch.zeros(3), atol=1e-4, rtol=0)
    assert found[3].isnan()


def test_diversity_is_the_mean_distance_to_the_others_of_the_label():
    clips, _ = real(3)
    pair = [guidance_metrics(clips[[a, b]], torch.tensor([1, 1]))["diversity"][0]
            for a, b in ((0, 1), (0, 2), (1, 2))]
    found = guidance_metrics(clips, torch.ones(3))["diversity"]
    assert min(pair) > 0.1
    assert_close(found, torch.stack([pair[0] + pair[1], pair[0] + pair[2], pair[1] + pair[2]]) / 2)


def test_saturation_is_of_the_ink_and_contrast_of_all_pixels():
    clips = torch.zeros(3, 4, 1, 32, 32)
    clips[0, ..., 10:20, 10:20], clips[1, ..., 10:20, 10:20] = 1.0, 0.5
    clips[2, ..., 10:20, 10:15], clips[2, ..., 10:20, 15:20] = 1.0, 0.5
    found = guidance_metrics(clips, torch.tensor([0, 0, 0]))
    assert found["saturation"].tolist() == [1, 0, 0.5]
    assert_close(found["contrast"], clips.flatten(1).std(1))
    assert guidance_metrics(0 * clips, torch.tensor([0, 0, 0]))["saturation"].tolist() == [0, 0, 0]


def test_colour_is_read_as_grey():
    clips, labels = real(4)
    grey = guidance_metrics(clips, labels)
    for name, values in guidance_metrics(clips.expand(-1, -1, 3, -1, -1), labels).items():
        assert_close(values, grey[name], equal_nan=True)


def test_pictures_that_only_the_classifier_takes_for_digits_lose_their_mark():
    ref = reference_for("builtin", 32, 8)
    digits = measure(real(64)[0], 14)
    assert ref.likeness(digits.mean_window).mean() > 0.97
    noise = torch.rand(64, 1, 16, 16, generator=torch.manual_seed(0))
    blots = torch.nn.functional.avg_pool2d(noise, 3, 1, 1).flatten(1)
    assert ref.likeness(blots).max() < 0.1


def test_what_no_eye_can_see_is_no_digit():
    clip, _ = real(32)
    full, faint = (measure(x, 14).certainty.mean() for x in (clip, 0.2 * clip))
    assert full > 0.9 and faint < 0.35 * full


def test_one_odd_frame_is_a_change_of_looks():
    windows = torch.rand(1, 1, 256, generator=torch.manual_seed(0)).repeat(2, 8, 1)
    windows[1, 3] = torch.rand(256, generator=torch.manual_seed(1))
    still, odd = mean_change(windows, torch.ones(2, 8, dtype=torch.bool))
    far = (smooth_windows(windows[1, 0]) - smooth_windows(windows[1, 3])).norm()
    assert float(still) == 0 and float(odd) == pytest.approx(float(far) - 0.1, abs=1e-4)


def test_dirt_is_what_differs_from_the_clip_s_own_grey():
    x, centres = torch.full((3, 4, 32, 32), 0.3), torch.full((3, 4, 1, 2), 16.0)
    x[1, 2] += 0.1                                            # one frame is lighter
    x[2, 0, 16, 16] = 0.0                                     # a dark pixel inside the digit's box
    clean = cleanness(x, centres, 14)
    assert (clean[0] == 1).all() and clean[1, 2] < 0.01
    assert clean[1, [0, 1, 3]] == pytest.approx(0.5, abs=0.01)  # the dirty frame is seen there, too
    worst = exp(-0.28**2 / 0.5)
    assert clean[2].tolist() == pytest.approx(
        [worst * (1 + worst) / 2, *[(1 + worst) / 2] * 3], abs=1e-4)
    invisible = 0.3 + 0.019 * torch.ones(1, 4, 32, 32)
    invisible[:, :, ::2] = 0.3
    assert (cleanness(invisible, centres[:1], 14) == 1).all()


def test_ink_has_no_grain_of_single_pixels():
    clips = real(n=200)[0][:, :, 0]
    odd = (torch.arange(32)[:, None] + torch.arange(32)) % 2
    assert smoothness(clips).mean() > 0.999 and (smoothness(clips) > 0.9).all()
    assert smoothness(clips * (1 - 0.5 * odd)).mean() < 0.2
    assert (smoothness(torch.zeros(2, 4, 32, 32)) == 1).all()
