"""How big things are in each chapter: name -> (smoke, cpu, gpu). Set only here."""

SIZES = {
    "00": dict(clips=(3, 10, 10), steps=(4, 20, 20), repeats=(3, 20, 100)),
    "01": {
        "digits": (300, 2000, 5000), "fits": ((50, 200, 600), (50, 200, 1000, 4000, 16000),
                                              (50, 200, 1000, 4000, 16000, 60000)),
        "held_out": (40, 300, 1000), "clips": (4, 24, 64), "levels": (5, 9, 13),
        "steps": (10, 30, 50)},
    "02": {"digits": (300, 2000, 5000), "frames": (200, 4096, 16_384), "judged": (64, 256, 1024),
           "batch": (8, 32, 128), "steps": (12, 1500, 6000), "hunt": (12, 200, 200),
           "look": (4, 20, 20), "walk": (20, 50, 50), "samples": (24, 256, 1024),
           "pairs": (8, 96, 512), "levels": (5, 12, 12)},
    "03": dict(shown=(3, 10, 16), shown_steps=(6, 20, 40), sprites=(300, 4000, 20_000),
               test=(32, 512, 1024), reader_steps=(8, 500, 800), batch=(8, 32, 128),
               steps=(8, 2000, 3000), sampling=(3, 25, 50), filter=(500, 8000, 8000),
               clips=(32, 128, 512)),
}
PROFILES = "smoke", "cpu", "gpu"


def sizes(chapter: str, profile: str) -> dict:
    """A chapter's sizes in one profile. Raises ValueError that names the chapters."""
    if chapter not in SIZES:
        raise ValueError(f"There is no chapter {chapter!r}; there are {', '.join(SIZES)}.")
    return {k: v[PROFILES.index(profile)] for k, v in SIZES[chapter].items()}
