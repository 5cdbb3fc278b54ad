"""Accounts, profiles and follows. Owns the database `users` and the signing keys; publishes
`users.*`.
"""
