"""minidiff: small video diffusion models in PyTorch, and a course that builds one.

    import minidiff
    minidiff.load("mmnist64-text")("a 3 moving left and a 7 moving up").save("clip.gif")

The modules and names of `__all__` are imported when they are first used.
"""
from importlib import import_module

__version__ = "0.2.0"
NAMES = {  # what `from minidiff import ...` finds -> the module that holds it
    "Denoiser": "denoiser", "DiT": "dit", "UNet": "unet", "VAE": "vae", "load": "pipeline",
    "autoguided": "guidance", "clipped": "guidance", "guided": "guidance", "inpainted": "guidance"}
MODULES = {  # modules that are attributes of the package -> their place in it
    **{name: name for name in ("denoiser", "dit", "gaussians", "guidance", "layers", "pipeline",
                               "recipes", "samplers", "schedules", "train", "unet", "vae")},
    "digits": "data.digits", "media": "data.media", "moving_mnist": "data.moving_mnist",
    "prompts": "data.prompts", "scoreboard": "evaluation.scoreboard", "course": "course"}
__all__ = [  # noqa: PLE0604, RUF100 (found by __getattr__)
    "VAE",
    "Denoiser",
    "DiT",
    "UNet",
    "autoguided",
    "clipped",
    "digits",
    "gaussians",
    "guided",
    "inpainted",
    "load",
    "moving_mnist",
    "prompts",
    "samplers",
    "schedules",
    "scoreboard",
]


def __getattr__(name: str):
    """Import a name of the package when it is first used (PEP 562)."""
    if name in NAMES:
        value = getattr(import_module(f"minidiff.{NAMES[name]}"), name)
    elif name in MODULES:
        value = import_module(f"minidiff.{MODULES[name]}")
    else:
        raise AttributeError(f"module 'minidiff' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The names of the package, those not yet imported too."""
    return sorted({*globals(), *NAMES, *MODULES})
