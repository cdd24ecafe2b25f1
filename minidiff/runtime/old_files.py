"""Files written before the names of version 0.2, read under today's names; newer ones stay as read.

Shipped weights stay as they are, because a trained file is committed once. When all of them have
been written anew, this file can go.
"""
import torch
from torch import Tensor

MAX_EQUAL = 8                                        # rows of extensions.object_slots' embedding
PARTS = {  # network -> part of a tensor's dotted name: old -> new
    "unet": {"enter": "conv_in", "leave": "conv_out", "shrink": "downsample",
             "label": "class_embedding", "words": "text_encoder", "table": "token_embedding",
             "gist": "text_proj", "rest": "other_objects_proj", "claim": "alpha_head",
             "modulate": "modulation", "conv": "temporal_conv", "space": "spatial_attention",
             "time": "temporal_attention", "cross": "cross_attention",
             "others": "object_exchange"},
    "dit": {"enter": "patch_embed", "leave": "final_layer", "label": "class_embedding",
            "words": "text_encoder", "table": "token_embedding", "modulate": "modulation",
            "mix": "depthwise_conv", "space": "spatial", "time": "temporal",
            "cross": "cross_attention"},
    "vae": {"enter": "conv_in", "leave": "conv_out", "shrink": "downsample", "grow": "upsample",
            "join": "temporal_down", "part": "temporal_up", "deep_in": "encoder_bottleneck",
            "deep_out": "decoder_bottleneck", "last": "final_block", "refine": "refiner",
            "mean": "latent_mean", "std": "latent_std", "time": "temporal_conv"},
}
SETTINGS = {  # network -> its keyword arguments
    "unet": {"attention": "attention_levels", "vocabulary": "vocab_size", "words": "text_dim",
             "mix": "temporal_layers"},
    "dit": {"vocabulary": "vocab_size", "words": "text_dim", "mlp": "mlp_ratio"},
    "vae": {"deep": "bottleneck_channels", "latent": "latent_channels",
            "pairs": "temporal_downsample", "refine": "refiner_channels"},
}


def with_new_names(tensors: dict[str, Tensor], metadata: dict) -> tuple[dict[str, Tensor], dict]:
    """Tensors and description of an old file, under today's names; anything unknown stays."""
    recipe = metadata.get("recipe")
    if not isinstance(recipe, dict) or not isinstance(recipe.get("model"), dict):
        return tensors, metadata
    model, clips = recipe["model"], recipe.get("clips")
    network = model.get("network")
    known = isinstance(network, str) and network in PARTS
    if not known or not isinstance(model.get("net"), dict):
        return tensors, metadata
    new = recipe | {"model": new_model(model)}
    if isinstance(clips, dict):
        new["clips"] = renamed(clips, {"number": "num_digits"})
    if isinstance(recipe.get("training"), dict):
        new["training"] = renamed(recipe["training"], {"noised": "latent_noise"})
    tensors = {new_name(name, network): value for name, value in tensors.items()}
    if new["model"]["network"] == "object_slots":
        tensors = with_number_embedding(tensors)
    return tensors, metadata | {"recipe": new}


def new_model(model: dict) -> dict:
    """The `model` of a recipe today: a U-Net with a separator is now the network object_slots."""
    net = renamed(model["net"], SETTINGS[model["network"]])
    separator = net.pop("separator", None)
    if separator is None:
        return model | {"net": net}
    return model | {"network": "object_slots", "net": net | {"separator": separator}}


def with_number_embedding(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with the embedding of an object's number, which old weights lack and is 0."""
    new = {name.replace("alpha_head.bias", "number_embedding.weight"): MAX_EQUAL
           for name in tensors if name.endswith("alpha_head.bias")}
    width = {name: tensors[name.replace("number_embedding", "text_proj")].shape[0] for name in new}
    return {name: torch.zeros(rows, width[name], dtype=torch.float32)
            for name, rows in new.items()} | tensors


def renamed(table: dict, names: dict[str, str]) -> dict:
    """The table with some of its keys renamed."""
    return {names.get(key, key): value for key, value in table.items()}


def new_name(name: str, network: str) -> str:
    """A tensor's name today. What is inside a convolution or attention kept its names."""
    parts, out = PARTS[network], []
    for part in name.split("."):
        inside = out[-1] if out else ""
        kept = inside.endswith(("temporal_conv", "_attention", "_embedding"))
        out.append(part if kept else parts.get(part, part))
        if out[-1] == "refiner":                          # a U-Net inside the VAE
            parts = PARTS["unet"]
    return ".".join(out)
