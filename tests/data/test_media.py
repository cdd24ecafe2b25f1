"""Media: what a file shows is what the clips hold, and a file is whole or not there."""
import base64
import io
import os
import pickle

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from minidiff.data import media


def clips(n=3, frames=4, channels=1, h=6, w=5, seed=0):
    return torch.rand(n, frames, channels, h, w, generator=torch.Generator().manual_seed(seed))


def decode(gif):
    with Image.open(io.BytesIO(gif)) as image:
        frames = [(np.asarray(f.convert("RGB")), f.info["duration"])
                  for f in ImageSequence.Iterator(image)]
        return np.stack([f for f, _ in frames]), [d for _, d in frames], image.info.get("loop")


def test_a_gif_plays_every_frame_for_ever_at_the_speed_asked_for():
    frames, durations, loop = decode(media.gif_bytes(clips(), fps=8, scale=2, columns=2))
    assert frames.shape == (4, 2 * (6 + 1 + 6), 2 * (5 + 1 + 5), 3)   # 2 x 2 tiles, a line between
    assert durations == [120] * 4 and loop == 0


@pytest.mark.parametrize(("fps", "hundredths"), [(8, 12), (10, 10), (25, 4), (1, 100), (50, 2),
                                                 (1000, 2)])
def test_delays_are_hundredths_of_a_second(fps, hundredths):
    assert media.gif_delay(fps) == hundredths


@pytest.mark.parametrize("greys", [2, 16, 256])
def test_decoded_greys_are_the_clips_within_half_a_step(greys):
    x = clips(1, 5, h=16, w=16)
    frames = decode(media.gif_bytes(x, scale=1, greys=greys))[0] / 255
    assert len(np.unique(frames)) <= greys and (frames[..., 0] == frames[..., 2]).all()
    assert np.abs(frames[..., 0] - x[0, :, 0].numpy()).max() <= 0.5 / (greys - 1) + 1 / 255


def test_few_greys_are_smaller_and_keep_black_and_white():
    x = clips(4, 4, h=32, w=32)
    x[0, :, :, :8], x[0, :, :, 8:16] = 0, 1
    assert len(media.gif_bytes(x, scale=1)) < 0.6 * len(media.gif_bytes(x, scale=1, greys=256))
    frames = decode(media.gif_bytes(x, scale=1))[0]
    assert (frames[:, :8, :32] == 0).all() and (frames[:, 8:16, :32] == 255).all()


def test_colours_survive_and_channels_are_not_swapped():
    x = torch.zeros(1, 2, 3, 8, 8)
    x[0, 0, 0], x[0, 1, 2, :4] = 1, 0.5                              # red, then half blue above
    frames = decode(media.gif_bytes(x, scale=1))[0].astype(int)
    assert np.abs(frames[0] - [255, 0, 0]).max() <= 4
    assert np.abs(frames[1, :4] - [0, 0, 128]).max() <= 4 and frames[1, 4:].max() <= 4


def test_clips_lie_in_reading_order_and_pixels_are_enlarged_not_smoothed():
    x = torch.arange(3).view(3, 1, 1, 1, 1).expand(3, 2, 1, 4, 4) / 2           # black, grey, white
    frame = decode(media.gif_bytes(x, scale=3, columns=2, greys=3))[0][0, ..., 0]
    assert frame.shape == (27, 27)
    assert (frame[:12, :12] == 0).all() and (frame[:12, 15:] == 128).all()
    assert (frame[15:, :12] == 255).all()
    assert frame[13, 13] not in (0, 255)                                        # the line between


def test_a_still_clip_plays_as_long_as_a_moving_one():
    x = clips(1, 1).expand(1, 4, 1, 6, 5).clone()
    x[:, 3] = 0
    assert sum(decode(media.gif_bytes(x))[1]) == 4 * 120                         # equal ones merge
    assert decode(media.gif_bytes(clips(1, 1)))[0].shape[0] == 1


@pytest.mark.parametrize(("n", "columns"), [(1, 1), (2, 2), (3, 3), (4, 2), (5, 5), (7, 4), (8, 4),
                                            (10, 5), (16, 4)])
def test_the_grid_is_compact(n, columns):
    assert media.grid_columns(n) == columns


def test_small_clips_are_shown_large_and_wide_sheets_not_too_wide():
    assert media.contact_sheet(clips(1, 1, h=32, w=32)).size == (128, 128)
    assert media.contact_sheet(clips(1, 16, h=64, w=64)).width == 16 * 65 - 1
    assert media.contact_sheet(clips(1, 8, h=32, w=32)).width <= 960


def test_single_frames_lie_on_a_grid():
    six = clips(6, 1, h=4, w=4)
    assert media.contact_sheet(six, 1).size == (14, 9)
    assert media.contact_sheet(six, 1, columns=6).size == (29, 4)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_contact_sheet_has_clips_as_rows_and_frames_as_columns(channels):
    x = clips(2, 3, channels)
    sheet = np.asarray(media.contact_sheet(x, scale=1)).reshape(13, 17, channels)
    for i in range(2):
        for k in range(3):
            tile = sheet[7 * i:7 * i + 6, 6 * k:6 * k + 5]
            assert np.array_equal(tile, (x[i, k] * 255).round().byte().movedim(0, -1).numpy())
    assert (sheet[6] == media.LINE_GREY).all() and (sheet[:, 5] == media.LINE_GREY).all()


def test_unit_is_the_middle_of_grey_and_clips_the_rest():
    assert media.to_unit(torch.tensor([-9.0, -1.0, 0.0, 1.0, 2.0])).tolist() == [0, 0, 0.5, 1, 1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_npy_keeps_every_bit(tmp_path, dtype):
    x = clips(channels=3).to(dtype)
    media.save(x, tmp_path / "deep" / "x.npy")
    back = media.read_npy(tmp_path / "deep" / "x.npy")
    assert torch.equal(back, x.float()) and back.dtype == torch.float32
    assert np.load(tmp_path / "deep" / "x.npy").shape == (3, 4, 3, 6, 5)


def test_bytes_and_foreign_byte_order_are_read(tmp_path):
    x = torch.randint(256, (2, 3, 1, 4, 4), dtype=torch.uint8)
    np.save(tmp_path / "bytes.npy", x.numpy())
    torch.testing.assert_close(media.read_npy(tmp_path / "bytes.npy"), x / 255, rtol=0, atol=0)
    np.save(tmp_path / "big.npy", clips().numpy().astype(">f4"))
    assert torch.equal(media.read_npy(tmp_path / "big.npy"), clips())


class Boom:
    def __reduce__(self):
        return os.mkdir, ("unpickled",)


def bad(name, path):
    good = clips().numpy()
    array = {"axes": good[0], "channels": good.repeat(2, 2), "empty": good[:0],
             "inf": good + np.inf, "nan": np.where(good > 0.5, np.nan, good),
             "range": good * 2 - 1, "bytes as floats": good * 255,
             "integers": good.astype(np.int64), "words": np.array(["a"]),
             "objects": np.array([Boom()], object)}
    array = array.get(name)
    if array is not None:
        return np.save(path, array, allow_pickle=True)
    np.save(path, good)
    whole = path.read_bytes()
    if name == "several":
        with path.open("wb") as f:
            np.savez(f, a=good, b=good)
        return None
    huge = whole.replace(b"(3, 4,", b"(3, 9999999999,").replace(9 * b" ", b"", 1)
    content = {"truncated": whole[:-40], "half a header": whole[:60], "nothing": b"", "huge": huge,
               "text": b"hello\n" * 99, "pickle": pickle.dumps(Boom())}
    return path.write_bytes(content[name])


@pytest.mark.parametrize("name", [
    "axes", "channels", "empty", "inf", "nan", "range", "bytes as floats", "integers", "words",
    "objects", "several", "truncated", "half a header", "nothing", "huge", "text", "pickle"])
def test_a_bad_npy_is_refused_by_name_in_one_sentence(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    bad(name, tmp_path / "bad.npy")
    with pytest.raises(ValueError, match=r"bad\.npy") as e:
        media.read_npy(tmp_path / "bad.npy")
    assert "\n" not in str(e.value) and not (tmp_path / "unpickled").exists()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.npy"):
        media.read_npy(tmp_path / "none.npy")


@pytest.mark.parametrize("ending", ["gif", "png", "npy", "GIF"])
def test_save_writes_what_the_ending_says(tmp_path, ending):
    media.save(clips(), path := tmp_path / f"x.{ending}")
    start = {"gif": b"GIF89a", "png": b"\x89PNG", "npy": b"\x93NUMPY"}[ending.lower()]
    assert path.read_bytes().startswith(start) and len(list(tmp_path.iterdir())) == 1


def test_another_ending_is_refused_with_the_three_there_are(tmp_path):
    for name in ("x.mp4", "x"):
        with pytest.raises(ValueError, match=r"\.gif, \.png, \.npy"):
            media.save(clips(), tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", ["gif", "png", "npy"])
def test_nothing_half_written_stays_and_the_old_file_survives(tmp_path, monkeypatch, ending):
    path = tmp_path / f"x.{ending}"
    path.write_bytes(b"old")
    with pytest.raises(ValueError):
        media.save(clips() * 2, path)

    def explode(target, *_, **__):
        if hasattr(target, "write_bytes"):
            target.write_bytes(b"half")
        raise OSError("no space left")
    monkeypatch.setattr(media.np, "save", explode)
    monkeypatch.setattr(Image.Image, "save", lambda self, target, *a, **k: explode(target))
    with pytest.raises(OSError, match="no space"):
        media.save(clips(), path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name] and path.read_bytes() == b"old"


@pytest.mark.parametrize("x", [clips()[0], clips() * 2 - 1, clips() * torch.nan, clips().byte(),
                               clips(channels=2)])
def test_clips_that_are_none_are_refused(x):
    for show in (media.gif_bytes, media.contact_sheet):
        with pytest.raises(ValueError, match="Clips must"):
            show(x)


@pytest.mark.parametrize("settings", [
    {"greys": 1}, {"greys": 257}, {"fps": 0}, {"fps": torch.nan}, {"scale": 0}, {"columns": 0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        media.gif_bytes(clips(), **settings)


def test_a_video_saves_what_it_shows(tmp_path):
    x = clips(1, 3, h=16, w=16)
    video = media.NotebookVideo(x, fps=25, greys=256)
    video.save(tmp_path / "x.gif")
    frames, durations, _ = decode((tmp_path / "x.gif").read_bytes())
    shown = decode(base64.b64decode(video.html().split("base64,")[1].split('"')[0]))
    assert durations == shown[1] == [40] * 3
    small = frames[:, ::frames.shape[1] // 16, ::frames.shape[1] // 16]
    assert np.array_equal(small, shown[0]) and len(np.unique(frames)) > 100
    video.save(tmp_path / "y.gif", fps=10, scale=1)
    assert decode((tmp_path / "y.gif").read_bytes())[1] == [100] * 3


def test_saving_takes_the_settings_of_a_gif(tmp_path):
    media.save(clips(4), tmp_path / "x.gif", fps=50, greys=2, scale=1, columns=4)
    frames, durations, _ = decode((tmp_path / "x.gif").read_bytes())
    assert durations == [20] * 4 and frames.shape[2] == 4 * 6 - 1 and len(np.unique(frames)) <= 3
    media.save(clips(2), tmp_path / "x.png", scale=1)
    assert Image.open(tmp_path / "x.png").size == (4 * 6 - 1, 2 * 7 - 1)


@pytest.mark.parametrize("settings", [{"fps": 0}, {"fps": None}, {"greys": 1}, {"greys": 2.5}])
def test_settings_of_a_video_are_checked_at_once(tmp_path, settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        media.NotebookVideo(clips(), **settings)
    with pytest.raises(ValueError, match=next(iter(settings))):
        media.save(clips(), tmp_path / "x.gif", **settings)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("x", "words"), [
    (clips() * 255, "divide clips that go from 0 to 255 by 255"),
    ((clips() * 255).byte(), r"clips\.float\(\) / 255"), (clips() * 2 - 1, r"media\.to_unit"),
    (clips() * torch.nan, "NaN"), (clips() + torch.inf, "NaN and infinite"),
    (clips() * 1000, "clamp or scale")])
def test_clips_out_of_range_get_the_right_advice(x, words):
    with pytest.raises(ValueError, match=words):
        media.check_clips(x)


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    media.save(clips(), "~/deep/x.npy")
    assert (tmp_path / "deep" / "x.npy").exists()
    assert torch.equal(media.read_npy("~/deep/x.npy"), clips())
    media.NotebookVideo(clips()).save("~/x.gif")
    assert (tmp_path / "x.gif").exists()
