from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from lossgrid.errors import UserError
from lossgrid.view.movie import check_movie, write_movie

SIZE = (64, 48)
RATE = Fraction(50)


def pictures(count: int) -> list[Image.Image]:
    """A bright block that moves to the right over a blue ground."""
    made = []
    for number in range(count):
        picture = Image.new("RGBA", SIZE, (20, 40, 120, 255))
        picture.paste((250, 200, 30, 255), (8 * number, 16, 8 * number + 8, 32))
        made.append(picture)
    return made


def read_back(path: Path) -> tuple[list[np.ndarray], float]:
    """The frames, as RGB, and how many seconds they take together."""
    if path.suffix == ".gif":
        with Image.open(path) as gif:
            assert gif.info["loop"] == 0
            frames, seconds = [], 0.0
            for number in range(gif.n_frames):
                gif.seek(number)
                seconds += gif.info["duration"] / 1000
                frames.append(np.asarray(gif.convert("RGB")))
        return frames, seconds
    with av.open(str(path)) as movie:
        stream = movie.streams.video[0]
        assert stream.codec_context.name == "h264"
        decoded = list(movie.decode(stream))
        assert movie.duration is not None
        frames = [frame.to_ndarray(format="rgb24") for frame in decoded]
        return frames, movie.duration / 1e6


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
@pytest.mark.parametrize(("count", "seconds"), [(7, 0.5), (2, 1.0), (6, 2.0), (7, 0.14)])
def test_a_movie_has_all_frames_in_order_and_lasts_as_long(
    suffix: str, count: int, seconds: float, tmp_path: Path
) -> None:
    output = tmp_path / "new" / f"a{suffix}"
    write_movie(iter(pictures(count)), output, SIZE, count / Fraction(str(seconds)))
    frames, lasts = read_back(output)
    assert len(frames) == count
    assert lasts == pytest.approx(seconds, abs=1e-3)
    for number, (frame, picture) in enumerate(zip(frames, pictures(count), strict=True)):
        assert frame.shape == (48, 64, 3), number
        difference = np.abs(frame.astype(int) - np.asarray(picture)[..., :3])
        assert difference.mean() < 4, number
        assert difference[20:28, 8 * number + 2 : 8 * number + 6].max() < 30, number
        assert difference[40:, :].max() < 12, number  # the ground's own colour
    assert [path.name for path in output.parent.iterdir()] == [output.name]


def test_what_cannot_be_a_movie_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"must end in one of \.mp4, \.gif, not in '\.avi'"):
        check_movie(Path("a.avi"), SIZE, RATE)
    with pytest.raises(UserError, match="even number of pixels"):
        check_movie(Path("a.mp4"), (64, 47), RATE)
    check_movie(Path("a.gif"), (63, 47), RATE)
    with pytest.raises(UserError, match=r"at most 50 pictures a second, not 50\.5"):
        check_movie(Path("a.gif"), SIZE, Fraction(101, 2))
    check_movie(Path("a.mp4"), SIZE, Fraction(101, 2))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"pip install 'lossgrid\[movie\]'"):
        check_movie(Path("a.mp4"), SIZE, RATE)
    check_movie(Path("a.gif"), SIZE, RATE)


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
def test_a_movie_is_whole_or_not_there(suffix: str, tmp_path: Path) -> None:
    output = tmp_path / f"a{suffix}"
    output.write_text("old")

    def broken() -> object:
        yield pictures(1)[0]
        raise UserError("broke off")

    with pytest.raises(UserError, match="broke off"):
        write_movie(broken(), output, SIZE, Fraction(10))  # type: ignore[arg-type]
    assert output.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1
