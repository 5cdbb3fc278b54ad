"""Kept replies, and when they are forgotten."""
