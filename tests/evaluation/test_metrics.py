"""The metrics of guidance, for clips with known values."""
import torch
from torch.testing import assert_close

from minidiff.data import media
from minidiff.data.digits import load
from minidiff.data.moving_mnist import moving_mnist
from minidiff.evaluation.metrics import guidance_metrics


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
