"""An HLS and CMAF ladder: fragmented MP4 on one grid of closed groups, an I-frame playlist, a master playlist.

    index.m3u8  360p/{index.m3u8,init.mp4,00000.m4s …}  iframes/…  audio/…  captions/<locale>.{m3u8,vtt}

Sound has a rendition of its own, so that each rung is pictures alone and all of them share it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, NamedTuple

import av
import ffmpeg as graph

from infra.deliver.captions import Captions
from infra.deliver.check import check_loudness, compare, wanted
from infra.deliver.encode import sound_of
from infra.deliver.errors import Refused
from infra.deliver.look import Look, look, sound
from infra.deliver.loudness import encoded
from infra.deliver.profiles import Profile, Rung
from infra.deliver.reframe import Window
from infra.deliver.tool import encoder_of
from infra.deliver.video import Drawn, counted, encoder_options, pictures
from infra.deliver.work import Job, Shape, beside, shorter_side

_SEGMENT: Final = re.compile(r"#EXTINF:([0-9.]+),[^\n]*\n([^#\s][^\n]*)")
_IDR, _HIGHEST_LEVEL = 5, 42  # H.264: slice of an instantaneous refresh; level 4.2
_PACE: Final = 0.5  # of a group: shorter than any, so that each key frame begins a segment


class Variant(NamedTuple):
    """A rung as it was made."""

    folder: str
    size: tuple[int, int]
    rung: Rung


@dataclass(frozen=True)
class Playlist:
    """Segments of a media playlist: (file, seconds)."""

    segments: tuple[tuple[str, float], ...]

    @classmethod
    def read(cls, path: Path) -> Playlist:
        """As ffmpeg wrote it."""
        return cls(tuple((name, float(seconds)) for seconds, name in _SEGMENT.findall(path.read_text())))

    def bandwidth(self, folder: Path) -> tuple[int, int]:
        """Peak and mean, bits a second, measured."""
        sizes = [((folder / name).stat().st_size * 8, seconds) for name, seconds in self.segments]
        peak = max(bits / seconds for bits, seconds in sizes)
        return round(peak), round(sum(bits for bits, _ in sizes) / sum(seconds for _, seconds in sizes))


def rungs_of(profile: Profile, size: tuple[int, int]) -> list[tuple[Rung, tuple[int, int]]]:
    """The rungs for a source of this size, with their own: none is larger than the source.

    A source between two rungs gets one of its own size, at the higher one's rate.
    """
    short = min(size)
    ordered = sorted(profile.rungs, key=lambda rung: rung.height)
    found = [(rung, shorter_side(size, rung.height)) for rung in ordered if rung.height < short]
    above = next((rung for rung in ordered if rung.height >= short), None)
    if above is not None:
        found.append((above.model_copy(update={"height": short}), size))
    return found


def make_ladder(job: Job, shape: Shape, folder: Path) -> dict[str, Any]:
    """Make the ladder below `folder` and check it; returns what it is, for its record. EncodeError, Refused."""
    variants = []
    for rung, size in rungs_of(job.profile, shape.size):
        variant = Variant(f"{rung.height}p", size, rung)
        _make_rung(job, replace(shape, size=size), variant, folder)
        variants.append(variant)
    trick = variants[len(variants) // 2]
    window = _make_iframes(job, replace(shape, size=trick.size), trick, folder)
    heard = _make_sound(job, shape, folder)
    for captions in job.captions:
        _write_captions(captions, shape, folder)
    told = _check(job, shape, folder, variants, trick) | ({"reframe": window.told} if window is not None else {})
    if heard:
        told["loudness"] = check_loudness(job, shape, folder / "audio" / "index.m3u8")
    _write_master(job, shape, folder, variants, trick, told["levels"], heard)
    return told


def _make_rung(job: Job, shape: Shape, variant: Variant, folder: Path) -> None:
    video = job.profile.video
    encoder = encoder_of(job.profile, job.tools.program)
    assert video is not None and encoder is not None
    rate = variant.rung.bitrate_k
    own = folder / variant.folder
    own.mkdir()
    options = encoder_options(encoder, video, shape.rate) | {
        "b:v": f"{rate}k", "maxrate:v": f"{rate * 11 // 10}k", "bufsize:v": f"{rate * 2}k",
    }  # fmt: skip
    group = Fraction(video.gop(shape.rate) or 1)
    # as many whole groups as come nearest to the length that is asked for
    seconds = max(1, round(Fraction(job.profile.segment_s) * shape.rate / group)) * group / shape.rate
    drawn = Drawn(job, shape, beside(folder, variant.folder))
    width, height = shape.size
    output = pictures(drawn).output(_playlist(own), **options, **_hls(own, seconds - Fraction(1, 1000)))
    job.tools.run(output, pixels=width * height * shape.frames)


def _make_iframes(job: Job, shape: Shape, variant: Variant, folder: Path) -> Window | None:
    """Key frames alone, one a segment: what a player shows while it seeks."""
    video = job.profile.video
    encoder = encoder_of(job.profile, job.tools.program)
    assert video is not None and encoder is not None
    group = video.gop(shape.rate) or 1
    own = folder / "iframes"
    own.mkdir()
    drawn = Drawn(job, shape, beside(folder, "iframes"))
    stream = pictures(drawn).filter("select", f"not(mod(n,{group}))")
    slow = shape.rate / group
    stream = counted(stream, slow).filter("format", video.pix_fmt)
    options = encoder_options(encoder, video, slow) | {"g": 1, "keyint_min": 1, "crf": 26}
    job.tools.run(stream.output(_playlist(own), **options, **_hls(own, Fraction(_PACE) * group / shape.rate)))
    count = -(-shape.frames // group)
    names = [name for name, _ in Playlist.read(own / "index.m3u8").segments]
    if len(names) != count:
        raise Refused("I-frames", len(names), count)
    lengths = [min(group, shape.frames - number * group) / shape.rate for number in range(count)]
    lines = [
        "#EXTM3U", "#EXT-X-VERSION:7", f"#EXT-X-TARGETDURATION:{_whole(max(lengths))}", "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:VOD", "#EXT-X-I-FRAMES-ONLY", '#EXT-X-MAP:URI="init.mp4"',
    ]  # fmt: skip
    for name, length in zip(names, lengths, strict=True):
        lines += [f"#EXTINF:{float(length):.6f},", name]
    (own / "index.m3u8").write_text("\n".join([*lines, "#EXT-X-ENDLIST", ""]))
    return drawn.window


def _make_sound(job: Job, shape: Shape, folder: Path) -> bool:
    wav = sound_of(job, shape, beside(folder, "sound"))
    audio = job.profile.audio
    if wav is None or audio is None:
        return False
    own = folder / "audio"
    own.mkdir()
    options = encoded(audio) | {"map_metadata": -1, "fflags": "+bitexact"}
    stream = graph.input(f"file:{wav}").audio
    job.tools.run(stream.output(_playlist(own), **options, **_hls(own, Fraction(job.profile.segment_s))))
    found = sound(own / "index.m3u8")
    if found is None or abs(found.seconds - float(shape.seconds)) > 0.1:
        seconds = 0.0 if found is None else found.seconds
        raise Refused("length of the sound", f"{seconds:.3f} s", f"{float(shape.seconds):.3f} s")
    return True


def _write_captions(captions: Captions, shape: Shape, folder: Path) -> None:
    own = folder / "captions"
    own.mkdir(exist_ok=True)
    vtt = captions.as_vtt().replace("WEBVTT", "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:0,LOCAL:00:00:00.000", 1)
    (own / f"{captions.locale}.vtt").write_text(vtt, encoding="utf-8")
    seconds = float(shape.seconds)
    lines = [
        "#EXTM3U", "#EXT-X-VERSION:7", f"#EXT-X-TARGETDURATION:{_whole(shape.seconds)}", "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:VOD", f"#EXTINF:{seconds:.6f},", f"{captions.locale}.vtt", "#EXT-X-ENDLIST", "",
    ]  # fmt: skip
    (own / f"{captions.locale}.m3u8").write_text("\n".join(lines))


def _check(job: Job, shape: Shape, folder: Path, variants: Sequence[Variant], trick: Variant) -> dict[str, Any]:
    """Each rung is opened by its playlist, as a player does, and all of them must have the same grid and cuts."""
    video = job.profile.video
    assert video is not None
    group = video.gop(shape.rate) or 1
    grid = tuple(range(0, shape.frames, group))
    cuts: dict[str, tuple[float, ...]] = {}
    levels: dict[str, str] = {}
    probes: dict[str, Any] = {}
    for variant in variants:
        playlist = folder / variant.folder / "index.m3u8"
        found = look(playlist)
        values = wanted(video, job.profile, replace(shape, size=variant.size))
        compare(found, values)
        _same_grid(variant.folder, found, grid)
        cuts[variant.folder] = tuple(seconds for _, seconds in Playlist.read(playlist).segments)
        levels[variant.folder] = _codec_words(playlist, variant.folder)
        probes[variant.folder] = found.as_dict()
    first = cuts[variants[0].folder]
    for name, own in cuts.items():
        if own != first:
            raise Refused(f"segments of {name}", own, first)
    if abs(sum(first) - float(shape.seconds)) > 0.001 * len(first):
        raise Refused("length of all segments", f"{sum(first):.3f} s", f"{float(shape.seconds):.3f} s")
    _check_iframes(folder / "iframes" / "index.m3u8", trick.size, [number / shape.rate for number in grid])
    levels["iframes"] = _codec_words(folder / "iframes" / "index.m3u8", "iframes")
    return {"probe": probes, "levels": levels, "group_frames": group, "segments_s": list(first), "trick": trick.folder}


def _same_grid(name: str, found: Look, grid: tuple[int, ...]) -> None:
    if found.keys != grid:
        odd = sorted(set(found.keys) ^ set(grid))
        raise Refused(f"grid of {name}", f"different at frame {odd[0]}", f"key frames {list(grid[:4])} …")


def _check_iframes(playlist: Path, size: tuple[int, int], times: Sequence[Fraction]) -> None:
    """Every picture is a key frame and stands where the rungs' key frames do."""
    with av.open(str(playlist)) as container:
        found = [(frame.time, frame.key_frame, (frame.width, frame.height)) for frame in container.decode(video=0)]
    if len(found) != len(times):
        raise Refused("I-frames", len(found), len(times))
    for (time, key, own), wanted_at in zip(found, times, strict=True):
        if time is None or not key or own != size or abs(time - float(wanted_at)) > 0.001:
            raise Refused("I-frame", f"at {time} s, {own}", f"at {float(wanted_at):.3f} s, {size}")


def _codec_words(playlist: Path, name: str) -> str:
    """avc1.PPCCLL of a rendition; Refused where a key frame is no IDR (an open group), or above level 4.2."""
    with av.open(str(playlist)) as container:
        stream = container.streams.video[0]
        extra = stream.codec_context.extradata
        if not extra or len(extra) < 7:
            raise Refused(f"codec of {name}", "without its parameters", "avcC")
        size = (extra[4] & 3) + 1
        for packet in container.demux(stream):
            if packet.is_keyframe and packet.size and not _has_idr(bytes(packet), size):
                raise Refused(f"group of {name}", f"open at {packet.pts}", "closed: its key frame is an IDR")
    if extra[3] > _HIGHEST_LEVEL:
        raise Refused(f"level of {name}", extra[3] / 10, "at most 4.2")
    return f"avc1.{extra[1:4].hex()}"


def _has_idr(packet: bytes, size: int) -> bool:
    place = 0
    while place + size < len(packet):
        length = int.from_bytes(packet[place : place + size], "big")
        if packet[place + size] & 0x1F == _IDR:
            return True
        place += size + length
    return False


def _write_master(
    job: Job, shape: Shape, folder: Path, variants: Sequence[Variant], trick: Variant, levels: dict[str, str],
    heard: bool,
) -> None:  # fmt: skip
    """Last, because it names the others."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS"]
    more, sound_peak, sound_mean = "", 0, 0
    if heard:
        sound_peak, sound_mean = Playlist.read(folder / "audio" / "index.m3u8").bandwidth(folder / "audio")
        channels = job.profile.audio.channels if job.profile.audio else 2
        lines.append(
            '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="sound",NAME="sound",DEFAULT=YES,AUTOSELECT=YES,'
            f'CHANNELS="{channels}",URI="audio/index.m3u8"'
        )
        more += ',AUDIO="sound"'
    for captions in job.captions:
        lines.append(
            f'#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="captions",NAME="{captions.locale}",LANGUAGE="{captions.locale}",'
            f'DEFAULT=NO,AUTOSELECT=YES,FORCED=NO,URI="captions/{captions.locale}.m3u8"'
        )
    if job.captions:
        more += ',SUBTITLES="captions"'
    for variant in variants:
        peak, mean = Playlist.read(folder / variant.folder / "index.m3u8").bandwidth(folder / variant.folder)
        codecs = levels[variant.folder] + (",mp4a.40.2" if heard else "")
        width, height = variant.size
        lines.append(
            f"#EXT-X-STREAM-INF:BANDWIDTH={peak + sound_peak},AVERAGE-BANDWIDTH={mean + sound_mean},"
            f'CODECS="{codecs}",RESOLUTION={width}x{height},FRAME-RATE={float(shape.rate):.3f}{more}'
        )
        lines.append(f"{variant.folder}/index.m3u8")
    peak, mean = Playlist.read(folder / "iframes" / "index.m3u8").bandwidth(folder / "iframes")
    width, height = trick.size
    lines.append(
        f'#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH={peak},AVERAGE-BANDWIDTH={mean},CODECS="{levels["iframes"]}",'
        f'RESOLUTION={width}x{height},URI="iframes/index.m3u8"'
    )
    (folder / "index.m3u8").write_text("\n".join([*lines, ""]))


def _hls(folder: Path, seconds: Fraction) -> dict[str, Any]:
    return {
        "f": "hls", "hls_time": f"{float(seconds):.6f}", "hls_playlist_type": "vod", "hls_segment_type": "fmp4",
        "hls_flags": "independent_segments", "hls_fmp4_init_filename": "init.mp4",
        "hls_segment_filename": str(folder).replace("%", "%%") + "/%05d.m4s",
    }  # fmt: skip


def _playlist(folder: Path) -> str:
    return f"{folder}/index.m3u8"


def _whole(seconds: Fraction) -> int:
    return max(1, -(-seconds.numerator // seconds.denominator))
