"""Pictures one after another in one file, whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from lossgrid.errors import UserError
from lossgrid.view.saving import whole

_QUALITY = "18"  # of x264: invisible losses
_MOST_GIF_RATE = 50  # browsers show what is shorter than two hundredths of a second for ten of them


def check_movie(output: Path, size: tuple[int, int], rate: Fraction) -> None:
    """See before any picture is drawn that such a file can be written.

    Raises:
        UserError: the name is no movie's, size or rate do not fit, or a library is missing.
    """
    suffix = output.suffix.lower()
    if suffix not in _ENCODERS:
        raise UserError(
            f"{output}: a movie's name must end in one of {', '.join(_ENCODERS)}, "
            f"not in {output.suffix!r}"
        )
    if suffix == ".gif" and rate > _MOST_GIF_RATE:
        raise UserError(
            f"{output}: a .gif shows at most {_MOST_GIF_RATE} pictures a second, not "
            f"{float(rate):g}; ask for fewer --frames or more --seconds, or for an .mp4"
        )
    if suffix == ".mp4":
        if size[0] % 2 or size[1] % 2:
            raise UserError(f"{output}: an .mp4 has an even number of pixels each way")
        try:
            import av  # noqa: F401
        except ImportError as missing:
            raise UserError(
                f"{output}: an .mp4 needs PyAV ({missing}): pip install 'lossgrid[movie]'; "
                "a .gif needs nothing"
            ) from missing


def write_movie(
    pictures: Iterable[Image.Image], output: Path, size: tuple[int, int], rate: Fraction
) -> None:
    """Write opaque pictures of one size, `rate` a second, by the suffix: .mp4, or .gif, endless.

    Raises:
        UserError: it can't be written.
    """
    with whole(output) as partial:
        encode = _ENCODERS[output.suffix.lower()]
        opaque = (picture.convert("RGB") for picture in pictures)
        partial.write_bytes(encode(opaque, size, rate))


def _gif(pictures: Iterable[Image.Image], size: tuple[int, int], rate: Fraction) -> bytes:
    """All with the colours that suit the first, so that colours don't flicker."""
    frames: list[Image.Image] = []
    for picture in pictures:
        palette = frames[0] if frames else picture.quantize(256)
        frames.append(picture.quantize(palette=palette))
    # A GIF counts in hundredths of a second; these add up to the whole time.
    ends = [10 * round(100 * end / rate) for end in range(len(frames) + 1)]
    durations = [end - start for start, end in pairwise(ends)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)
    return file.getvalue()


def _mp4(pictures: Iterable[Image.Image], size: tuple[int, int], rate: Fraction) -> bytes:
    import av
    from av.video.reformatter import ColorRange, Colorspace

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": _QUALITY})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.colorspace = Colorspace.ITU709
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(np.asarray(picture)).reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


_ENCODERS: dict[str, Callable[[Iterable[Image.Image], tuple[int, int], Fraction], bytes]] = {
    ".mp4": _mp4,
    ".gif": _gif,
}
