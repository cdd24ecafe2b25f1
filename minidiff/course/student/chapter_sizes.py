"""How big things are in each chapter: name -> (smoke, cpu, gpu). Set only here."""

SIZES = {
    "00": dict(toy_steps=(50, 2000, 2000), clips=(3, 10, 10), steps=(4, 20, 20),
               repeats=(3, 20, 100)),
    "01": {
        "digits": (300, 2000, 5000), "fit_sizes": ((50, 200, 600), (50, 200, 1000, 4000, 16000),
                                              (50, 200, 1000, 4000, 16000, 60000)),
        "held_out": (40, 300, 1000), "clips": (4, 24, 64), "levels": (5, 9, 13),
        "steps": (10, 30, 50)},
    "02": {"digits": (300, 2000, 5000), "frames": (200, 4096, 16_384),
        "eval_samples": (64, 256, 1024),
           "batch": (8, 32, 128), "steps": (12, 1200, 4000), "bughunt_steps": (12, 150, 150),
           "preview_steps": (4, 20, 20), "sampling_steps": (20, 50, 50), "samples": (24, 192, 1024),
           "pairs": (8, 64, 512), "levels": (5, 12, 12)},
    "03": dict(shown=(3, 10, 16), shown_steps=(6, 20, 40), sprites=(300, 4000, 20_000),
               test=(32, 512, 1024), reader_steps=(8, 500, 800), batch=(8, 32, 128),
               steps=(8, 2000, 3000), sampling_steps=(3, 25, 50), filter=(500, 8000, 8000),
               clips=(32, 128, 512)),
    "04": dict(shown=(2, 5, 10), shown_steps=(4, 20, 20), sprites=(300, 8000, 20_000),
               test=(32, 128, 512), dim=(32, 96, 192), depth=(2, 4, 8), batch=(4, 16, 64),
               steps=(10, 1200, 3000), channels=((32,), (32, 64), (64, 96)),
               filter=(500, 8000, 8000), eval_samples=(32, 64, 256), sampling_steps=(4, 20, 20)),
    "05": dict(digits=(300, 8000, 20_000), held_out=(8, 128, 512), batch=(4, 16, 64),
               vae_steps=(4, 1200, 3000), cached=(32, 4096, 16_384),
               latent_steps=(4, 800, 3000), sampling_steps=(2, 20, 40), clips=(32, 128, 512),
               drifting=(4, 32, 128)),
    "06": dict(toy=(200, 2000, 5000),
        scales=((0., 1., 8., 15.), (0., 1., 2., 4., 8., 15.), (0., 1., 1.5, 2., 3., 5., 8., 15.)),
        clips=(4, 20, 100), sampling_steps=(2, 12, 20), sprites=(300, 8000, 20_000),
            batch=(8, 40, 128),
        steps=(4, 1600, 4000), eval_samples=(20, 160, 640), draw=(3, 15, 25), prompts=(8, 32, 100),
        ordered=(16, 40, 200), text_sampling_steps=(2, 14, 20)),
    "07": dict(sprites=(100, 2000, 5000), eval_samples=(8, 48, 256), steps=(2, 20, 40),
               denoised_clips=(64, 1024, 4096), gap_steps=(4, 400, 1500), batch=(4, 32, 128),
               ball_steps=(4, 500, 3000), sampled_clips=(8, 96, 512), held_out=(16, 512, 2048),
               attention_map_clips=(4, 32, 128), rollout_clips=(2, 20, 128),
                   long_clips=(2, 24, 128)),
    "08": {"shown": (1, 5, 10), "few_steps": (2, 8, 8), "compared_steps": ((1, 2, 3), (10, 20, 40),
                                                              (10, 30, 100)),
           "duelists": (1, 2, 2), "calls": ((2, 3), (4, 8, 16), (4, 8, 16, 32, 64)),
           "digits": (300, 2000, 5000), "frames": (100, 4096, 16_384), "batch": (8, 32, 128),
           "steps": (8, 800, 3000), "held_out": (32, 512, 2048), "eval_samples": (32, 64, 256),
           "sampler_calls": ({"ddim": (1,)}, {"ddpm": (8,), "ddim": (8,), "dpmpp_2m": (8,)},
                     {"ddpm": (8, 20), "ddim": (8, 20), "dpmpp_2m": (8, 20)}),
           "repeats": (3, 10, 50), "final_clips": (2, 5, 20), "final_steps": (2, 15, 20)},
    "09": dict(shown=(2, 5, 10), fine=(8, 20, 20), held_out=(4, 40, 200), digits=(100, 2000, 5000),
               handful=(8, 200, 400), fine_steps=(20, 200, 400), points=(200, 2000, 5000),
               point_steps=(20, 1500, 3000), peak_steps=(20, 600, 600), batch=(2, 8, 64),
               steps=(6, 300, 1500)),
    "10": dict(shown=(2, 10, 10), digits=(100, 2000, 5000), sampling_steps=(3, 20, 20),
               chains=(500, 8000, 50_000), clips=(4, 20, 100), batch=(2, 8, 32),
               steps=(6, 600, 2000), edits=(4, 20, 60),
               starts=((0.5, 0.7, 1.0), (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
                       (0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9, 1.0))),
    "11": dict(held_out=(2, 20, 100), calls=(2, 10, 20), digits=(100, 2000, 5000),
               batch=(2, 8, 32), branch_steps=(4, 150, 400), reader_steps=(2, 120, 300),
               adapter_steps=(3, 120, 400), prior_clips=(4, 40, 100), exact_steps=(30, 700, 1500),
               eval_samples=(8, 64, 256)),
}
PROFILES = "smoke", "cpu", "gpu"


def sizes(chapter: str, profile: str) -> dict:
    """A chapter's sizes in one profile. Raises ValueError that names the chapters."""
    if chapter not in SIZES:
        raise ValueError(f"There is no chapter {chapter!r}; there are {', '.join(SIZES)}.")
    return {k: v[PROFILES.index(profile)] for k, v in SIZES[chapter].items()}
