"""HTTP/1.1 (RFC 9112) and WebSockets, served in the event loop's own thread.

llhttp reads, wsproto frames; what is ours is the way between them and ASGI, and a shorter one for
replies that are there at once.
"""
