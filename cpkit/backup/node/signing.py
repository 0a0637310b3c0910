"""AWS Signature Version 4: how a request to S3 proves who asks, and that nothing in it was changed."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import quote

SERVICE, ALGORITHM = "s3", "AWS4-HMAC-SHA256"
UNRESERVED = "-_.~"


@dataclass(frozen=True)
class Credentials:
    """Who asks; a token only with those that end by themselves."""

    access: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)


@dataclass(frozen=True)
class Request:
    """What is asked of a server; the path and the query are as they mean, not yet encoded."""

    method: str
    host: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    data: bytes = field(default=b"", repr=False)

    @property
    def encoded_path(self) -> str:
        """The path as it is sent."""
        return quote(self.path, safe=f"/{UNRESERVED}")

    @property
    def encoded_query(self) -> str:
        """The query as it is sent, and signed: in order."""
        pairs = ((quote(name, safe=UNRESERVED), quote(value, safe=UNRESERVED)) for name, value in self.query.items())
        return "&".join(f"{name}={value}" for name, value in sorted(pairs))

    @property
    def target(self) -> str:
        """Path and query in one."""
        return self.encoded_path + (f"?{self.encoded_query}" if self.query else "")


def signed(request: Request, credentials: Credentials, region: str, at: datetime) -> dict[str, str]:
    """All headers of a request, its signature with them; good for a quarter of an hour around that time."""
    digest, stamp = hashlib.sha256(request.data).hexdigest(), at.strftime("%Y%m%dT%H%M%SZ")
    headers = {name.lower(): value for name, value in request.headers.items()}
    headers |= {"host": request.host, "x-amz-content-sha256": digest, "x-amz-date": stamp}
    headers |= {"x-amz-security-token": credentials.token} if credentials.token else {}
    names = ";".join(sorted(headers))
    lines = [f"{name}:{' '.join(headers[name].split())}" for name in sorted(headers)]
    canonical = "\n".join([request.method, request.encoded_path, request.encoded_query, *lines, "", names, digest])
    scope = f"{stamp[:8]}/{region}/{SERVICE}/aws4_request"
    text = "\n".join([ALGORITHM, stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{credentials.secret}".encode()
    for word in scope.split("/"):
        key = hmac.digest(key, word.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    proof = f"{ALGORITHM} Credential={credentials.access}/{scope}, SignedHeaders={names}, Signature={signature}"
    return headers | {"authorization": proof}
