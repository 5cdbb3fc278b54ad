"""Requests and replies, as they travel."""
