"""Chapter 11, control and adapters: the right answers and the common mistakes."""
import torch
import torch.nn.functional as F
from torch import Tensor

from minidiff.course.answers import Mistake, answer


def add_control(skip: Tensor, found: Tensor, weight: Tensor, bias: Tensor,
                strength: Tensor) -> Tensor:
    """The base's features and, through a convolution that begins at 0, those of the branch."""
    frames = len(skip) // len(strength)
    factor = strength.repeat_interleave(frames).view(-1, 1, 1, 1)
    return skip + factor * F.conv2d(found, weight, bias)


def dots(path: Tensor, size: tuple[int, int], width: float) -> Tensor:
    """A round bright dot at each place of a path."""
    y = torch.arange(size[0], device=path.device) + 0.5 - path[..., :1]          # (..., T, H)
    x = torch.arange(size[1], device=path.device) + 0.5 - path[..., 1:]          # (..., T, W)
    far = y.square()[..., :, None] + x.square()[..., None, :]                    # (..., T, H, W)
    return torch.exp(-far / (2 * width**2)).unsqueeze(-3)


def centres_of_ink(x: Tensor) -> Tensor:
    """The centre of each frame's ink, (y, x) in pixels."""
    ink = (x.mean(2) + 1) / 2                                                    # (B, T, H, W)
    ink = ink * (ink > 0.1) + 1e-6
    y, x = (torch.arange(n, device=ink.device) + 0.5 for n in ink.shape[-2:])
    moments = [(ink.sum(-1) * y).sum(-1), (ink.sum(-2) * x).sum(-1)]
    return torch.stack(moments, -1) / ink.sum((-2, -1)).unsqueeze(-1)


def lora_forward(x: Tensor, weight: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
    """A linear layer with a low-rank change that is never written out."""
    return x @ weight.T + scale * (x @ a.T) @ b.T / len(a)**0.5


def merged(weight: Tensor, adapters: list[tuple[float, Tensor, Tensor]]) -> Tensor:
    """The weight with the changes of all adapters in it."""
    for scale, a, b in adapters:
        weight = weight + scale * (b @ a).view_as(weight) / len(a)**0.5
    return weight


def prior_loss(losses, new: tuple[Tensor, Tensor], old: tuple[Tensor, Tensor],
               weight: float) -> Tensor:
    """The loss of the new shape, and that of the base's own clips of what it knows."""
    x0, cond = (torch.cat(pair) for pair in zip(new, old, strict=True))
    each, n = losses(x0, cond), len(new[0])
    return each[:n].mean() + weight * each[n:].mean()


ANSWERS = {
    "c11-branch": answer(
        add_control,
        Mistake("frames-in-turn", {"strength.repeat_interleave(frames)":
                                   "strength.repeat(frames)"},
                "The strengths are in the wrong order: the frames of a clip stand one behind "
                "another, so each strength is repeated T times before the next one comes.", 2),
        Mistake("inside", {"factor * F.conv2d(found, weight, bias)":
                           "F.conv2d(factor * found, weight, bias)"},
                "The convolution's bias is added at full strength, even at strength 0. Scale all "
                "that comes out of the convolution.", 2),
        Mistake("no-bias", {"F.conv2d(found, weight, bias)": "F.conv2d(found, weight)"},
                "The bias is missing: a convolution adds it to every place.", 3),
        Mistake("no-skip", {"skip + factor": "factor"},
                "The base's own features are gone. The branch's are added to them.", 1),
        Mistake("no-convolution", {"F.conv2d(found, weight, bias)": "found"},
                "You add the branch's features as they are. They go through the convolution, "
                "which begins at 0.", 1),
        Mistake("strength-left-out", {"factor * F.conv2d": "F.conv2d"},
                "The strength is not used.", 2),
        Mistake("mixture", {"skip + factor": "(1 - factor) * skip + factor"},
                "You mix the two, so at strength 1 the base is gone. The base's features stay "
                "whole, whatever the strength.", 2),
        Mistake("both-scaled", {"skip + factor * F.conv2d(found, weight, bias)":
                                "factor * (skip + F.conv2d(found, weight, bias))"},
                "The strength scales the base's features, too; at strength 0 nothing would be "
                "left. It belongs to what is added.", 2),
        Mistake("reads-the-skip", {"F.conv2d(found,": "F.conv2d(skip,"},
                "The convolution reads the base's features; it should read `found`, the branch's.",
                1),
        Mistake("multiplied", {"skip + factor * F.conv2d(found, weight, bias)":
                               "skip * (1 + factor * F.conv2d(found, weight, bias))"},
                "You multiply the base's features by one plus the branch's. They are added.", 1),
        Mistake("transposed", {"F.conv2d(found, weight, bias)":
                               "F.conv2d(found, weight.transpose(0, 1), bias)"},
                "The kernel is transposed: its first axis counts the outputs.", 3),
        Mistake("mean-strength", {"strength.repeat_interleave(frames)":
                                  "strength.mean().expand(len(skip))"},
                "All clips get the same, mean strength. Each clip has its own.", 2),
        Mistake("first-strength", {"strength.repeat_interleave(frames)":
                                   "strength[:1].expand(len(skip))"},
                "All clips get the strength of the first. Each clip has its own.", 2),
        Mistake("subtracted", {"skip + factor": "skip - factor"},
                "You take the branch's features away. They are added.", 1),
        Mistake("strength-squared", {"factor = strength.": "factor = strength.square()."},
                "The strength is squared; it is a plain factor.", 2),
        Mistake("activated", {"factor * F.conv2d(found, weight, bias)":
                              "factor * F.silu(F.conv2d(found, weight, bias))"},
                "No activation follows the convolution.", 3)),
    "c11-dots": answer(
        dots,
        Mistake("x-first", {"path[..., :1]": "path.flip(-1)[..., :1]",
                            "+ 0.5 - path[..., 1:]": "+ 0.5 - path.flip(-1)[..., 1:]"},
                "The two axes are exchanged: a place is (y, x), first the row, then the column.",
                1),
        Mistake("pixel-corners", {"torch.arange(size[0], device=path.device) + 0.5":
                                  "torch.arange(size[0], device=path.device)",
                                  "torch.arange(size[1], device=path.device) + 0.5":
                                  "torch.arange(size[1], device=path.device)"},
                "Pixel i has its middle at i + 0.5; your dots are half a pixel off, down and to "
                "the right.", 2),
        Mistake("no-two", {"(2 * width**2)": "width**2"},
                "The dot is too narrow: below the line stands 2 width^2.", 3),
        Mistake("width-not-squared", {"(2 * width**2)": "(2 * width)"},
                "You divide by 2 width; the square of the distance needs width^2.", 3),
        Mistake("distance-not-squared", {"torch.exp(-far /": "torch.exp(-far.sqrt() /"},
                "Your dots have a sharp tip: the exponent has the square of the distance, not the "
                "distance.", 2),
        Mistake("crosses", {"y.square()[..., :, None] + x.square()[..., None, :]":
                            "torch.minimum(y.square()[..., :, None], x.square()[..., None, :])"},
                "You draw crosses: a pixel is bright if its row or its column is near. Both have "
                "to be.", 2),
        Mistake("squares", {"y.square()[..., :, None] + x.square()[..., None, :]":
                            "torch.maximum(y.square()[..., :, None], x.square()[..., None, :])"},
                "Your dots are square: take the sum of the two squared distances, not the larger.",
                2),
        Mistake("sum-one", {"return torch.exp(-far / (2 * width**2)).unsqueeze(-3)":
                            "d = torch.exp(-far / (2 * width**2)).unsqueeze(-3)\n"
                            "    return d / d.sum((-2, -1), keepdim=True)"},
                "Your dot sums to 1. Its brightest point is 1, so that a hint lies in [0, 1].", 2),
        Mistake("sum-over-the-path", {").unsqueeze(-3)": ").sum(-3, keepdim=True)"
                                                         ".unsqueeze(-3).expand("
                                                         "*path.shape[:-1], 1, *size)"},
                "Every frame shows the whole path. The hint for a frame is one dot: where the "
                "digit is to be in this frame.", 1),
        Mistake("no-channel", {".unsqueeze(-3)": ""},
                "The channel axis is missing: a hint is (..., T, 1, H, W), like a clip.", 3),
        Mistake("minus-one-to-one", {"return torch.exp(-far / (2 * width**2)).unsqueeze(-3)":
                                     "return 2 * torch.exp(-far / (2 * width**2)).unsqueeze(-3) - "
                                     "1"},
                "Your hint lies in [-1, 1], as clips do. A hint lies in [0, 1], so that no hint is "
                "0.", 2),
        Mistake("rounded", {"- path[..., :1]": "- path[..., :1].floor() - 0.5",
                            "- path[..., 1:]": "- path[..., 1:].floor() - 0.5"},
                "You round places to whole pixels. The digit moves by parts of a pixel, and a dot "
                "can show them.", 2),
        Mistake("hard-edge", {"torch.exp(-far / (2 * width**2))": "(far <= width**2).to(path)"},
                "Your dots have hard edges, so they jump from pixel to pixel. Let them fall off "
                "smoothly.", 2),
        Mistake("size-exchanged", {"    y = torch": "    size = size[::-1]\n    y = torch"},
                "Height and width are exchanged: size is (height, width).", 2),
        Mistake("upside-down", {"path[..., :1]": "(size[0] - path[..., :1])"},
                "Your dots are upside down: y counts from the top.", 1),
        Mistake("by-the-peak", {"return torch.exp(-far / (2 * width**2)).unsqueeze(-3)":
                                "d = torch.exp(-far / (2 * width**2)).unsqueeze(-3)\n"
                                "    return d / d.amax((-2, -1), keepdim=True)"},
                "You stretch every dot until its brightest pixel is 1. Between two pixels it is a "
                "little less, and outside the frame there is nearly nothing to show.", 2)),
    "c11-centres": answer(
        centres_of_ink,
        Mistake("x-first", {"[(ink.sum(-1) * y).sum(-1), (ink.sum(-2) * x).sum(-1)]":
                            "[(ink.sum(-2) * x).sum(-1), (ink.sum(-1) * y).sum(-1)]"},
                "The order is exchanged: a place is (y, x), first the row.", 1),
        Mistake("axes-summed-away", {"(ink.sum(-1) * y)": "(ink.sum(-1) * x)",
                                     "(ink.sum(-2) * x)": "(ink.sum(-2) * y)"},
                "The axes are mixed up. Summing over the columns (the last axis) leaves the ink of "
                "each row, which belongs to y.", 2),
        Mistake("corners", {" + 0.5 for n": " + 0 for n"},
                "Pixel i has its middle at i + 0.5; your centre is half a pixel too high and too "
                "far left.", 2),
        Mistake("not-unit", {"(x.mean(2) + 1) / 2": "x.mean(2)"},
                "You take the pixels as they are: background counts -1. Bring them to [0, 1] "
                "first.", 2),
        Mistake("background-counts", {" * (ink > 0.1)": ""},
                "Faint background counts, too, and pulls the centre towards the middle. Only ink "
                "above 0.1 counts.", 2),
        Mistake("not-divided", {" / ink.sum((-2, -1)).unsqueeze(-1)": ""},
                "You do not divide by the ink: a fat digit would lie farther away than a thin "
                "one.", 1),
        Mistake("by-pixels", {"ink.sum((-2, -1)).unsqueeze(-1)": "(ink > 0.1).sum((-2, -1))"
                                                                 ".unsqueeze(-1)"},
                "You divide by the number of inked pixels. A mean is divided by the sum of its "
                "weights, the ink.", 2),
        Mistake("brightest", {"return torch.stack(moments, -1) / ink.sum((-2, -1)).unsqueeze(-1)":
                              "at = ink.flatten(-2).argmax(-1)\n"
                              "    return torch.stack([at // len(x), at % len(x)], -1) + 0.5"},
                "You take the brightest pixel, which jumps from stroke to stroke. The centre is a "
                "mean over all ink.", 1),
        Mistake("binary", {"ink * (ink > 0.1) + 1e-6": "1.0 * (ink > 0.1) + 1e-6"},
                "Every inked pixel counts the same. A bright one counts more.", 2),
        Mistake("nothing-added", {" + 1e-6": ""},
                "A frame without ink gives 0 / 0. The little that is added to every pixel gives "
                "its middle.", 3),
        Mistake("threshold-taken-off", {"ink * (ink > 0.1)": "(ink - 0.1).clamp(min=0)"},
                "You take 0.1 off the ink. What is above 0.1 counts whole.", 3),
        Mistake("one-centre", {"return torch.stack(moments, -1) / ink.sum((-2, -1)).unsqueeze(-1)":
                               "c = torch.stack(moments, -1) / ink.sum((-2, -1)).unsqueeze(-1)\n"
                               "    return c.mean(1, keepdim=True).expand_as(c)"},
                "You average over the frames; each frame has its own centre.", 1),
        Mistake("shares", {"return torch.stack(moments, -1) / ink.sum((-2, -1)).unsqueeze(-1)":
                           "c = torch.stack(moments, -1) / ink.sum((-2, -1)).unsqueeze(-1)\n"
                           "    return c / torch.tensor(ink.shape[-2:], dtype=c.dtype)"},
                "Your centre is a share of the frame; asked for are pixels.", 3),
        Mistake("from-the-middle", {
            "return torch.stack(moments, -1) / ink.sum((-2, -1)).unsqueeze(-1)":
            "c = torch.stack(moments, -1) / ink.sum((-2, -1)).unsqueeze(-1)\n"
            "    return c - torch.tensor(ink.shape[-2:], dtype=c.dtype) / 2"},
                "You count from the middle of the frame; asked for are pixels from the upper left "
                "corner.", 3),
        Mistake("box-middle", {
            "return torch.stack(moments, -1) / ink.sum((-2, -1)).unsqueeze(-1)":
            "seen = [(ink > 0.1).any(-1), (ink > 0.1).any(-2)]\n"
            "    return torch.stack([(torch.where(s, p, -99).amax(-1) + torch.where(s, p, 99)"
            ".amin(-1)) / 2 for s, p in zip(seen, (y, x))], -1).to(ink)"},
                "You take the middle of the box around the ink. The centre is the mean over the "
                "ink.", 1),
        Mistake("first-channel", {"x.mean(2)": "x[:, :, 0]"},
                "You look at the first channel only; take the mean over the channels.", 3)),
    "c11-lora": answer(
        lora_forward,
        Mistake("rank-not-rooted", {"len(a)**0.5": "len(a)"},
                "You divide by r. Here it is the root of r, so that the size of a change does not "
                "shrink with the rank.", 2),
        Mistake("rank-missing", {" / len(a)**0.5": ""},
                "The division by the root of r is missing.", 2),
        Mistake("rank-multiplied", {"@ b.T / len": "@ b.T * len"},
                "You multiply by the root of r; it is divided by.", 3),
        Mistake("width-for-rank", {"len(a)": "len(b)"},
                "You divide by the root of the outputs' number. r is the rank: the rows of a.", 3),
        Mistake("base-missing", {"x @ weight.T + scale": "scale"},
                "The frozen weight is missing: its output comes first, the change is added.", 1),
        Mistake("scale-missing", {"scale * (x": "(x"},
                "The scale is not used; a user sets it to 0 to turn the adapter off.", 2),
        Mistake("scale-on-all", {"x @ weight.T + scale * (x @ a.T) @ b.T / len(a)**0.5":
                                 "scale * (x @ weight.T + (x @ a.T) @ b.T / len(a)**0.5)"},
                "The scale is on the frozen weight, too. At scale 0 the base must be left.", 2),
        Mistake("subtracted", {"weight.T + scale": "weight.T - scale"},
                "You take the change away. It is added.", 1),
        Mistake("reads-the-output", {"scale * (x @ a.T) @ b.T / len(a)**0.5":
                                     "scale * (x @ weight.T @ b) @ a @ weight.T / len(a)**0.5"},
                "The thin matrices read the layer's output. They stand beside the layer and read "
                "its input.", 1),
        Mistake("only-the-change-of-one", {"(x @ a.T) @ b.T": "(x @ a.T) @ a @ weight.T"},
                "b is not used: a brings the input down to r numbers, b brings these to the "
                "outputs.", 2),
        Mistake("activated", {"(x @ a.T) @ b.T": "(x @ a.T).relu() @ b.T"},
                "There is no activation between a and b: the two are one matrix, or the adapter "
                "could not be merged.", 1),
        Mistake("mixture", {"x @ weight.T + scale": "(1 - scale) * x @ weight.T + scale"},
                "You mix base and change. The base stays whole at any scale.", 2),
        Mistake("scale-squared", {"scale * (x": "scale**2 * (x"},
                "The scale counts twice. Do you use it at a and at b?", 2),
        Mistake("root-twice", {"len(a)**0.5": "len(a)**0.25"},
                "You take the root of the root: each of the two matrices divided by r^(1/4)?", 3)),
    "c11-merge": answer(
        merged,
        Mistake("last-one", {"        weight = weight + scale * (b @ a).view_as(weight) / "
                             "len(a)**0.5\n    return weight":
                             "        new = weight + scale * (b @ a).view_as(weight) / "
                             "len(a)**0.5\n    return new if adapters else weight"},
                "Only the last adapter is in your weight: each one is added to what the one before "
                "left.", 2),
        Mistake("first-one", {"in adapters:": "in adapters[:1]:"},
                "Only the first adapter is in your weight; the loop ends too early.", 2),
        Mistake("rank-not-rooted", {"len(a)**0.5": "len(a)"},
                "You divide by r; here it is the root of r, as in lora_forward.", 2),
        Mistake("rank-missing", {" / len(a)**0.5": ""},
                "The division by the root of r is missing: merged and unmerged differ.", 2),
        Mistake("first-rank", {"len(a)**0.5": "len(adapters[0][1])**0.5"},
                "You use the rank of the first adapter for all. Each has its own.", 3),
        Mistake("scale-missing", {"scale * (b": "(b"},
                "The scales are not used: all adapters count fully.", 2),
        Mistake("scale-on-all", {"weight + scale * (b @ a).view_as(weight) / len(a)**0.5":
                                 "scale * (weight + (b @ a).view_as(weight) / len(a)**0.5)"},
                "The scale is on the weight, too. At scale 0 the base must be left.", 2),
        Mistake("averaged", {"return weight":
                             "return start + (weight - start) / max(1, len(adapters))",
                             "    for scale": "    start = weight\n    for scale"},
                "You average the changes. They are added, each with its scale.", 1),
        Mistake("scales-normalised", {"scale * (b @ a)": "scale / sum(s for s, _, _ in adapters) * "
                                      "(b @ a)"},
                "You divide the scales by their sum. Each is used as it is.", 1),
        Mistake("change-only", {"return weight": "return weight - start",
                                "    for scale": "    start = weight\n    for scale"},
                "You return the change alone; the frozen weight is missing.", 1),
        Mistake("subtracted", {"weight + scale": "weight - scale"},
                "You take the changes away: that is how one unmerges.", 1),
        Mistake("transposed", {"(b @ a).view_as(weight)": "(b @ a).T.reshape(weight.shape)"},
                "The product is transposed before it gets the weight's shape: its rows are the "
                "outputs.", 3),
        Mistake("scale-squared", {"scale * (b": "scale**2 * (b"},
                "The scale counts twice.", 2),
        Mistake("multiplied", {"weight + scale * (b @ a).view_as(weight) / len(a)**0.5":
                               "weight * (1 + scale * (b @ a).view_as(weight) / len(a)**0.5)"},
                "You multiply the weight by one plus the change. The change is added.", 1),
        Mistake("kernel-inside-out", {
            "(b @ a).view_as(weight)":
            "(b @ a).view(len(weight), weight[0, :1].numel(), -1).transpose(1, 2)"
            ".reshape(weight.shape)"},
                "The kernel's places and the channels are mixed up: a row of a has the numbers of "
                "weight[i], in their order.", 3),
        Mistake("in-one", {"    for scale, a, b in adapters:\n":
                           "    for scale, a, b in sorted(adapters, key=lambda v: v[0])[-1:]:\n"},
                "Only the strongest adapter counts. All are added.", 1)),
    "c11-prior": answer(
        prior_loss,
        Mistake("one-mean", {"each[:n].mean() + weight * each[n:].mean()": "each.mean()"},
                "One mean over everything: the weight is not used, and how many old clips there "
                "are decides how much they count.", 2),
        Mistake("weight-on-new", {"each[:n].mean() + weight * each[n:].mean()":
                                  "weight * each[:n].mean() + each[n:].mean()"},
                "The weight is on the new clips; it belongs to the old ones.", 2),
        Mistake("no-weight", {"weight * each[n:]": "each[n:]"},
                "The weight is not used.", 2),
        Mistake("mixture", {"each[:n].mean() + weight": "(1 - weight) * each[:n].mean() + weight"},
                "You mix the two losses: at weight 1 nothing new would be learnt. The new loss "
                "counts fully.", 2),
        Mistake("new-only", {" + weight * each[n:].mean()": ""},
                "The old clips are left out: that is tuning without prior preservation.", 1),
        Mistake("old-only", {"each[:n].mean() + weight": "weight"},
                "The new clips are left out: nothing new would be learnt.", 1),
        Mistake("subtracted", {".mean() + weight": ".mean() - weight"},
                "You subtract the loss of the old clips, so forgetting is rewarded.", 1),
        Mistake("sums", {"each[:n].mean() + weight * each[n:].mean()":
                         "each[:n].sum() + weight * each[n:].sum()"},
                "You add up; take a mean of each part, so that batch sizes do not matter.", 3),
        Mistake("weighted-mean", {"each[:n].mean() + weight * each[n:].mean()":
                                  "(each[:n].sum() + weight * each[n:].sum()) / len(each)"},
                "You divide both parts by the number of all clips. Each part has its own mean.",
                3),
        Mistake("new-condition-for-old", {"each, n = losses(x0, cond), len(new[0])":
                                          "each, n = losses(x0, torch.cat([new[1], "
                                          "new[1][:1].expand_as(old[1])])), len(new[0])"},
                "The old clips are shown with the new word: the model learns that it means all of "
                "them. They keep their own conditions.", 1),
        Mistake("old-condition-for-new", {"each, n = losses(x0, cond), len(new[0])":
                                          "each, n = losses(x0, torch.cat([old[1][:1]"
                                          ".expand_as(new[1]), old[1]])), len(new[0])"},
                "The new clips are shown with an old word, which then loses its meaning. They "
                "have a spare one of their own.", 1),
        Mistake("cut-at-old", {"len(new[0])": "len(old[0])"},
                "You cut the losses behind as many as there are old clips; the new ones come "
                "first.", 3),
        Mistake("weight-squared", {"weight * each": "weight**2 * each"},
                "The weight counts twice.", 2),
        Mistake("weighted-before", {"losses(x0, cond)":
                                    "losses(torch.cat([new[0], weight * old[0]]), cond)"},
                "You scale the old clips instead of their loss.", 1),
        Mistake("one-a-clip", {"return each[:n].mean() + weight * each[n:].mean()":
                               "return torch.cat([each[:n], weight * each[n:]])"},
                "You return a loss for each clip; asked for is one number.", 3),
        Mistake("rooted", {"each[:n].mean() + weight * each[n:].mean()":
                           "(each[:n].mean()**2 + (weight * each[n:].mean())**2).sqrt()"},
                "You take the root of a sum of squares; the two losses are added.", 2)),
}
# mutants that no legal input tells from the right answer: `authoring.mutations`
COUNTED = "Only the number of rows is used."
SQUARED = "Squared afterwards, so the sign does not count."
CPU = "The checks run on the CPU, where an arange is by itself."
FOUR_AXES = "The tensor has four axes, so axis -2 is axis 2."
TRUE_OR_FALSE = "True and False stay what they are, squared or rooted."
PAIRS = "Both are pairs, so there is nothing to be strict about."
EQUIVALENT = {
    ("c11-branch", "line 4: skip -> skip.detach()"): COUNTED,
    ("c11-branch", "line 4: strength -> strength.detach()"): COUNTED,
    **{("c11-dots", f"line {line}: torch.arange(size[{k}], device=path.device) + 0.5 - path[..., "
        f"{cut}] -> path[..., {cut}] - (torch.arange(size[{k}], device=path.device) + 0.5)"):
       SQUARED for line, k, cut in ((3, 0, ":1"), (4, 1, "1:"))},
    **{("c11-dots", f"line {k + 3}: torch.arange(size[{k}], device=path.device) -> "
        f"torch.arange(size[{k}])"): CPU for k in (0, 1)},
    ("c11-centres", "line 4: ink * (ink > 0.1) -> ink * (ink > 0.1) ** 2"): TRUE_OR_FALSE,
    ("c11-centres", "line 4: ink * (ink > 0.1) -> ink * (ink > 0.1) ** 0.5"): TRUE_OR_FALSE,
    ("c11-centres", "line 4: ink > 0.1 -> ink >= 0.1"):
        "No pixel's ink is exactly 0.1: rounding decides.",
    ("c11-centres", "line 5: torch.arange(n, device=ink.device) -> torch.arange(n)"): CPU,
    ("c11-centres", "line 5: -2 -> 2"): FOUR_AXES,
    ("c11-centres", "line 6: -2 -> 2"): FOUR_AXES,
    ("c11-centres", "line 7: -2 -> 2"): FOUR_AXES,
    ("c11-centres", "line 7: (-2, -1) -> (-1, -2)"): "A sum over both axes, in any order.",
    ("c11-lora", "line 3: a -> a.detach()"): COUNTED,
    ("c11-prior", "line 4: zip(new, old, strict=True) -> zip(new, old)"): PAIRS,
    ("c11-prior", "line 4: True -> False"): PAIRS,
    ("c11-prior", "line 5: 0 -> 1"): "There is one condition for each clip.",
    ("c11-prior", "line 5: 0 -> -1"): "There is one condition for each clip.",
}

RIGHT = {
    "c11-first": (1, (
        "Nothing passes through a weight of 0, but a weight's own gradient does not depend on the "
        "weight: it is what comes in times what the loss wants out.",
        "The gradient of a weight is its input times the error behind it, and neither is 0 for the "
        "ways out. What lies before them gets its error through them, so it has to wait for one "
        "step. The hint's way in waits, too.",
        "It depends on them only through the ways out, and these are 0 now: a small change of the "
        "copied way down changes nothing.")),
    "c11-other": (1, (
        "They would be, if noise decided the path. At t = 1 there is no path in the noise yet; "
        "the network reads one into it only if nothing else tells it.",
        "The hint steers, and the noise does not hold against it: the path is not yet decided when "
        "sampling begins. This is the control experiment: had the digits kept to their own paths, "
        "the small error would say nothing about the hint.",
        "A mean of two places would be no digit's place. The network learnt that the hint is "
        "always right.")),
    "c11-rank": (0, (
        "A new direction of variance is a matrix of rank 1 added to the covariance. The denoiser "
        "holds an inverse of the covariance, and the inverse changes by rank 1, too (Sherman and "
        "Morrison).",
        "It does, but by a matrix whose rows are all multiples of one row: rank 1.",
        "That is so for clips of another correlation, whose axes all change their variance. One "
        "new direction needs rank 1.")),
    "c11-bug": (0, (
        "A place is (y, x); the colleague reads it as (x, y), so the digits follow the path "
        "mirrored at the diagonal. With the axes in order, and all else as it is, they are within "
        "a pixel of it. Had the branch been trained with the same exchange, nobody would notice.",
        "At 0.8 the branch is a little weaker: with the right path its digits are still within a "
        "pixel.",
        "With the right path five steps follow it as well as ten: the place is decided early.",
        "Guidance is about the digit here, not about the place: with the right path the error is "
        "the same without it.")),
}
