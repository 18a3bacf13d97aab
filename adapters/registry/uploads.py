"""An upload session at a registry: where its answer says that it lies. No I/O."""

from urllib.parse import urlsplit

from deployer.adapters.http.answer import Answer


def session_path(opened: Answer, registry: str) -> str | None:
    """The session's path below /v2/, with its query; None if it does not lie at `registry`.

    The Location may be absolute, and the login must not follow it to another host.
    """
    try:
        location = urlsplit(opened.headers.get("location", ""))
    except ValueError:
        return None
    if location.netloc not in ("", registry) or not location.path.startswith("/v2/"):
        return None
    query = f"?{location.query}" if location.query else ""
    return location.path.removeprefix("/v2/") + query
