async def test_x(client, join):
    me = await join()
    for _ in range(3):
        r = await client.post("/api/articles", headers=me.headers, json={"article": {"title":"Hello Wörld!", "description": "d", "body": "b", "tagList": ["x","y","x"]}})
        print(r.status_code, await r.get_json(), r.headers)
    slug = (await r.get_json())["article"]["slug"]
    for path in ("/api/articles", f"/api/articles/{slug}", "/api/articles?tag=x", f"/api/articles?author={me.username.upper()}", f"/api/articles?author={me.username}&tag=x&favorited=me", f"/api/articles?favorited={me.username}&tag=x", "/api/articles/feed", "/api/tags", f"/api/articles/{slug}/comments"):
        r = await client.get(path, headers=me.headers)
        print(path, r.status_code, await r.get_json())
    assert 0
