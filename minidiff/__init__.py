"""minidiff: the clearest video diffusion there is, and a course that builds it.

    import minidiff
    minidiff.load("mmnist64-text")("a 3 moving left and a 7 moving up").save("clip.gif")
"""
from minidiff import gaussians, samplers, schedules
from minidiff.data import digits, moving_mnist, prompts
from minidiff.denoiser import Denoiser
from minidiff.dit import DiT
from minidiff.evaluation import scoreboard
from minidiff.guidance import autoguided, clipped, guided, inpainted
from minidiff.pipeline import load
from minidiff.unet import UNet
from minidiff.vae import VAE

__version__ = "0.2.0"
__all__ = [
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
