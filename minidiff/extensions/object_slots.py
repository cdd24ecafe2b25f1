"""Object slots: each object of a prompt gets its own forward pass through one U-Net.

"a 3 moving left and a 7 moving up" becomes two passes, one with each phrase, so no word can be
taken for another object's. Every pass also predicts a mask (alpha logits) and, after every mixer,
sees the sum of the other passes' features. With the passes' outputs F_i and alpha logits a_i,

    output = sum_i softmax_i(a_i) F_i          at every pixel, over the objects of a prompt.

Equal phrases would get equal passes. So each pass also gets its number among the equal phrases
before it, by an embedding that starts at 0 and is learnt.

Papers: slot attention and its decoder (Locatello 2020).
"""
import torch
from einops import rearrange
from torch import Tensor, nn

from minidiff.layers import (
    add_per_sample,
    check_condition,
    group_norm,
    times_per_sample,
    zero_module,
)
from minidiff.unet import SpatioTemporalMixer, UNet

MAX_EQUAL = 8                                     # equal phrases that a prompt may have


class ObjectExchange(nn.Module):
    """The features of a prompt's other objects at each place, added to each pass.

    x (R T, C, H, W) -> like x: T frames of each of R passes, folded. prompt_index (R,): the prompt
    of each pass. So each object knows which places the others take. A single object sees nothing;
    starts as the identity.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.norm = group_norm(channels)
        self.out = zero_module(nn.Linear(channels, channels, bias=False))

    def forward(self, x: Tensor, prompt_index: Tensor) -> Tensor:
        h = rearrange(self.norm(x), "(r t) c h w -> r t h w c", r=len(prompt_index))
        return x + rearrange(self.out(sum_of_others(h, prompt_index)), "r t h w c -> (r t) c h w")


class ObjectMixer(SpatioTemporalMixer):
    """A mixer, and after it the exchange between the passes of a prompt."""

    def __init__(self, channels: int, *args, **settings):
        super().__init__(channels, *args, **settings)
        self.object_exchange = ObjectExchange(channels)

    def forward(self, x: Tensor, T: int, *, prompt_index: Tensor | None = None,
                **context) -> Tensor:
        x = super().forward(x, T, **context)
        return x if prompt_index is None else self.object_exchange(x, prompt_index)


class ObjectSlots(UNet):
    """A U-Net that reads prompts of several objects: `net(x, t, cond) -> like x`.

    cond: token ids (B, L), or None. separator: the token id between the objects of a prompt.
    settings: those of `UNet`, which must have a vocab_size. A prompt of one object, or of none, is
    a single pass of the U-Net. Raises ValueError as `UNet`, or without a vocab_size.
    """

    mixer = ObjectMixer

    def __init__(self, channels: tuple[int, ...] = (64, 96), *, separator: int,
                 vocab_size: int | None = None, emb_dim: int = 128, text_dim: int = 128,
                 **settings):
        if not vocab_size:
            raise ValueError("Object slots need a vocab_size: the objects are those of a prompt.")
        super().__init__(channels, vocab_size=vocab_size, emb_dim=emb_dim, text_dim=text_dim,
                         **settings)
        self.separator = separator
        self.other_objects_proj = zero_module(nn.Linear(text_dim, emb_dim, bias=False))
        self.number_embedding = zero_module(nn.Embedding(MAX_EQUAL, emb_dim))
        self.alpha_head = zero_module(nn.Conv2d(channels[0], self.patch**2, 3, padding=1))

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None,
                with_temporal_attention: bool = True) -> Tensor:
        if x.ndim == 4 or cond is None:
            return super().forward(x, t, cond, with_temporal_attention)
        self.check_input(x)
        check_condition(cond, len(x), self.classes, self.vocab_size)
        phrases, prompt_index = split_prompt(cond, self.separator)                 # (R, L), (R,)
        emb, words = self.embed_object(times_per_sample(t, x)[prompt_index], phrases, prompt_index)
        h = self.features(x[prompt_index], emb, text_emb=words, prompt_index=prompt_index,
                          with_temporal_attention=with_temporal_attention)
        outputs = self.to_frames(self.conv_out(h), x)                           # (R, T, C, H, W)
        alpha_logits = self.to_frames(self.alpha_head(h), x)                    # (R, T, 1, H, W)
        return mix_by_alpha(outputs, alpha_logits, prompt_index)

    def embed_object(self, t: Tensor, phrases: Tensor,
                     prompt_index: Tensor) -> tuple[Tensor, Tensor]:
        """Time, phrase, the other phrases and the number of each pass (R, E); its words (R, L, W).

        t (R,), or (R, T) for vectors (R, T, E), one per frame.
        """
        emb, words = self.embed_condition(t, phrases)
        emb = add_per_sample(emb, self.other_objects_proj(
            sum_of_others(words.mean(1), prompt_index)))
        number = number_among_equals(phrases, prompt_index).clamp(max=MAX_EQUAL - 1)
        return add_per_sample(emb, self.number_embedding(number)), words


def split_prompt(ids: Tensor, separator: int) -> tuple[Tensor, Tensor]:
    """Split prompts (B, L) into phrases, one per object: token ids (R, L), padded with 0.

    Also returns the prompt of each phrase, (R,), in rising order. Phrases stand between the ids
    `separator`; a prompt without words is one empty phrase.
    """
    is_word = (ids != 0) & (ids != separator)
    object_of_word = (ids == separator).cumsum(1)[:, None]                         # (B, 1, L)
    objects = torch.arange(ids.shape[1], device=ids.device, dtype=torch.long)[:, None]
    belongs = is_word[:, None] & (object_of_word == objects)                       # (B, objects, L)
    exists = belongs.any(2)                                                        # (B, objects)
    exists[:, 0] |= ~is_word.any(1)
    prompt_index, which = exists.nonzero(as_tuple=True)
    belongs = belongs[prompt_index, which]                                         # (R, L)
    front = (~belongs).int().argsort(dim=1, stable=True)
    return ids[prompt_index].masked_fill(~belongs, 0).gather(1, front), prompt_index


def number_among_equals(phrases: Tensor, prompt_index: Tensor) -> Tensor:
    """How many equal phrases of the same prompt stand before each phrase: (R, L) -> (R,).

    0 for the first "a 3 moving left" of a prompt, 1 for the second.
    """
    equal = (phrases[:, None] == phrases).all(-1) & (prompt_index[:, None] == prompt_index)
    return equal.tril(-1).sum(1)                                                   # (R, R) -> (R,)


def sum_of_others(x: Tensor, prompt_index: Tensor) -> Tensor:
    """For each object, the sum over the other objects of its prompt: (R, ...) -> like x."""
    together = (prompt_index[:, None] == prompt_index).fill_diagonal_(False)          # (R, R)
    return (together.to(x) @ x.flatten(1)).view_as(x)


def mix_by_alpha(outputs: Tensor, alpha_logits: Tensor, prompt_index: Tensor) -> Tensor:
    """The passes' outputs (R, ...) -> outputs of the prompts (B, ...), weighted by their masks.

    The weights are the softmax of alpha_logits over the objects of a prompt, at every pixel, as in
    slot attention's decoder (Locatello 2020 section 3.2).
    """
    logits = alpha_logits.float() if alpha_logits.element_size() < 4 else alpha_logits
    weights = logits.clamp(-30, 30).exp()                               # no logit overflows to inf
    total = torch.zeros_like(weights).index_add(0, prompt_index, weights)[prompt_index]
    parts = weights / total * outputs
    mixed = torch.zeros_like(parts).index_add(0, prompt_index, parts)[:prompt_index[-1] + 1]
    return mixed.to(outputs.dtype)
