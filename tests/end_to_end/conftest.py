"""Homes that several tests start from, and the command."""

from tests.support.replays import command, finished_replay, replayed_home

__all__ = ["command", "finished_replay", "replayed_home"]
