"""Every operation of the suite: who serves it, who may call it. What is not here is not public."""

from services.gateway.table import Cache, Route

# Events end what is kept as soon as it is out of date; the times are for what they might not.
_TAGGED = Cache(seconds=600, swr=60, sie=86_400)
_KEYS = Cache(seconds=60, swr=1, sie=3_600, members=True)

ROUTES = (
    # method, path, upstream, access; each question of a GraphQL document counts by its own route
    Route("GET", "/api/home", "gateway", "optional", timeout=2.0),
    Route("POST", "/graphql", "gateway", "optional", limit="read"),
    Route("POST", "/api/vitals", "gateway", "public", limit="vitals"),
    Route("GET", "/.well-known/jwks.json", "users", "public", cache=_KEYS),
    Route("POST", "/api/users", "users", "public", limit="registration"),
    Route("POST", "/api/users/login", "users", "public", limit="login"),
    Route("GET", "/api/user", "users", "required"),
    Route("PUT", "/api/user", "users", "required"),
    Route("GET", "/api/profiles", "users", "optional", hedge=True),
    Route("GET", "/api/profiles/{username}", "users", "optional", cache=_TAGGED, hedge=True),
    Route("POST", "/api/profiles/{username}/follow", "users", "required"),
    Route("DELETE", "/api/profiles/{username}/follow", "users", "required"),
    Route("GET", "/api/articles", "content", "optional", cache=_TAGGED, hedge=True),
    Route("POST", "/api/articles", "content", "required"),
    Route("GET", "/api/articles/feed", "content", "required", hedge=True),
    Route("GET", "/api/articles/{slug}", "content", "optional", cache=_TAGGED, hedge=True),
    Route("PUT", "/api/articles/{slug}", "content", "required"),
    Route("DELETE", "/api/articles/{slug}", "content", "required"),
    Route("POST", "/api/articles/{slug}/favorite", "content", "required"),
    Route("DELETE", "/api/articles/{slug}/favorite", "content", "required"),
    Route("GET", "/api/articles/{slug}/comments", "content", "optional", cache=_TAGGED, hedge=True),
    Route("POST", "/api/articles/{slug}/comments", "content", "required"),
    Route("DELETE", "/api/articles/{slug}/comments/{id}", "content", "required"),
    Route("GET", "/api/tags", "content", "public", cache=_TAGGED, hedge=True),
    Route("GET", "/api/notifications", "notifications", "required"),
    Route("GET", "/api/notifications/stream", "gateway", "required", stream=True),
    Route("GET", "/api/live", "gateway", "optional", websocket=True),
    Route("GET", "/api/notifications/since", "notifications", "required"),
    Route("PUT", "/api/notifications/read", "notifications", "required"),
    Route("PUT", "/api/notifications/{id}/read", "notifications", "required"),
    Route("GET", "/api/notifications/preferences", "notifications", "required"),
    Route("PUT", "/api/notifications/preferences", "notifications", "required"),
    Route("GET", "/api/notifications/unsubscribe", "notifications", "public"),
    Route("POST", "/api/notifications/unsubscribe", "notifications", "public"),
)
