"""Datasets: Moving-MNIST and clips of one's own, by one protocol."""
import numpy as np
import pytest
import torch
from torch.testing import assert_close
from torch.utils.data import DataLoader, IterableDataset

from minidiff.data import batches, media
from minidiff.data.batches import ArrayClips, Dataset, MovingMNIST, clip_folder, load_clips
from minidiff.data.digits import built_in
from minidiff.recipes import Recipe, build_dataset, get_recipe, training_batches


def clips(n=6, frames=4, channels=1, h=8, w=12, seed=0):
    return torch.rand(n, frames, channels, h, w, generator=torch.Generator().manual_seed(seed))


def own_recipe(dataset, **settings) -> Recipe:
    frames, channels, *size = dataset.shape
    net = dict(channels=[32], patch=4, in_channels=channels, classes=dataset.num_classes)
    return Recipe("own", dict(network="unet", net=net, schedule="flow", prediction="flow"),
                  dict(dataset="clips", size=size, frames=frames),
                  dict(batch=3, lr=1e-3, ema=0.9, steps=2) | settings)


@pytest.fixture(scope="module")
def digits():
    return built_in(n=50)


@pytest.mark.parametrize("conditions", ["class", "text", None])
def test_moving_mnist_and_arrays_are_datasets(digits, conditions):
    for data in (MovingMNIST(digits, conditions, size=(16, 24), frames=3),
                 ArrayClips(clips(), range(6) if conditions else None)):
        assert isinstance(data, Dataset)
        x, cond = next(data.batches(5, seed=1))
        assert x.shape == (5, *data.shape) and x.min() >= -1 and x.max() <= 1
        assert (cond is None) == (data.num_classes is data.vocab_size is None)
        again, _ = next(data.batches(5, seed=1))
        assert torch.equal(x, again) and not torch.equal(x, next(data.batches(5, seed=2))[0])
        third = [x for (x, _), _ in zip(data.batches(5, seed=1), range(3))][2]
        assert torch.equal(third, next(data.batches(5, seed=1, start=2))[0])


def test_an_array_s_clips_keep_their_labels():
    x = clips(4)
    for labels in (np.array([3, 1, 0, 2], np.uint8), torch.tensor([3, 1, 0, 2]).short()):
        data = ArrayClips(x, labels)
        assert data.num_classes == 4
        got, cond = next(data.batches(32))
        assert cond.dtype == torch.int64 and set(cond.tolist()) == {0, 1, 2, 3}
        for clip, label in zip(got, cond.tolist()):
            assert_close((clip + 1) / 2, x[[3, 1, 0, 2].index(label)])


def test_bytes_are_taken_as_0_to_255():
    data = ArrayClips((clips() * 255).byte().numpy())
    assert data.num_classes is None and data.clips.max() <= 1
    assert_close(data.clips, clips(), rtol=0, atol=1 / 255)


@pytest.mark.parametrize(("x", "labels", "words"), [
    (clips() * 2, None, r"\[0, 1\]"), (clips()[0], None, r"N, T, C, H, W"),
    (clips(), [1, 2], "6 whole numbers"), (clips(), [0.5] * 6, "whole numbers"),
    (clips(), [-1] * 6, "from 0 on"), (clips() * torch.nan, None, "NaN")])
def test_what_is_no_dataset_is_refused(x, labels, words):
    with pytest.raises(ValueError, match=words):
        ArrayClips(x, labels)


@pytest.mark.parametrize("colour", [False, True])
def test_a_folder_of_gifs_has_a_class_for_each_subfolder(tmp_path, colour):
    x = clips(4, channels=3 if colour else 1)
    x[1, 2] = x[1, 1]                                 # equal frames merge in the file
    for i, name in enumerate(("dog", "cat", "dog", "cat")):
        media.save(x[i:i + 1], tmp_path / name / f"{i}.gif", scale=1, greys=256)
    data = load_clips(tmp_path) if not colour else clip_folder(tmp_path, colour=True)
    assert data.class_names == ["cat", "dog"] and data.labels.tolist() == [0, 0, 1, 1]
    assert data.shape == (4, 3 if colour else 1, 8, 12)
    assert_close(data.clips, x[[1, 3, 0, 2]], rtol=0, atol=0.5 if colour else 0.01)


def test_folders_that_do_not_fit_say_why(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no GIFs"):
        clip_folder(tmp_path)
    media.save(clips(1), tmp_path / "a.gif", scale=1)
    media.save(clips(1, frames=3), tmp_path / "b.gif", scale=1)
    with pytest.raises(ValueError, match=r"b\.gif is 3 frames of 8x12, but .*a\.gif is 4"):
        clip_folder(tmp_path)
    assert clip_folder(tmp_path, frames=3).shape == (3, 1, 8, 12)
    media.save(clips(1), tmp_path / "sub" / "c.gif", scale=1)
    with pytest.raises(ValueError, match="beside its subfolders"):
        clip_folder(tmp_path, frames=3)
    (tmp_path / "sub" / "c.gif").write_bytes(b"GIF89a")
    with pytest.raises(ValueError, match=r"c\.gif is not a whole GIF"):
        clip_folder(tmp_path)


def test_an_npy_file_and_its_labels_are_a_dataset(tmp_path):
    np.save(tmp_path / "x.npy", clips().numpy())
    assert load_clips(tmp_path / "x.npy").num_classes is None
    np.save(tmp_path / "x-labels.npy", np.arange(6, dtype=np.uint8) % 2)
    assert load_clips(tmp_path / "x.npy").num_classes == 2


class Stream(IterableDataset):
    def __init__(self, make):
        self.make = make

    def __iter__(self):
        return self.make()


@pytest.mark.parametrize("kind", ["array", "digits", "recipe"])
def test_workers_of_a_loader_share_the_batches(digits, kind):
    data = ArrayClips(clips()) if kind == "array" else MovingMNIST(digits, size=16, frames=2)
    recipe = get_recipe("tiny", batch=2)

    def make():
        if kind == "recipe":
            return training_batches(recipe, digits, 0)
        return data.batches(2)
    loader = iter(DataLoader(Stream(make), batch_size=None, num_workers=2,
                             multiprocessing_context="fork"))
    for (want, _), _ in zip(make(), range(4)):
        assert torch.equal(next(loader)[0], want)


def test_a_recipe_trains_on_own_clips_and_refuses_those_that_do_not_fit():
    data = ArrayClips(clips(), [0, 1, 2, 0, 1, 2])
    x, cond = next(training_batches(own_recipe(data), data, 0))
    assert x.shape == (3, 4, 1, 8, 12) and cond.shape == (3,)
    with pytest.raises(ValueError, match="made for 10 classes, but the data has no classes"):
        build_dataset(get_recipe("tiny"), ArrayClips(clips()))
    with pytest.raises(ValueError, match="made for 1 channels, but the data has 3"):
        build_dataset(own_recipe(data), ArrayClips(clips(channels=3), range(6)))
    recipe = own_recipe(data)
    with pytest.raises(ValueError, match=r"dataset 'clip' \(do you mean 'clips'"):
        build_dataset(recipe._replace(clips=recipe.clips | {"dataset": "clip"}), "x.npy")


@pytest.mark.parametrize(("x", "cond", "words"), [
    (clips() * 2 - 1.5, None, r"\[-1, 1\]"), (clips()[0], None, "B, T, C, H, W"),
    (clips(), torch.zeros(2), "2 for 6"), (clips() * torch.nan, None, "nan"),
    (clips().numpy(), None, "ndarray")])
def test_batches_of_a_bad_dataset_are_refused(x, cond, words):
    with pytest.raises(ValueError, match=words):
        batches.check_batch(x, cond)


@pytest.mark.parametrize(("size", "sizes"), [
    (32, [32]), ([32, 48], [(32, 48)]), ((32, 48), [(32, 48)]), ([8, 8, 8, 16], [8, 8, 8, 16]),
    ([[32, 48]], [(32, 48)]), ([[8, 16], 8], [(8, 16), 8])])
def test_two_numbers_are_one_size(size, sizes):
    assert batches.batch_sizes(size) == sizes
