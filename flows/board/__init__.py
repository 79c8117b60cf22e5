"""The board: the page where people look at a job's takes."""

from flows.board.page import BoardTake, board_html

__all__ = ["BoardTake", "board_html"]
