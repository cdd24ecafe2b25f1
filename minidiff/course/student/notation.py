r"""The notation ledger: every symbol of the course once, with its variable, its shape, its aliases.

Chapters show rows of it, `course.notation("x_0", "x_t")`, and lint refuses a formula with a symbol
that has no row. One letter has one meaning; the row names other meanings in papers.
Rows with the index t or k stand for their letter at any index: \alpha_t declares \alpha_s too.
"""
import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import NamedTuple


class NotationRow(NamedTuple):
    """A symbol in LaTeX, its variable in code, its meaning, its shape or range, papers' names."""
    symbol: str
    variable: str
    meaning: str
    shape: str
    papers: str = ""


CLIP = "(B, T, C, H, W)"
LEDGER = (
    # data, noise and time
    NotationRow("x_0", "x0", "clean data", f"{CLIP} or (B, C, H, W), in [-1, 1]",
        "DDPM, DDIM $x_0$; EDM $y$; rectified flow $X_1$; flow matching $x_1$"),
    NotationRow("x_t", "x", "data mixed with noise, at time t", "like $x_0$",
        "DDPM, DDIM $x_t$; EDM $x$; rectified flow $X_t$"),
    NotationRow(r"\epsilon", "noise", "noise, standard normal", "like $x_0$",
        r"DDPM, DDIM $\epsilon$; EDM $n / \sigma$; rectified flow $X_0$"),
    NotationRow("t", "t", "time: 0 is data, 1 is noise", "() or (B,), in [0, 1]",
        "DDPM $t / 1000$; EDM: the noise level itself; rectified flow $1 - t$"),
    NotationRow("s", "s", "the time that a step leads to, less than t", "(), in [0, 1]",
        r"DDPM $t - 1$; DDIM $\tau_{i-1}$; EDM $t_{i+1}$"),
    NotationRow("u", "u", "the time of the step before t, in a multistep sampler; in distillation "
        "a time between s and t, or where one small step leads", "(), in [0, 1]",
        "DPM-Solver++ $t_{i-2}$"),
    NotationRow(r"\alpha_t", "alpha", "how much data is in $x_t$", "like t, in [0, 1]",
        r"DDPM $\sqrt{\bar\alpha_t}$; DDIM $\sqrt{\alpha_t}$; EDM 1; rectified flow $t$"),
    NotationRow(r"\sigma_t", "sigma", "how much noise is in $x_t$", "like t, 0 or more",
        r"DDPM $\sqrt{1 - \bar\alpha_t}$; DDIM $\sqrt{1 - \alpha_t}$ (its $\sigma_t$ is the new "
        r"noise of a step); EDM $\sigma$; rectified flow $1 - t$"),
    NotationRow(r"\sigma_{\max}", "sigma_max", "the most noise of the variance exploding schedule",
                "80",
        r"EDM $\sigma_{\max}$"),
    NotationRow(r"\rho", "rho", "how a variance exploding schedule bends", "7",
        r"EDM $\rho$"),
    NotationRow(r"\beta_i", "betas", "variance that step i of DDPM's table adds", "(N,), in (0, 1)",
        r"DDPM, improved DDPM $\beta_t$"),
    NotationRow(r"\bar\alpha_i", "alpha_bar", r"share of variance left after i steps, $\alpha_t^2$",
                "(N,)",
        r"DDPM $\bar\alpha_t$; DDIM $\alpha_t$"),
    NotationRow(r"\mathrm{SNR}", "snr", r"signal-to-noise ratio, $\alpha_t^2 / \sigma_t^2$",
                "like t",
        r"VDM $\mathrm{SNR}(t)$"),
    NotationRow(r"\lambda_t", "half_log_snr", r"half its logarithm, $\log(\alpha_t / \sigma_t)$",
                "like t",
        r"DPM-Solver $\lambda_t$; VDM $-\gamma / 2$; elsewhere often the whole log-SNR"),
    # predictions and losses
    NotationRow("F", "out", "the network's output, $p\\,x_0 + q\\,\\epsilon$", "like $x_0$",
        r"DDPM $\epsilon_\theta$; EDM $F_\theta$; rectified flow $v_\theta$"),
    NotationRow("p", "p", "how much of $x_0$ a prediction holds", "like t",
        r"here no density: see $\mathcal{P}$"),
    NotationRow("q", "q", "how much noise a prediction holds", "like t",
        r"here neither a density ($\mathcal{Q}$) nor an attention query ($Q$)"),
    NotationRow("v", "v", r"velocity, $\alpha_t\,\epsilon - \sigma_t\,x_0$", "like $x_0$",
        r"progressive distillation $v$; rectified flow's $v$ is $x_0 - \epsilon$ (here: flow)"),
    NotationRow(r"\hat x_0", "x0", "the best guess of the clean data, given $x_t$", "like $x_0$",
        r"DDPM $\hat x_0$; DDIM $f_\theta$; EDM $D(x; \sigma)$"),
    NotationRow(r"\hat\epsilon", "eps", "the best guess of the noise, given $x_t$", "like $x_0$",
        r"DDPM $\epsilon_\theta(x_t, t)$"),
    NotationRow(r"\hat v", "v", "the best guess of the velocity, given $x_t$", "like $x_0$",
        r"progressive distillation $\hat v_\theta$"),
    NotationRow(r"\theta", "net.parameters()", "the network's weights", "", r"all: $\theta$"),
    NotationRow(r"\mathcal{L}", "loss", "the loss", "(B,) or ()",
        r"DDPM $L_\text{simple}$; flow matching $\mathcal{L}_\text{CFM}$"),
    NotationRow("E_t", "mse", "the least mean squared error of any $x_0$ guessed from $x_t$",
                "like t",
        r"I-MMSE (Guo 2005) $\mathrm{mmse}$"),
    # probability
    NotationRow(r"\mathbb{E}", "mean", "expected value", ""),
    NotationRow(r"\mathcal{N}", "randn", "normal distribution: mean, covariance", ""),
    NotationRow(r"\mathcal{P}", "", "a density, of data or of $x_t$", "",
        "DDPM $q$ (forward) and $p_\\theta$ (reverse); score SDE $p_t$"),
    NotationRow(r"\mathcal{Q}", "posterior", "the VAE's distribution of a clip's latent", "",
        r"VAE $q_\phi(z \mid x)$"),
    NotationRow(r"\mu", "mean", "mean of data whose distribution is known",
                "broadcasts against $x_0$",
        r"all: $\mu$; DDPM's $\tilde\mu_t$ is a step's mean"),
    NotationRow(r"\tilde\mu", "", "mean of a reverse step", "like $x_0$", r"DDPM $\tilde\mu_t$"),
    NotationRow(r"\tilde\sigma", "std", "standard deviation of a step's new noise", "like t",
        r"DDPM $\sqrt{\tilde\beta_t}$; DDIM $\sigma_t$"),
    NotationRow(r"\Sigma", "covariance", "covariance of data whose distribution is known",
                "(D, D)"),
    NotationRow("a", "std", "standard deviation of data whose distribution is known", "0 or more",
        r"EDM $\sigma_\text{data}$"),
    NotationRow("g", "gain", "weight of the observation in a guess", "like t",
        "Kalman filter $K$; Wiener filter $H$"),
    NotationRow("r", "rho", "correlation of neighbouring frames", "in [-1, 1]",
        r"AR(1) $\phi$ or $\rho$"),
    NotationRow("f_k", "clips[:, k]", "frame k of a clip", "(B, C, H, W)", "often $x^k$"),
    NotationRow(r"\omega_k", "weights", "weight of component k of a mixture", "(M,)",
                r"often $\pi_k$"),
    NotationRow("M", "len(means)", "how many components, or data", "", "often $K$ or $N$"),
    NotationRow("I", "eye", "identity matrix", ""),
    NotationRow(r"\mathbb{R}", "", "the real numbers", ""),
    # sampling and guidance
    NotationRow("n", "steps", "how many steps, or calls of the network", "", "DDIM $S$; EDM $N$"),
    NotationRow(r"\eta", "eta", "how much new noise a step brings: 0 DDIM, 1 DDPM", "in [0, 1]",
        r"DDIM $\eta$"),
    NotationRow("c", "cond", "condition: a digit, or a prompt's tokens", "(B,) or (B, L)",
        r"guidance paper $\mathbf{c}$; DiT, latent diffusion $y$"),
    NotationRow(r"\varnothing", "null", "no condition", "like c", r"all: $\varnothing$"),
    NotationRow("w", "scale", "guidance scale: 0 without condition, 1 with, more = further",
                "0 or more",
        "guidance paper $1 + w$; Imagen $w$; DiT, latent diffusion $s$"),
    NotationRow(r"\mathbf{m}", "where", "mask: 1 where a pixel is given, 0 elsewhere",
                "(B, T, 1, H, W)", "RePaint $m$; in other papers often 1 where something is made"),
    NotationRow("R", "repeats", "how often RePaint makes each step", "1 or more",
                "RePaint $U$, resamplings"),
    # networks
    NotationRow("h", "h", "features in a layer, one row a place",
                "(B, N, D) or (N, C, H, W)",
        "DDPM $h$; transformers $x$"),
    NotationRow(r"\tau", "emb", "time and condition as one vector", "(B, D)",
        r"DiT $c$; latent diffusion's $\tau$ is the encoded prompt; DDIM's $\tau$ are times"),
    NotationRow("Q", "q", "attention's queries", "(B, heads, N, d)", "all: $Q$"),
    NotationRow("K", "k", "attention's keys", "(B, heads, N, d)", "all: $K$"),
    NotationRow("V", "v", "attention's values", "(B, heads, N, d)", "all: $V$"),
    NotationRow("d", "head_dim", "width of one head", "", "attention paper $d_k$"),
    NotationRow(r"\gamma", "gate", "gate of a block, 0 at the start", "(B, D)",
        r"DiT $\alpha$, whose $\gamma$ is our $\kappa$"),
    NotationRow(r"\kappa", "scale", "what a condition adds to a block's scale 1", "(B, D)",
        r"DiT $\gamma$; FiLM $\gamma$"),
    NotationRow(r"\delta", "shift", "shift by a condition", "(B, D)", r"DiT, FiLM $\beta$"),
    NotationRow("A_j", "weight[..., j]", "weights of tap j of a convolution through time", "(C, C)",
        "often $w_j$, here guidance"),
    NotationRow(r"\Theta", "weight", "the weight of one layer, as a matrix", "(outputs, inputs)",
        "LoRA $W_0$"),
    NotationRow(r"\mathbf{a}", "a", "an adapter's way down to few numbers", "(r, inputs)",
        "LoRA $A$"),
    NotationRow(r"\mathbf{b}", "b", "an adapter's way up to the outputs, 0 at first",
        "(outputs, r)", "LoRA $B$, here the batch"),
    NotationRow(r"\varrho", "len(a)", "rank of an adapter", "1 or more", "LoRA $r$"),
    NotationRow(r"\phi", "angles", "angle of a position, in embeddings and rotations",
                "(..., D / 2)",
        r"RoPE $m\theta$"),
    # latents
    NotationRow("z", "z", "latent: a clip in few numbers", "(B, T / 2, c, h, w)",
        r"VAE, latent diffusion $z$; DDPM's $z$ is our $\epsilon$"),
    NotationRow(r"\bar z", "mean", "mean of the encoder's latent of a clip", "like z",
        r"VAE $\mu$; latent diffusion $\mathcal{E}(x)$"),
    NotationRow(r"\varsigma", "(log_var / 2).exp()", "standard deviation of the encoder's latent",
                "like z, above 0",
        r"VAE $\sigma$"),
    NotationRow(r"\tilde x", "", "a clip, encoded and decoded by the VAE", "like $x_0$",
        r"latent diffusion $\tilde x$"),
    NotationRow(r"\zeta", "beta", "weight of the VAE's KL divergence", "0.0001",
        r"beta-VAE $\beta$, which is a table of variances here"),
    # shapes and indices
    NotationRow("B", "B", "clips in a batch", ""),
    NotationRow("T", "T", "frames of a clip", "", "DDPM: steps"),
    NotationRow("C", "C", "channels", ""), NotationRow("H", "H", "height", ""),
    NotationRow("W", "W", "width", ""),
    NotationRow("N", "N", "tokens, or rows of a table", ""),
    NotationRow("D", "D", "width of a token", ""),
    NotationRow("L", "L", "words of a prompt", ""),
    NotationRow("P", "patch", "side of a patch", ""),
    NotationRow("i", "i", "an index", ""), NotationRow("j", "j", "another index", ""),
    NotationRow("k", "k", "number of a frame or of a component", ""),
    NotationRow("m", "m", "number of another frame or component", ""),
)

ACCENTS = {r"\hat", r"\bar", r"\tilde", r"\vec", r"\dot", r"\ddot", r"\widehat", r"\widetilde",
           r"\overline"}
FONTS = {r"\mathcal", r"\mathbb", r"\mathbf", r"\boldsymbol", r"\bm", r"\mathit", r"\mathfrak",
         r"\mathsf"}
TEXT_COMMANDS = {r"\mathrm", r"\text", r"\textit", r"\textbf", r"\operatorname", r"\operatorname*"}
# with their arguments
IGNORED_COMMANDS = {r"\begin", r"\end", r"\label", r"\tag", r"\color", r"\hspace"}
GREEK_NAMES = (
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi "
    "rho varrho sigma varsigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi "
    "Sigma Upsilon Phi Psi Omega ell varnothing emptyset")             # neither pi nor e: numbers
GREEK = {"\\" + name for name in GREEK_NAMES.split()}
TOKEN = re.compile(r"\\[A-Za-z]+\*?|\\.|\d+(?:\.\d+)?|\S")
RUNNING_INDICES = {"", "t", "k", "i"}  # the indices of rows that stand for a letter at any index


class Symbol(NamedTuple):
    """A letter, with its accent and font, and its index, both spelled in one way."""
    letter: str
    index: str = ""
    named: bool = False                               # the index is a name: \max, \text{data}

    def __str__(self) -> str:
        index = self.index if len(self.index) < 2 else f"{{{self.index}}}"
        return f"{self.letter}_{index}" if index else self.letter


def symbols(latex: str) -> list[Symbol]:
    """The symbols of a formula, in their order; operators, functions, numbers and text are none."""
    return list(parse_symbols(TOKEN.findall(latex)))


def parse_symbols(tokens: list[str]) -> Iterator[Symbol]:
    """Yields each symbol of a formula's tokens, with its index."""
    i = 0
    while i < len(tokens):
        letter, index, i = parse_letter(tokens, i)
        if not letter:
            continue
        powers = []
        while i < len(tokens) and tokens[i] in "_^":
            part, after = parse_argument(tokens, i + 1)
            index, powers = (part, powers) if tokens[i] == "_" else (index, powers + part)
            i = after
        named = any(t in TEXT_COMMANDS or (t[0] == "\\" and t[1:].isalpha() and t not in GREEK)
                    for t in index)
        yield Symbol(letter, normalise_latex(index), named)
        yield from parse_symbols(powers if named else index + powers)


def parse_letter(tokens: list[str], i: int) -> tuple[str, list[str], int]:
    r"""The letter at i, the index inside its accent (\hat{x_0}), where it ends; "" if it is none.
    """
    head = tokens[i]
    if head in TEXT_COMMANDS | IGNORED_COMMANDS:
        inside, after = parse_argument(tokens, i + 1)
        name = normalise_latex([head, "{", *inside, "}"]) if head in TEXT_COMMANDS else ""
        return (name if name in DECLARED_NAMES else ""), [], after
    if head in ACCENTS | FONTS:
        inside, after = parse_argument(tokens, i + 1)
        cut = inside.index("_") if "_" in inside else len(inside)
        symbol = normalise_latex([head, "{", *inside[:cut], "}"])
        return symbol, parse_argument(inside, cut + 1)[0], after
    is_letter = head in GREEK or (len(head) == 1 and head.isalpha() and head != "e")
    return head if is_letter else "", [], i + 1


def parse_argument(tokens: list[str], i: int) -> tuple[list[str], int]:
    """The argument at i of a command or an index, without its braces, and where it ends."""
    if tokens[i:i + 1] != ["{"]:
        takes_more = tokens[i:i + 1] and tokens[i] in ACCENTS | FONTS | TEXT_COMMANDS
        end = parse_argument(tokens, i + 1)[1] if takes_more else min(i + 1, len(tokens))
        return tokens[i:end], end
    depth = 0
    for end in range(i, len(tokens)):
        depth += (tokens[end] == "{") - (tokens[end] == "}")
        if not depth:
            return tokens[i + 1:end], end + 1
    return tokens[i + 1:], len(tokens)


def normalise_latex(tokens: list[str]) -> str:
    r"""Tokens in one spelling: \hat x and \hat{x} alike, \text as \mathrm, no other braces."""
    text, i = "", 0
    while i < len(tokens):
        head, i = tokens[i], i + 1
        if head in ACCENTS | FONTS | TEXT_COMMANDS:
            inside, i = parse_argument(tokens, i)
            command = r"\mathrm" if head in TEXT_COMMANDS else head
            text += f"{command}{{{normalise_latex(inside)}}}"
        elif head not in "{}":
            text += head
    return text


DECLARED_NAMES = {normalise_latex(TOKEN.findall(row.symbol)) for row in LEDGER
                  if row.symbol.startswith(r"\mathrm")}
DECLARED = [symbols(row.symbol)[0] for row in LEDGER]
ANY_INDEX_LETTERS = {s.letter for s in DECLARED if s.index in RUNNING_INDICES}


def undeclared(latex: str) -> list[str]:
    """The symbols of a formula (without its dollars) that have no row in the ledger, each once."""
    return list(dict.fromkeys(
        str(s) for s in symbols(latex)
        if s not in DECLARED and (s.named or s.letter not in ANY_INDEX_LETTERS)))


class Notation:
    """Rows of the ledger that show themselves as a table."""

    def __init__(self, rows: Iterable[NotationRow]):
        self.rows = tuple(rows)

    def __repr__(self) -> str:
        cells = [tuple(text.replace("$", "") for text in r[:4]) for r in self.rows]
        widths = [max(map(len, column)) for column in zip(*cells)]
        return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip()
                         for row in cells)

    def _repr_markdown_(self) -> str:
        head = "| symbol | variable | meaning | shape or range | in papers |"
        return "\n".join([head, "|" + " --- |" * 5] + [
            f"| ${r.symbol}$ | {code_span(r.variable)} | {r.meaning} | {r.shape} | {r.papers} |"
            for r in self.rows])


def code_span(variable: str) -> str:
    """The variable's name as Markdown code, or "" if there is no name."""
    return f"`{variable}`" if variable else ""


def notation(*names: str) -> Notation:
    r"""The ledger as a table: all of it, or the named rows, by symbol ("\alpha_t") or variable.

    Raises ValueError that names the nearest for one that has no row.
    """
    return Notation(row for name in names for row in rows_of(name)) if names else Notation(LEDGER)


def rows_of(name: str) -> list[NotationRow]:
    """The row with that symbol, or else all with that variable."""
    wanted = normalise_latex(TOKEN.findall(str(name).strip("$ ")))
    rows = ([r for r in LEDGER if normalise_latex(TOKEN.findall(r.symbol)) == wanted]
            or [r for r in LEDGER if r.variable == name])
    if not rows:
        known = [t for r in LEDGER for t in (r.symbol, r.variable) if t]
        near = get_close_matches(str(name), known, 3, 0.4)
        raise ValueError(f"The notation ledger has no {name!r}; "
                         + (f"the nearest are {', '.join(near)}." if near else
                            "course.notation() shows all of it."))
    return rows
