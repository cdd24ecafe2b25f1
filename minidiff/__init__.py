"""minidiff: the clearest video diffusion there is, and a course that builds it.

    import minidiff
    minidiff.load("mmnist32")(3).save("three.gif")
"""
from minidiff import digits, gaussians, moving_mnist, samplers, schedules, scoreboard
from minidiff.denoiser import Denoiser, clipped, guided, inpainted
from minidiff.pipeline import load
from minidiff.unet import UNet

__version__ = "0.1.0"
__all__ = ["Denoiser", "UNet", "clipped", "digits", "gaussians", "guided", "inpainted", "load",
           "moving_mnist", "samplers", "schedules", "scoreboard"]
