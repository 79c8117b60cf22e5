"""Sample catalogs, and the script that makes them."""

from pathlib import Path

FOLDER = Path(__file__).parent
DEMO = FOLDER / "demo.parquet"
TASKS = FOLDER / "tasks.parquet"
BAD_ROWS = FOLDER / "bad_rows.parquet"
