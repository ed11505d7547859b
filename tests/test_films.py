"""Films frame by frame: opened again, they have the frames, colors and times that were put in."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from training import pictures
from training.films import gif_film, mp4_film

HEIGHT, WIDTH = 45, 62


def frames_of(count: int) -> list[pictures.Picture]:
    """A red and a blue half on green, the border between them moving; the last three frames are the same."""
    frames = []
    for number in range(count):
        frame = np.full((HEIGHT, WIDTH, 3), (20, 180, 40), np.uint8)
        border = 8 + 4 * min(number, count - 3)
        frame[8:32, 8:border], frame[8:32, border:56] = (200, 30, 30), (30, 30, 200)
        frames.append(frame)
    return frames


def decoded(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def write_mp4(path: Path, frames: list[pictures.Picture], rate: int = 25) -> Path:
    with mp4_film(path, rate) as add:
        for frame in frames:
            add(frame)
    return path


def write_gif(path: Path, frames: list[pictures.Picture], rate: int) -> Path:
    palette = pictures.common_palette([Image.fromarray(frame) for frame in frames], 256)
    with gif_film(path, rate, palette) as add:
        for frame in frames:
            add(frame)
    return path


def test_mp4_is_what_browsers_play(tmp_path: Path) -> None:
    frames = frames_of(12)
    path = write_mp4(tmp_path / "a.mp4", frames)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        codec = stream.codec_context
        assert (codec.name, codec.pix_fmt) == ("h264", "yuv420p")
        assert (codec.height, codec.width) == (HEIGHT + 1, WIDTH)
        assert (stream.frames, stream.average_rate) == (12, 25)
        assert float((stream.duration or 0) * (stream.time_base or 0)) == pytest.approx(12 / 25)
        assert (codec.colorspace, codec.color_primaries, codec.color_trc, codec.color_range) == (1, 1, 1, 1)
    data = path.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat"), "the index must come first for a film to start at once"


def test_mp4_has_the_frames_and_colors(tmp_path: Path) -> None:
    frames = frames_of(12)
    found = decoded(write_mp4(tmp_path / "a.mp4", frames))
    assert len(found) == 12
    for expected, frame in zip(frames, found, strict=True):
        # Colors have half the resolution, so that edges may be off; the middles of the patches are not.
        for row, column in ((2, 2), (40, 60), (20, 54)):
            assert np.abs(frame[row, column].astype(int) - expected[row, column]).max() <= 6
        assert np.abs(frame[:HEIGHT, :WIDTH].astype(int) - expected).mean() < 4
    assert np.abs(found[-1].astype(int) - found[-3]).max() <= 12
    assert np.abs(found[0].astype(int) - found[5]).max() > 100


def test_gif_has_the_frames_colors_and_times(tmp_path: Path) -> None:
    frames = frames_of(9)
    with Image.open(write_gif(tmp_path / "a.gif", frames, 30)) as movie:
        assert (movie.n_frames, movie.size, movie.info["loop"]) == (9, (WIDTH, HEIGHT), 0)  # type: ignore[attr-defined]
        durations = []
        for number, frame in enumerate(frames):
            movie.seek(number)
            durations.append(movie.info["duration"])
            assert np.array_equal(np.asarray(movie.convert("RGB")), frame)
    assert durations == [30, 40, 30, 30, 40, 30, 30, 40, 30]


@pytest.mark.parametrize("ending", ["mp4", "gif"])
def test_equal_frames_give_equal_files(tmp_path: Path, ending: str) -> None:
    for name in ("a", "b"):
        path = tmp_path / f"{name}.{ending}"
        write_mp4(path, frames_of(6)) if ending == "mp4" else write_gif(path, frames_of(6), 10)
    assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()


def test_nothing_is_left_of_a_film_that_fails(tmp_path: Path) -> None:
    def failing() -> None:
        with mp4_film(tmp_path / "a.mp4", 25) as add:
            add(frames_of(4)[0])
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        failing()
    assert list(tmp_path.iterdir()) == []
