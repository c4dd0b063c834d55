"""The commands of ``este-agent``, for people and for scripts."""
