"""The only public door: routes by table, checks tokens, forwards bytes. Owns nothing, publishes
nothing.
"""
