"""The film: a moving picture with a burned-in frame counter, and a tone; constant bitrate, H.264 and AAC in FLV.

A picture can be told apart from every other one by its counter, so a screenshot shows which part of the film it is.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from PIL import Image, ImageDraw, ImageFont

from whimbrel.images.recipes import FilmRecipe

_KEYFRAME_EVERY_S = 2
_AAC_FRAME_SAMPLES = 1024
_NOISE_PICTURES = 16


def make_film(recipe: FilmRecipe, file: Path) -> None:
    """Writes the film as FLV: H.264 with sound in AAC."""
    with av.open(str(file), "w", format="flv") as container:
        video = container.add_stream("libx264", rate=recipe.frames_per_s)
        video.width, video.height, video.pix_fmt = recipe.width, recipe.height, "yuv420p"
        bits_per_s = round((recipe.bitrate_bytes_per_s - recipe.audio_bitrate_bytes_per_s) * 8)
        video.bit_rate = bits_per_s
        rate = f"{bits_per_s // 1000}k"
        video.options = {
            "preset": "ultrafast", "tune": "zerolatency", "nal-hrd": "cbr", "minrate": rate, "maxrate": rate,
            "bufsize": rate, "g": str(recipe.frames_per_s * _KEYFRAME_EVERY_S), "threads": "2",
        }  # fmt: skip
        audio = container.add_stream("aac", rate=recipe.sample_rate_hz, layout="mono")
        audio.bit_rate = recipe.audio_bitrate_bytes_per_s * 8
        draw = _painter(recipe)
        frames = round(recipe.length_s * recipe.frames_per_s)
        samples_done = 0
        for number in range(frames):
            picture = VideoFrame.from_ndarray(draw(number), format="gray").reformat(format="yuv420p")
            picture.pts = number
            picture.time_base = Fraction(1, recipe.frames_per_s)
            container.mux(video.encode(picture))
            while samples_done * recipe.frames_per_s < (number + 1) * recipe.sample_rate_hz:
                container.mux(audio.encode(_tone(recipe, samples_done)))
                samples_done += _AAC_FRAME_SAMPLES
        container.mux(video.encode(None))
        container.mux(audio.encode(None))


def cut_film(recipe: FilmRecipe, film: Path, folder: Path) -> None:
    """The same film as HLS (RFC 8216): ``film.m3u8`` and segments of equal length, cut at key frames, nothing encoded anew."""
    options = {
        "hls_time": str(recipe.hls_segment_s), "hls_list_size": "0", "hls_playlist_type": "vod",
        "hls_segment_filename": str(folder / "%04d.ts"),
    }  # fmt: skip
    with av.open(str(film)) as source, av.open(str(folder / "film.m3u8"), "w", format="hls", options=options) as cut:
        copies = {stream.index: cut.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream.index]
                cut.mux(packet)


def _painter(recipe: FilmRecipe) -> Callable[[int], np.ndarray]:
    """Noise that never repeats itself at once keeps the encoder busy at the full rate; the counter stays readable."""
    random = np.random.default_rng(recipe.maker_version)
    noise = random.integers(90, 150, size=(_NOISE_PICTURES, recipe.height, recipe.width), dtype=np.uint8)
    font = ImageFont.load_default(size=recipe.height // 6)

    def draw(number: int) -> np.ndarray:
        picture: np.ndarray = np.roll(noise[number % _NOISE_PICTURES], 8 * number, axis=1)
        bar = number * 4 % (recipe.width - 20)
        picture[recipe.height * 3 // 4 :, bar : bar + 20] = 235
        label = Image.new("L", (recipe.width // 2, recipe.height // 4), 16)
        ImageDraw.Draw(label).text((10, 10), f"{number:07d}", fill=235, font=font)
        picture[20 : 20 + label.height, 20 : 20 + label.width] = np.asarray(label)
        return picture

    return draw


def _tone(recipe: FilmRecipe, start: int) -> AudioFrame:
    moments = (start + np.arange(_AAC_FRAME_SAMPLES)) / recipe.sample_rate_hz
    wave = (0.2 * np.sin(2 * np.pi * recipe.tone_hz * moments)).astype(np.float32)
    frame = AudioFrame.from_ndarray(wave.reshape(1, -1), format="fltp", layout="mono")
    frame.sample_rate = recipe.sample_rate_hz
    frame.pts = start
    frame.time_base = Fraction(1, recipe.sample_rate_hz)
    return frame
