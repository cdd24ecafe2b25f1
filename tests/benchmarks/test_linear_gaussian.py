"""The benchmark's estimate of an excess, where the truth is known in closed form."""
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from minidiff.denoiser import Denoiser
from minidiff.gaussians import ar1_denoiser, ar1_mse, gaussian_denoiser, gaussian_mse
from minidiff.runtime.seeds import generator

PATH = Path(__file__).parents[2] / "benchmarks" / "studies" / "linear_gaussian_optimum.py"
spec = spec_from_file_location(PATH.stem, PATH)
bench = module_from_spec(spec)
spec.loader.exec_module(bench)

RHO = 0.9
EXACT = ar1_denoiser(bench.SCHEDULE, RHO, bench.STD)
FRAME = gaussian_denoiser(bench.SCHEDULE, 0, bench.STD)
every_time = pytest.mark.parametrize("t", bench.TIMES.values(), ids=bench.TIMES)


def gap(t):
    """gaussian_mse - ar1_mse, exact."""
    return (bench.minimum_error(lambda t: gaussian_mse(bench.SCHEDULE, bench.STD, t), t)
            - bench.minimum_error(
                lambda t: ar1_mse(bench.SCHEDULE, bench.SHAPE[0], RHO, bench.STD, t), t))


@every_time
def test_the_excess_of_the_best_per_frame_denoiser_is_the_gap(t):
    x, times = bench.noisy_clips(RHO, t, 2000, generator("test", 1))
    measured, half = bench.mean_with_interval(bench.excess_error(FRAME, EXACT, x, times))
    assert abs(measured - gap(t)) < half < 0.06 * gap(t)


@every_time
def test_the_exact_denoiser_has_no_excess(t):
    x, times = bench.noisy_clips(RHO, t, 50, generator("test", 2))
    assert bench.excess_error(EXACT, EXACT, x, times).max() < 1e-12


def test_a_known_error_is_the_excess_whatever_the_batch():
    x, times = bench.noisy_clips(RHO, None, 50, generator("test", 3))
    off = bench.excess_error(lambda x, t: EXACT(x, t) + t.view(-1, 1, 1, 1, 1), EXACT, x, times,
                             batch=7)
    assert_close(off, times.double() ** 2, rtol=1e-4, atol=1e-9)


def test_intervals_cover_the_truth_in_95_of_100_cases():
    """Of 400, at 50 clips each: between 91 and 98 %, and for the share too."""
    x, times = bench.noisy_clips(RHO, 0.5, 400 * 50, generator("test", 4))
    alone = bench.excess_error(FRAME, EXACT, x, times).view(400, 50)
    half = bench.excess_error(lambda x, t: (FRAME(x, t) + EXACT(x, t)) / 2 + 0.1, EXACT, x, times)
    for estimates, truth in (
            ([bench.mean_with_interval(v) for v in alone], gap(0.5)),
            ([bench.ratio_with_interval(*v) for v in zip(half.view(400, 50), alone)],
             0.25 + 0.01 / gap(0.5))):
        covered = sum(abs(value - truth) <= width for value, width in estimates)
        assert 0.91 <= covered / 400 <= 0.98


def test_a_share_of_itself_has_no_doubt():
    x, times = bench.noisy_clips(RHO, None, 50, generator("test", 5))
    alone = bench.excess_error(FRAME, EXACT, x, times)
    assert bench.ratio_with_interval(2 * alone, alone) == pytest.approx((2, 0))


@pytest.mark.parametrize("network", bench.NETWORKS)
@pytest.mark.parametrize("mode", ["none", "factorised"])
def test_an_untrained_network_is_worse_than_the_best_per_frame_denoiser(network, mode):
    torch.manual_seed(0)
    denoise = Denoiser(bench.NETWORKS[network](mode), bench.SCHEDULE, "flow")
    x, times = bench.noisy_clips(RHO, None, 64, generator("test", 6))
    alone = bench.excess_error(FRAME, EXACT, x, times)
    part, half = bench.ratio_with_interval(bench.excess_error(denoise, EXACT, x, times), alone)
    assert part - half > 1


def test_frames_apart_stay_apart():
    """A per-frame network's guess for a frame does not depend on the others; a temporal one's does.

    Its zero-initialised layers are opened first.
    """
    x, times = bench.noisy_clips(RHO, None, 2, generator("test", 7))
    other = torch.cat([x[:, :1], torch.randn_like(x[:, 1:])], 1)
    for make in bench.NETWORKS.values():
        for mode, depends in (("none", False), ("factorised", True)):
            torch.manual_seed(0)
            net = make(mode)
            for p in net.parameters():
                torch.nn.init.normal_(p, std=0.1)
            with torch.no_grad():
                change = (net(x, times) - net(other, times))[:, 0].abs().max()
            assert (change > 1e-3) == depends and (depends or change < 1e-5)
