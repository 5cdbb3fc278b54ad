"""Gadgets that members add. Owns the database `gadgetry`; publishes `gadgetry.*`."""
