"""Chapter 04, a Diffusion Transformer: the right answers and the common mistakes."""
from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor

from minidiff.course.answers import Mistake, WrongAnswer, answer


def cut(x: Tensor, patch: tuple[int, int, int]) -> Tensor:
    """Videos (B, T, C, H, W) as tokens (B, N, D), one for each patch."""
    a, b, c = patch
    return rearrange(x, "n (t a) k (h b) (w c) -> n (t h w) (a b c k)", a=a, b=b, c=c)


def join(tokens: Tensor, patch: tuple[int, int, int], grid: tuple[int, int, int]) -> Tensor:
    """Tokens back as videos; the inverse of cutting."""
    (t, h, w), (a, b, c) = grid, patch
    return rearrange(tokens, "n (t h w) (a b c k) -> n (t a) k (h b) (w c)",
                     t=t, h=h, w=w, a=a, b=b, c=c)


def self_attention(h: Tensor, qkv: Callable, out: Callable, heads: int, turn: Callable,
                   attention: Callable) -> Tensor:
    """Multi-head self-attention of tokens (B, N, D), with rotated queries and keys."""
    q, k, v = rearrange(qkv(h), "b n (three heads d) -> three b heads n d", three=3, heads=heads)
    found = attention(turn(q), turn(k), v)
    return out(rearrange(found, "b heads n d -> b n (heads d)"))


def rotate(x: Tensor, phi: Tensor) -> Tensor:
    """Rotates each pair of channels by its angle."""
    a, b = x.chunk(2, -1)
    return torch.cat([a * phi.cos() - b * phi.sin(), a * phi.sin() + b * phi.cos()], -1)


def grid_angles(grid: tuple[int, int, int], shares: tuple[int, int, int]) -> Tensor:
    """Rotation angles (N, pairs) of all places, with some pairs for each axis."""
    places = torch.cartesian_prod(*(torch.arange(n) for n in grid))
    angles = [places[:, k, None] * torch.logspace(0, -2, shares[k]) for k in range(3)]
    return torch.cat(angles, -1)


def dit_block(h: Tensor, emb: Tensor, modulate: Callable, norm: Callable, attend: Callable,
              mlp: Callable) -> Tensor:
    """A DiT block: attention and MLP, each with adaLN-Zero."""
    shift, scale, gate, shift2, scale2, gate2 = modulate(emb)[:, None].chunk(6, -1)
    h = h + gate * attend(norm(h) * (1 + scale) + shift)
    return h + gate2 * mlp(norm(h) * (1 + scale2) + shift2)


def reshaped(x: Tensor, patch: tuple[int, int, int]) -> Tensor:
    """A wrong cut: it keeps the memory's order and so mixes patches."""
    return x.reshape(len(x), -1, x.shape[2] * patch[0] * patch[1] * patch[2])


def reshaped_back(tokens: Tensor, patch: tuple[int, int, int],
                  grid: tuple[int, int, int]) -> Tensor:
    """A wrong join: it keeps the memory's order and so mixes patches."""
    T, H, W = (n * p for n, p in zip(grid, patch, strict=True))
    return tokens.reshape(len(tokens), T, -1, H, W)


def neighbours(x: Tensor, phi: Tensor) -> Tensor:
    """A wrong rotation: it pairs channels 2k and 2k + 1."""
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    turned = a * phi.cos() - b * phi.sin(), a * phi.sin() + b * phi.cos()
    return torch.stack(turned, -1).flatten(-2)


def two_layouts(x: Tensor, phi: Tensor) -> Tensor:
    """A wrong rotation: pairs are halves, but angles go to neighbouring channels."""
    a, b = x.chunk(2, -1)
    phi = phi.repeat_interleave(2, -1)
    return x * phi.cos() + torch.cat([-b, a], -1) * phi.sin()


def numbered(grid: tuple[int, int, int], shares: tuple[int, int, int]) -> Tensor:
    """Wrong angles: they number the places and so forget the axes."""
    places = torch.arange(grid[0] * grid[1] * grid[2])
    return torch.cat([places[:, None] * torch.logspace(0, -2, n) for n in shares], -1)


ANSWERS = {
    "c04-cut": answer(
        cut,
        WrongAnswer("reshaped", reshaped,
              "A plain reshape takes numbers in the order in which they lie in memory: your "
              "'patches' are runs of whole rows. The axes must be split first.", 1),
        Mistake("every-other", {"(h b) (w c)": "(b h) (c w)"},
                "Your patches take every so-many-th pixel from all over the frame, not "
                "neighbours: in (h b) the second name counts the pixels within a patch.", 2),
        Mistake("every-other-frame", {"(t a)": "(a t)"},
                "Your patches take frames that are far apart; a patch holds neighbouring frames: "
                "(t a), not (a t).", 2),
        Mistake("columns-first", {"(t h w)": "(t w h)"},
                "You list the patches of a frame column by column; here it is row by row.", 3),
        Mistake("time-last", {"(t h w)": "(h w t)"},
                "Your tokens run through time first; here all patches of the first frames come "
                "first.", 3),
        Mistake("mirrored", {"(a b c k)": "(a c b k)"},
                "Inside each patch rows and columns are exchanged: every patch is flipped over its "
                "diagonal.", 3),
        Mistake("channels-first", {"(a b c k)": "(k a b c)"},
                "Inside a token the channels come first; here they are the innermost.", 3),
        Mistake("frame-innermost", {"(a b c k)": "(b c a k)"},
                "Inside a token you put the frames after the pixels; here frame by frame.", 3),
        Mistake("sides-swapped", {"b=b, c=c": "b=c, c=b"},
                "The patch's height and width are exchanged.", 3),
        Mistake("channels-between", {"(a b c k)": "(a k b c)"},
                "Inside a token the channels stand between frames and rows, as they do in x. Here "
                "the channels of one pixel stay together, innermost.", 3),
        Mistake("space-only", {"(t h w) (a b c k)": "(t a h w) (b c k)"},
                "You cut rows and columns only, and each frame gets its own tokens. A patch holds "
                "several frames: that makes fewer tokens.", 1),
        Mistake("batch-as-tokens", {"-> n (t h w)": "-> (n t h w)"},
                "The clips of the batch become one long set of tokens. They would attend to one "
                "another: keep the batch axis.", 1),
        Mistake("turned-over", {"(t h w) (a b c k)": "(a b c k) (t h w)"},
                "You return a row for each number of a patch and a column for each patch. Tokens "
                "are the rows.", 3),
        Mistake("counts-for-sizes", {"a=a, b=b, c=c": "t=a, h=b, w=c"},
                "You take the patch's sizes for the number of patches along each axis. patch says "
                "how large one is.", 2),
        Mistake("patch-backwards", {"a, b, c = patch": "c, b, a = patch"},
                "You read `patch` from its end. Its order is frames, rows, columns.", 2)),
    "c04-join": answer(
        join,
        WrongAnswer("reshaped", reshaped_back,
              "A plain reshape lays each token out along a row. The token's axes must be split and "
              "reordered first.", 1),
        Mistake("columns-first", {"(t h w)": "(t w h)"},
                "You put the patches back column by column; `cut` listed them row by row.", 1),
        Mistake("mirrored", {"(a b c k)": "(a c b k)"},
                "Every patch comes back flipped over its diagonal: rows and columns are exchanged "
                "inside it.", 1),
        Mistake("spread", {"(h b) (w c)": "(b h) (c w)"},
                "You spread each patch over the whole frame: in (h b) the second name counts the "
                "pixels within a patch.", 2),
        Mistake("spread-in-time", {"(t a)": "(a t)"},
                "You spread each patch's frames over the whole clip: (t a), not (a t).", 2),
        Mistake("channels-first", {"(a b c k)": "(k a b c)"},
                "Inside a token the channels are the innermost, not the first.", 1),
        Mistake("frame-innermost", {"(a b c k)": "(b c a k)"},
                "Inside a token the frames come first: frame by frame, not pixel by pixel.", 1),
        Mistake("channels-between", {"(a b c k)": "(a k b c)"},
                "You read the channels between a token's frames and rows. `cut` put the channels "
                "of a pixel together, innermost.", 1),
        Mistake("time-last", {"(t h w)": "(h w t)"},
                "You read the tokens as if time counted fastest. The first tokens all belong to "
                "the first frames.", 1),
        Mistake("grid-for-patch", {"= grid, patch": "= patch, grid"},
                "grid and patch are exchanged: grid is the number of patches along each axis, "
                "patch is the size of one.", 2),
        Mistake("patch-backwards", {"(a, b, c)": "(c, b, a)"},
                "You read `patch` from its end; it begins with frames, then rows, then "
                "columns.", 3),
        Mistake("channels-last", {"-> n (t a) k (h b) (w c)": "-> n (t a) (h b) (w c) k"},
                "Your clips have their channels last, as pictures in NumPy. Here they come after "
                "the frames: (B, T, C, H, W).", 3),
        Mistake("channels-before-time", {"-> n (t a) k": "-> n k (t a)"},
                "Your clips are (B, C, T, H, W), the order of torch's Conv3d. In this course the "
                "frames come before the channels.", 3),
        Mistake("frames-in-the-batch", {"-> n (t a) k": "-> (n t a) k"},
                "You return single frames, all in one axis. A clip keeps its frames on axis 1.",
                3)),
    "c04-heads": answer(
        self_attention,
        Mistake("heads-innermost", {"(three heads d)": "(three d heads)"},
                "You give channels to the heads in turn; here each head gets d neighbouring ones: "
                "(heads d).", 2),
        Mistake("three-inside", {"(three heads d)": "(heads three d)"},
                "You read q, k and v head by head; qkv gives all queries first, then all keys, "
                "then all values.", 2),
        Mistake("among-heads", {"three b heads n d\"": "three b n heads d\"",
                                "\"b heads n d ->": "\"b n heads d ->"},
                "Your heads attend to one another at each place, and places never meet. N must be "
                "the last axis but one.", 2),
        Mistake("merged-wrongly", {"b n (heads d)": "b n (d heads)"},
                "The heads' outputs are mixed up; lay them side by side: (heads d).", 3),
        Mistake("values-turned", {", v)\n    return": ", turn(v))\n    return"},
                "You turn the values, too. Positions should change the attention weights only, not "
                "the values that are averaged.", 3),
        Mistake("keys-not-turned", {"turn(k), v)": "k, v)"},
                "Only the queries are turned. Then the product depends on where the query is, not "
                "on the distance to the key.", 3),
        Mistake("queries-not-turned", {"attention(turn(q)": "attention(q"},
                "Only the keys are turned. Then the product depends on where the key is, not on "
                "the distance to the query.", 3),
        Mistake("not-turned", {"turn(q), turn(k)": "q, k"},
                "You never use turn: the network cannot know any token's position.", 3),
        Mistake("no-out", {"out(rearrange(found, \"b heads n d -> b n (heads d)\"))":
                           "rearrange(found, \"b heads n d -> b n (heads d)\")"},
                "The last layer, out, is missing: the outputs of the heads are never mixed.", 3),
        Mistake("values-and-keys", {"q, k, v =": "q, v, k ="},
                "Keys and values are exchanged: the order is q, k, v.", 2),
        Mistake("viewed", {'rearrange(qkv(h), "b n (three heads d) -> three b heads n d", three=3, '
                           "heads=heads)":
                           "(y.reshape(len(h), heads, h.shape[1], -1) for y in "
                           "qkv(h).chunk(3, -1))"},
                "view(b, heads, n, d) splits the numbers in memory order: each head gets all "
                "channels of a few tokens, not a few channels of all tokens. Use view(b, n, heads, "
                "d), then transpose(1, 2).", 2),
        Mistake("joined-without-transposing", {'rearrange(found, "b heads n d -> b n (heads d)")':
                                               "found.reshape(h.shape)"},
                "You join the heads without transposing: the numbers of one head then fill whole "
                "tokens. First transpose(1, 2), then reshape.", 3),
        Mistake("viewed-both-ways", {'rearrange(qkv(h), "b n (three heads d) -> three b heads n d",'
                                     " three=3, heads=heads)":
                                     "(y.reshape(len(h), heads, h.shape[1], -1) for y in "
                                     "qkv(h).chunk(3, -1))",
                                     'rearrange(found, "b heads n d -> b n (heads d)")':
                                     "found.reshape(h.shape)"},
                "Your two reshapes undo each other, but in between every head sees pieces of "
                "tokens from one part of the clip only. Heads are split from the channels, so the "
                "axes n and heads must change places.", 2),
        Mistake("one-head", {"heads=heads": "heads=1"},
                "You attend with one head of full width. Each head needs its own softmax, so that "
                "a token can look at several places.", 1),
        Mistake("queries-and-keys", {"q, k, v =": "k, q, v ="},
                "Queries and keys are exchanged: a token's query then decides who reads it, not "
                "what it reads. The queries come first.", 2),
        Mistake("turned-before", {"qkv(h)": "qkv(turn(h))", "turn(q), turn(k)": "q, k"},
                "You turn the tokens before qkv. That turns the values as well, and behind the "
                "layer the products no longer depend on distance alone.", 3),
        Mistake("own-residual", {"return out(": "return h + out("},
                "You add h here. The block does that, behind its gate; this layer returns the "
                "attention alone.", 3),
        Mistake("turned-twice", {"turn(q), turn(k)": "turn(turn(q)), turn(turn(k))"},
                "You turn queries and keys twice, so every angle counts double.", 3),
        Mistake("queries-detached", {"turn(q), turn(k)": "turn(q.detach()), turn(k.detach())"},
                "The values are right, but queries and keys are detached: no layer could learn "
                "which tokens to attend to.", 3)),
    "c04-rotate": answer(
        rotate,
        WrongAnswer("neighbours", neighbours,
              "You turn pairs of neighbours, (0, 1), (2, 3), ... Here pair i is x_i and x_(i + "
              "d/2): first half with second half. (Both are in use; weights fit only one.)", 3),
        Mistake("backwards", {"- b *": "+ b *", "a * phi.sin() + b": "-a * phi.sin() + b"},
                "You turn the other way round, by -phi.", 2),
        Mistake("no-rotation", {"- b * phi.sin()": "+ b * phi.sin()"},
                "A sign is wrong: this is no rotation, lengths change.", 2),
        Mistake("added", {"torch.cat([a * phi.cos() - b * phi.sin(), a * phi.sin() + b * "
                          "phi.cos()], -1)": "x + torch.cat([phi.cos(), phi.sin()], -1)"},
                "You add cosines and sines, as an absolute position does. Here each pair is "
                "multiplied: turned.", 1),
        Mistake("scaled", {" - b * phi.sin()": "", "a * phi.sin() + b * phi.cos()":
                           "b * phi.sin()"},
                "You multiply one half by cosines and the other by sines. In a rotation each new "
                "half contains part of both.", 2),
        Mistake("halves-swapped", {"a, b = x": "b, a = x"},
                "The halves are exchanged: a is the first half of x.", 3),
        Mistake("answer-swapped", {"[a * phi.cos() - b * phi.sin(), a * phi.sin() + b * "
                                   "phi.cos()]": "[a * phi.sin() + b * phi.cos(), a * phi.cos() - "
                                                 "b * phi.sin()]"},
                "You return the second halves of the pairs first.", 3),
        Mistake("overwritten", {"return torch.cat([a * phi.cos() - b * phi.sin(), a * phi.sin() + "
                                "b * phi.cos()], -1)":
                                "a = a * phi.cos() - b * phi.sin()\n"
                                "    b = a * phi.sin() + b * phi.cos()\n"
                                "    return torch.cat([a, b], -1)"},
                "You overwrite a and then use the new a for b. Both lines need the old a: give the "
                "results new names.", 2),
        Mistake("sine-for-cosine", {"a * phi.cos() - b * phi.sin(), a * phi.sin() + b * phi.cos()":
                                    "a * phi.sin() - b * phi.cos(), a * phi.cos() + b * phi.sin()"},
                "Sines and cosines are exchanged. An angle of 0 must change nothing: the cosines "
                "go with a in the first half, with b in the second.", 2),
        Mistake("cosines-only", {" - b * phi.sin()": "", "a * phi.sin() + ": ""},
                "You only multiply by cosines. That shrinks each pair; its two numbers must also "
                "mix, by sines.", 2),
        Mistake("alternating", {"torch.cat(": "torch.stack(",
                                "b * phi.cos()], -1)": "b * phi.cos()], -1).flatten(-2)"},
                "You read the pairs as halves, but write them back in turn: 0, d/2, 1, ... The "
                "first numbers of all pairs come first.", 3),
        WrongAnswer("two-layouts", two_layouts,
              "You mix two layouts: the pairs are halves, but each angle goes to two neighbouring "
              "channels. Both numbers of a pair need the same angle.", 3),
        Mistake("degrees", {"x.chunk(2, -1)": "x.chunk(2, -1)\n    phi = torch.deg2rad(phi)"},
                "You convert phi from degrees, but it is in radians already.", 2),
        Mistake("one-angle", {"x.chunk(2, -1)": "x.chunk(2, -1)\n    phi = phi[:, :1]"},
                "All pairs of a place turn by its first angle. Each pair has its own: fast ones "
                "for near places, slow ones for far.", 1)),
    "c04-angles": answer(
        grid_angles,
        WrongAnswer("numbered", numbered,
              "You number the tokens through: then the first patch of a row is as near to the last "
              "of the row above as to its neighbour. A place is three numbers.", 1),
        Mistake("wrong-order", {"for n in grid))": "for n in grid[::-1])).flip(-1)"},
                "Your places are right but in another order than the tokens: columns count "
                "fastest, then rows, then frames.", 2),
        Mistake("space-only", {"places[:, k, None] *": "(k > 0) * places[:, k, None] *"},
                "The frame is not encoded: all frames of a place look the same.", 1),
        Mistake("time-everywhere", {"places[:, k, None]": "places[:, 0, None]"},
                "All angles follow the frame's number; the second share is for rows, the third for "
                "columns.", 3),
        Mistake("evenly", {"torch.logspace(0, -2, shares[k])":
                           "torch.linspace(1, 0.01, shares[k])"},
                "Your speeds fall evenly from 1 to 1/100; here they fall by the same factor each "
                "time (logspace).", 2),
        Mistake("rising", {"logspace(0, -2": "logspace(-2, 0"},
                "Your speeds rise; here the fastest pair comes first.", 2),
        Mistake("as-in-text", {"logspace(0, -2": "logspace(0, -4"},
                "Your speeds fall to 1/10,000, as for long texts. On a grid of eight places such "
                "pairs would hardly turn: end at 1/100.", 2),
        Mistake("from-one", {"torch.arange(n) for": "torch.arange(1, n + 1) for"},
                "You count places from 1. Distances are the same, but places begin at 0 here.", 2),
        Mistake("shares-of-the-size", {"places[:, k, None] *": "places[:, k, None] / grid[k] *"},
                "You divide places by the grid's size: then a step to the neighbour means another "
                "angle in a longer clip.", 3),
        Mistake("axes-backwards", {"places[:, k, None]": "places[:, 2 - k, None]"},
                "You give the first share to the columns and the last to the frames; it is the "
                "other way round.", 3),
        Mistake("natural-log", {"torch.logspace(0, -2, shares[k])":
                                "torch.linspace(0, -2, shares[k]).exp()"},
                "Your slowest speed is exp(-2), about 1/7. logspace counts in powers of 10: "
                "10^-2 is 1/100.", 2),
        Mistake("end-left-out", {"torch.logspace(0, -2, shares[k])":
                                 "10 ** (-2 * torch.arange(shares[k]) / shares[k])"},
                "You divide the exponent by n, as for sinusoids; so the slowest pair is faster "
                "than 1/100. Both ends belong to the range: divide by n - 1, or use logspace.", 2),
        Mistake("one-range-for-all", {"torch.logspace(0, -2, shares[k])":
                                      "torch.logspace(0, -2, sum(shares)).split(list(shares))[k]"},
                "You spread one range of speeds over all three axes: frames get the fast pairs, "
                "columns the slow ones. Each axis has its own range, 1 to 1/100.", 3),
        Mistake("full-turns", {"torch.logspace(0, -2, shares[k])":
                               "torch.logspace(0, -2, shares[k]) * 2 * torch.pi"},
                "With a factor 2 pi the fastest pair makes a full turn from place to place, and "
                "all places look alike to it. It is 1 radian.", 2),
        Mistake("from-the-middle", {"torch.arange(n) for": "torch.arange(n) - (n - 1) / 2 for"},
                "You count places from the middle of the grid. Then the same frame has another "
                "angle in a longer clip; places begin at 0.", 2),
        Mistake("every-angle-twice", {"torch.cat(angles, -1)": "torch.cat(2 * angles, -1)"},
                "Each angle stands there twice. Some libraries want one for each channel; here it "
                "is one for each pair.", 3),
        Mistake("below", {"torch.cat(angles, -1)": "torch.cat(angles)"},
                "You put the three tables below one another. Each token needs all its angles in "
                "its own row: the last axis.", 3)),
    "c04-block": answer(
        dit_block,
        Mistake("no-way-round", {"h = h + gate": "h = gate", "return h + gate2": "return gate2"},
                "The residual path is missing: with gates at 0 your block outputs 0, and a stack "
                "of such blocks loses its input.", 3),
        Mistake("no-gates", {"h + gate * attend": "h + attend", "h + gate2 * mlp": "h + mlp"},
                "The gates are not used. With them a fresh block begins as the identity.", 1),
        Mistake("one-plus-gate", {"gate * attend": "(1 + gate) * attend",
                                  "gate2 * mlp": "(1 + gate2) * mlp"},
                "You multiply by 1 + gate: then a fresh block does not begin as the identity. The "
                "1 belongs to scale.", 1),
        Mistake("gated-sum", {"h + gate * attend(norm(h) * (1 + scale) + shift)":
                              "gate * (h + attend(norm(h) * (1 + scale) + shift))"},
                "Your first gate closes the residual path, too. Only the branch is gated.", 1),
        Mistake("no-one", {"(1 + scale)": "scale", "(1 + scale2)": "scale2"},
                "You multiply by scale, not by 1 + scale: in a fresh block the branches would get "
                "nothing of h.", 3),
        Mistake("scale-first", {"shift, scale, gate, shift2, scale2, gate2 =":
                                "scale, shift, gate, scale2, shift2, gate2 ="},
                "Shift and scale are exchanged: the order is shift, scale, gate.", 2),
        Mistake("gate-first", {"shift, scale, gate, shift2, scale2, gate2 =":
                               "gate, shift, scale, gate2, shift2, scale2 ="},
                "You take the gate first: the order is shift, scale, gate.", 2),
        Mistake("interleaved", {".chunk(6, -1)": ".unflatten(-1, (-1, 6)).unbind(-1)"},
                "You take the 6 D numbers in turn; the first D are the shift, the next D the "
                "scale, and so on.", 2),
        Mistake("side-by-side", {"    h = h + gate * attend": "    g = h + gate * attend",
                                 "return h + gate2": "return g + gate2"},
                "Your mlp sees the h from before attention. One after the other: it works on the "
                "output of attention.", 3),
        Mistake("no-norm", {"attend(norm(h) *": "attend(h *", "mlp(norm(h) *": "mlp(h *"},
                "norm is never used: scale and shift then act on features of any size.", 3),
        Mistake("norm-last", {"attend(norm(h) * (1 + scale) + shift)":
                              "attend(norm(h * (1 + scale) + shift))",
                              "mlp(norm(h) * (1 + scale2) + shift2)":
                              "mlp(norm(h * (1 + scale2) + shift2))"},
                "You norm after scaling and shifting, which takes much of them out again.", 3),
        Mistake("one-for-both", {"(1 + scale2) + shift2": "(1 + scale) + shift"},
                "The mlp has a shift and a scale of its own, the fourth and the fifth.", 2),
        Mistake("no-axis", {"modulate(emb)[:, None]": "modulate(emb)"},
                "Your six are (B, D) and would meet the tokens' axis of h, (B, N, D). They need an "
                "axis for the tokens.", 2),
        Mistake("path-normed", {"    h = h + gate * attend(norm(h) *":
                                "    h = norm(h)\n    h = h + gate * attend(h *"},
                "You norm h itself, so the residual path is normed, too. With gates at 0 the "
                "block must return its input.", 3),
        Mistake("same-gate", {"gate2 * mlp": "gate * mlp"},
                "Both branches use the first gate. The sixth part is the gate of the mlp.", 2),
        Mistake("path-detached", {"    return h + gate2": "    return h.detach() + gate2"},
                "The values are right, but the residual path is detached: while the second gate is "
                "0 no gradient gets past this block.", 3)),
}

# mutants that no legal input tells from the right answer: `authoring.mutations`
EQUIVALENT = {
    ("c04-join",
     "line 4: rearrange(tokens, 'n (t h w) (a b c k) -> n (t a) k (h b) (w c)', t=t, h=h, "
     "w=w, a=a, b=b, c=c) -> rearrange(tokens, 'n (t h w) (a b c k) -> n (t a) k (h b) (w "
     "c)', h=h, w=w, a=a, b=b, c=c)"):
        "einops infers one size from the others.",
    ("c04-join",
     "line 4: rearrange(tokens, 'n (t h w) (a b c k) -> n (t a) k (h b) (w c)', t=t, h=h, "
     "w=w, a=a, b=b, c=c) -> rearrange(tokens, 'n (t h w) (a b c k) -> n (t a) k (h b) (w "
     "c)', t=t, w=w, a=a, b=b, c=c)"):
        "einops infers one size from the others.",
    ("c04-join",
     "line 4: rearrange(tokens, 'n (t h w) (a b c k) -> n (t a) k (h b) (w c)', t=t, h=h, "
     "w=w, a=a, b=b, c=c) -> rearrange(tokens, 'n (t h w) (a b c k) -> n (t a) k (h b) (w "
     "c)', t=t, h=h, a=a, b=b, c=c)"):
        "einops infers one size from the others.",
    ("c04-angles",
     "line 5: -1 -> 1"):
        "The angles have two axes, so the last axis is axis 1.",
}

RIGHT = {
    "c04-half": (1, (
        "Layers work token by token, so their work grows by 4. But attention compares all pairs of "
        "tokens, and that work grows by 16.",
        "The layers' work grows by 4, attention's by 16. With 4x4 the layers weigh more, with 2x2 "
        "attention does.",
        "Only the comparing of all pairs grows by 16. The linear layers work token by token, and "
        "with 4x4 they are most of it.")),
    "c04-shuffle": (2, (
        "Attention knows no order: its sums run over all tokens, wherever they stand.",
        "Convolutions have borders. Attention has neither borders nor neighbours.",
        "Every token is compared with every other, wherever either stands: a set goes in, a set "
        "comes out. Without positions a transformer cannot distinguish a digit from its patches in "
        "another order.")),
    "c04-zero": (2, (
        "In the first step the last layer is 0, so nothing before it gets a gradient: the chain "
        "rule multiplies by 0.",
        "In the second step the last layer is no longer 0, and the gates get a gradient. But the "
        "blocks' weights reach the loss only through the gates, which are still 0.",
        "They start one after the other: first the last layer learns, then the gates, then the "
        "blocks behind them. It costs two steps.",
        "A factor that is 0 has a gradient: that of 0 times f is f. So the gates leave 0 as soon "
        "as the last layer is not 0.")),
    "c04-bug": (2, (
        "Small steps would give small changes, but gradients of a normal size; the colleague's "
        "blocks have none at all.",
        "So do yours, and they leave 0 in the second step.",
        "In a product of two factors that are both 0 neither has a gradient: it is the other one, "
        "0. A single zero factor can learn; two zero factors stop each other.",
        "Measured without the root, gates and blocks get their gradients in the same steps as "
        "yours. A saturated softmax stops queries and keys alone, not the values, the mlp or the "
        "gates.")),
}
