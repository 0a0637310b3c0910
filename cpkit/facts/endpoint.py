"""The API as its clients see it: one /readyz through the endpoint."""

from http.client import HTTPException, HTTPSConnection
from ssl import PROTOCOL_TLS_CLIENT, SSLContext, SSLEOFError
from time import monotonic

from cpkit.facts.host import Probe
from cpkit.inventory import Endpoint


def probe(endpoint: Endpoint, authority: str, *, timeout: float) -> Probe:
    """Ask /readyz once, verified against the cluster's CA alone."""
    began = monotonic()
    connection = None
    try:
        context = SSLContext(PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=authority)
        connection = HTTPSConnection(endpoint.host, endpoint.port, timeout=timeout, context=context)
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        text = "the connection was closed" if isinstance(error, SSLEOFError) else None
        text = text or getattr(error, "strerror", None) or str(error) or type(error).__name__
        return Probe(seconds=monotonic() - began, error=text)
    finally:
        if connection:
            connection.close()
    return Probe(status=status, seconds=monotonic() - began)
