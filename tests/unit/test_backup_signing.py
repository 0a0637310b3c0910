"""Signatures of requests to S3, against the examples that AWS publishes for Signature Version 4."""

from datetime import UTC, datetime

import pytest

from cpkit.backup.node.s3_calls import place
from cpkit.backup.node.signing import Credentials, Request, signed

EXAMPLE = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
HOST, AT = "examplebucket.s3.amazonaws.com", datetime(2013, 5, 24, tzinfo=UTC)
PUT = {"Date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"}


@pytest.mark.parametrize(
    ("request_", "signature"),
    [
        (
            Request("GET", HOST, "/test.txt", headers={"Range": "bytes=0-9"}),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            Request("PUT", HOST, "/test$file.text", headers=PUT, data=b"Welcome to Amazon S3."),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            Request("GET", HOST, "/", {"lifecycle": ""}),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            Request("GET", HOST, "/", {"prefix": "J", "max-keys": "2"}),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
    ids=["an object's beginning", "an object", "a setting of the bucket", "a listing"],
)
def test_requests_are_signed_as_amazon_says(request_: Request, signature: str) -> None:
    headers = signed(request_, EXAMPLE, "us-east-1", AT)
    assert headers["authorization"].endswith(f"Signature={signature}")
    assert EXAMPLE.secret not in str(headers)
    assert EXAMPLE.secret not in repr(EXAMPLE)


def test_what_is_sent_is_what_is_signed() -> None:
    told = Request("GET", HOST, "/a b/c+d/é", {"prefix": "x/y z", "a": "&="})
    assert told.target == "/a%20b/c%2Bd/%C3%A9?a=%26%3D&prefix=x%2Fy%20z"


@pytest.mark.parametrize(
    ("location", "bucket", "prefix", "endpoint", "region"),
    [
        (
            "s3://b/a/c?endpoint=https://s3.example.org:9000/&region=eu-1",
            "b",
            "a/c/",
            "https://s3.example.org:9000",
            "eu-1",
        ),
        ("s3://b?region=eu-1", "b", "", "https://s3.eu-1.amazonaws.com", "eu-1"),
        ("s3://b/x", "b", "x/", "https://s3.us-east-1.amazonaws.com", "us-east-1"),
    ],
)
def test_a_place_in_s3(location: str, bucket: str, prefix: str, endpoint: str, region: str) -> None:
    found = place(location)
    assert (found.bucket, found.prefix, found.endpoint, found.region) == (bucket, prefix, endpoint, region)
