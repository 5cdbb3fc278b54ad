"""Asking the services, and keeping the trouble of one from the others."""
