"""A worked example: a storyboard, its clips, and the trailer that is cut from them."""

from pathlib import Path

FOLDER = Path(__file__).parent
CATALOG = FOLDER / "trailer.parquet"
TIMELINE = FOLDER / "trailer.toml"
SHOW = "trailer"
SECONDS = 30
