"""The mark of each digit's film, from 0 to 1: the product of what it does well.

ID     it shows the same digit in every frame, surely, and no dirt;
LOOKS  the digit's picture stays the same picture: its change from frame to frame, once the motion
       is taken out, is that of a real clip (1) and not that of another picture in every frame (0);
PHY    it flies straight at a speed of real clips and is reflected at the walls;
NEW    it is no copy of a training digit.
"""
import torch
from torch import Tensor

from minidiff.evaluation.references import Films, Reference

PATH_TOLERANCE = 1.0     # pixels at size 32, off the path: a third of the mark is left; at .5, .88
WALL_TOLERANCE = 0.35    # walls that take this share of the speed leave a third of the mark
LEAST_CONTACTS = 0.1     # of those of real films; fewer show too little to be judged


def film_marks(films: Films, ref: Reference) -> dict[str, Tensor]:
    """The marks (N,) of N films by part, without the walls, which a single film rarely touches."""
    still, other = ref.metadata["change"]            # 99 of 100 real films; two images of a class
    drift = ((films.change - still) / (other - still)).clamp(0, 1)
    low, high = ref.metadata["speeds"]
    speed = films.speed.clamp(min=1e-6)
    pace = torch.minimum(speed / low, high / speed).clamp(max=1).square()
    straight = (-(films.path_error / PATH_TOLERANCE) ** 3).exp()
    return {"ID": films.certainty, "LOOKS": (1 - drift).square(), "PHY": straight * pace,
            "NEW": 1 - films.copied}


def wall_mark(walls: Tensor, weights: Tensor, least: float) -> Tensor:
    """The mark (R,) of the walls: exp(-((1 - kept) / WALL_TOLERANCE)^2).

    kept: the speed across the walls that films (N,) with weights (N, R) keep at contacts, all
    together, so that errors of single frames cancel. walls: (N, 2), `Measurements.walls`. least:
    the least sum of speeds before the contacts of one film; if there are fewer contacts, the
    missing ones count as lost.
    """
    before, after = (walls.double()[:, i] @ weights.double() for i in (0, 1))
    enough = least * weights.double().sum(0)
    kept = after / torch.maximum(before, enough).clamp(min=1e-9)
    return (-((1 - kept) / WALL_TOLERANCE).square()).exp()
