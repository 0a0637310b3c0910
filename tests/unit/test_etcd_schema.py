import pytest

from cpkit.etcd.schema import read_proto


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("import 'other.proto';", "unexpected 'import'"),
        ("message A { B b = 1; }", "unknown type B"),
        ("message A { int64 b 1; }", "expected '=', found '1'"),
        ("service A { stream B; }", "unexpected 'stream'"),
    ],
)
def test_names_what_it_does_not_understand(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        read_proto(text, "x.proto")
