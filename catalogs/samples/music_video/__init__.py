"""A worked example: ten shots of seven takes each, six of them kept, and the film that is cut from these."""

from pathlib import Path

FOLDER = Path(__file__).parent
CATALOG = FOLDER / "music_video.parquet"
TIMELINE = FOLDER / "music_video.toml"
SHOW = "music-video"
SECONDS = 12
KEPT = ("pulse", "drift", "rise", "clash", "turn", "last")
"""The shots whose takes are in the film; the other four are on the floor."""
