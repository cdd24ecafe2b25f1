"""The VAE: shapes, the rule for images, calibration, what its loss is made of."""
import pytest
import torch
from torch.testing import assert_close

from minidiff import load
from minidiff.recipes import get_recipe, vae_objective
from minidiff.schedules import Flow, add_noise
from minidiff.training.training_run import TrainingRun
from minidiff.vae import VAE


def small(**settings) -> VAE:
    """A VAE whose zero-initialised layers were woken up, so that it answers."""
    torch.manual_seed(0)
    usual = dict(channels=(16, 32), bottleneck_channels=32, latent_channels=4)
    vae = VAE(**(usual | settings)).eval()
    with torch.no_grad():
        for p in vae.parameters():
            if not p.any():
                p.normal_(std=0.05)
    return vae


@pytest.fixture
def clips():
    return torch.rand(3, 4, 1, 16, 24, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_a_clip_becomes_32_times_fewer_numbers_and_comes_back(clips):
    vae = small()
    z = vae.encode(clips)
    assert z.shape == (3, 2, 4, 2, 3) and clips.numel() == 32 * z.numel()
    assert z.shape[1:] == vae.latent_shape(clips.shape[1:])
    x = vae.decode(z)
    assert x.shape == clips.shape and x.abs().max() <= 1


def test_frames_alone_have_a_vae_too(clips):
    vae = small(temporal_downsample=False)
    assert vae.encode(clips).shape == (3, 4, 4, 2, 3)
    assert vae.decode(vae.encode(clips[:, :3])).shape == (3, 3, 1, 16, 24)


def test_an_image_is_a_pair_of_equal_frames(clips):
    vae, image = small(), clips[:, 0]
    z = vae.encode(image)
    assert z.shape == (3, 4, 2, 3) and vae.decode(z).shape == image.shape
    pair = torch.stack([image, image], 1)
    assert_close(z, vae.encode(pair)[:, 0])
    assert_close(z, vae.encode(image[:, None])[:, 0])
    assert_close(vae.decode(z), vae.decode(z[:, None]).mean(1))


def test_rows_do_not_see_each_other(clips):
    vae = small()
    assert_close(vae.encode(clips)[1:2], vae.encode(clips[1:2]), rtol=0, atol=1e-5)


def test_calibrated_latents_have_mean_0_and_variance_1(clips):
    vae = small()
    before = vae.decode(vae.encode(clips))
    vae.fit_latent_stats(clips)
    z = vae.encode(clips)
    assert_close(z.mean((0, 1, 3, 4)), torch.zeros(4), rtol=0, atol=1e-4)
    assert_close(z.std((0, 1, 3, 4)), torch.ones(4), rtol=0, atol=1e-2)
    assert_close(vae.decode(z), before, rtol=0, atol=1e-4)   # only the unit of latents changed


def test_the_loss_is_errors_and_divergence(clips):
    vae = small(beta=0.0)
    none = torch.zeros(3, 2, 4, 2, 3)
    mean, log_var = vae.posterior(clips)
    error = vae.decode_unclipped(mean) - clips
    edges = error.diff(dim=-1).abs(), error.diff(dim=-2).abs()
    want = error.abs().mean((1, 2, 3, 4)) + sum(e.mean((1, 2, 3, 4)) for e in edges)
    assert_close(vae.loss(clips, none), want)
    vae.beta = 1.0
    q = torch.distributions.Normal(mean, (log_var / 2).exp())
    p = torch.distributions.Normal(torch.zeros_like(mean), 1.0)
    kl = torch.distributions.kl_divergence(q, p).mean((1, 2, 3, 4))
    assert_close(vae.loss(clips, none), want + kl)
    assert (vae.loss(clips, none + 3) - vae.loss(clips, none)).abs().min() > 1e-4


def test_every_parameter_learns(clips):
    torch.manual_seed(0)
    vae = VAE(channels=(16, 32))
    opt = torch.optim.SGD(vae.parameters(), 0.05)
    for _ in range(3):
        opt.zero_grad()
        vae.loss(clips).mean().backward()
        opt.step()
    for name, p in vae.named_parameters():
        assert p.grad is not None and p.grad.abs().max() > 0, name


def test_it_learns_to_rebuild():
    torch.manual_seed(0)
    x = torch.rand(2, 2, 1, 16, 16).round() * 2 - 1
    vae = VAE(channels=(32, 32), beta=1e-5)
    opt = torch.optim.Adam(vae.parameters(), 3e-3)
    losses = []
    for _ in range(80):
        opt.zero_grad()
        losses.append(vae.loss(x).mean())
        losses[-1].backward()
        opt.step()
    assert losses[-1] < 0.4 * losses[0]


def test_a_refining_decoder_begins_as_the_plain_one(clips):
    plain = small()
    torch.manual_seed(1)
    more = VAE((16, 32), 32, 4, refiner_channels=(32,)).eval()
    left = more.load_state_dict(plain.state_dict(), strict=False)
    assert not left.unexpected_keys and all(k.startswith("refiner.") for k in left.missing_keys)
    z = plain.encode(clips)
    assert torch.equal(more.encode(clips), z)
    assert_close(more.decode(z, 0.1), plain.decode(z))


def test_a_refining_decoder_looks_at_the_whole_clip_and_at_the_noise():
    vae = small(refiner_channels=(32, 32), depth=1)
    z = torch.zeros(1, 8, 4, 4, 4, requires_grad=True)
    vae.decode_unclipped(z)[0, 0].sum().backward()
    assert (z.grad != 0).all()                                 # the last frames' latents as well
    z = torch.randn(2, 2, 4, 4, 4)
    assert (vae.decode(z) - vae.decode(z, 0.1)).abs().max() > 1e-4
    assert_close(vae.decode(z, torch.tensor([0.0, 0.2]))[1], vae.decode(z, 0.2)[1])


def test_the_decoder_learns_from_noisy_latents(clips):
    vae, t = small(beta=0.0, refiner_channels=(32,)), torch.tensor([0.0, 0.1, 0.2])
    vae.fit_latent_stats(clips)
    noise = torch.randn(3, 2, 4, 2, 3)
    mean, log_var = vae.posterior(clips)
    drawn = vae.normalise(mean + (log_var / 2).exp() * noise)
    error = vae.decode_unclipped(vae.denormalise(add_noise(Flow(), drawn, noise, t)), t) - clips
    terms = error, error.diff(dim=-1), error.diff(dim=-2)
    want = sum(e.abs().mean((1, 2, 3, 4)) for e in terms)
    assert_close(vae.loss(clips, noise, t), want)
    apart = (vae.loss(clips, noise) - want).abs()
    assert apart[0] < 1e-5 and apart[1:].min() > 1e-4


def test_half_of_the_latents_are_noised():
    class Watched(VAE):
        def loss(self, x, noise=None, t=None):
            seen.append(t)
            return noise.flatten(1).mean(1)

    seen, x = [], torch.zeros(400, 2, 1, 16, 16)
    vae, g = Watched((16, 32), 32), torch.Generator().manual_seed(0)
    vae_objective(0.2)(vae, x, None, g)
    vae_objective()(vae, x, None, g)
    noised, plain = seen
    assert 0.4 < (noised == 0).float().mean() < 0.6 and plain is None
    assert 0.19 < noised.max() <= 0.2 and 0.08 < noised[noised > 0].mean() < 0.12


@pytest.mark.parametrize(("shape", "words"), [
    ((1, 3, 1, 16, 16), "halved in time"), ((1, 4, 1, 12, 16), "multiples of 8"),
    ((1, 4, 3, 16, 16), r"\(B, 1, H, W\)"), ((16, 16), r"\(B, 1, H, W\)")])
def test_unfit_clips_are_refused(shape, words):
    with pytest.raises(ValueError, match=words):
        small().encode(torch.zeros(shape))


def test_a_refining_decoder_says_which_sizes_it_can_halve(clips):
    with pytest.raises(ValueError, match="multiples of 16"):
        small(refiner_channels=(32, 32)).encode(clips)


def test_unfit_latents_are_refused():
    with pytest.raises(ValueError, match=r"\(B, 4, h, w\)"):
        small().decode(torch.zeros(1, 3, 2, 2))


def test_latents_without_statistics_cannot_be_noised(clips):
    vae = small()
    assert not vae.has_latent_stats()
    with pytest.raises(ValueError, match="fit_latent_stats"):
        vae.loss(clips, t=torch.zeros(3))
    vae.fit_latent_stats(clips)
    assert vae.has_latent_stats() and vae.loss(clips, t=torch.zeros(3)).isfinite().all()


@pytest.mark.parametrize("settings", [dict(decoder_only=True), dict(latent_noise=0.2)])
def test_a_training_on_latents_begins_with_a_trained_vae(tmp_path, settings):
    recipe = get_recipe("mmnist64-vae", channels=[32], bottleneck_channels=32, batch=4, **settings)
    with pytest.raises(ValueError, match="--begin mmnist64-vae"):
        TrainingRun(tmp_path / "run", recipe, steps=1)
    refiner = load("mmnist64-vae").metadata["recipe"]["model"]["net"]["refiner_channels"]
    recipe = get_recipe("mmnist64-vae", batch=4, refiner_channels=refiner, **settings)
    run = TrainingRun(tmp_path / "other", recipe, steps=1, init_from="mmnist64-vae")
    assert run.state.model.has_latent_stats()
    run.close()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_it_runs_in_any_floating_dtype(clips, dtype):
    vae = small(refiner_channels=(32,))
    vae.fit_latent_stats(clips)
    t, noise = torch.tensor([0.0, 0.1, 0.2]), torch.randn(3, 2, 4, 2, 3)
    z = vae.encode(clips)
    want = vae.decode(z, t), vae.loss(clips, noise, t)
    vae, x = vae.to(dtype), clips.to(dtype)
    got = vae.decode(z.to(dtype), t), vae.loss(x, noise, t)
    assert vae.encode(x).dtype == got[0].dtype == dtype
    for a, b in zip(got, want, strict=True):
        assert_close(a.float(), b, rtol=0, atol=0.1 if dtype.itemsize == 2 else 1e-4)
    assert vae.loss(x).isfinite().all()


def test_the_noise_of_the_loss_is_float32_whatever_the_default(clips):
    vae, losses = small(), []
    for default in (torch.float32, torch.float64):
        torch.set_default_dtype(default)
        try:
            torch.manual_seed(5)
            losses.append(vae.loss(clips))
        finally:
            torch.set_default_dtype(torch.float32)
    assert torch.equal(*losses)
