"""X.509 in DER, as far as one certificate is made from another: only its key, its serial number and its time differ."""

from dataclasses import dataclass
from datetime import UTC, datetime

INTEGER, BITS, SEQUENCE, UTC_TIME, TIME, VERSION, EXTENSIONS = 0x02, 0x03, 0x30, 0x17, 0x18, 0xA0, 0xA3
# What is signed, in this order, by the tags of its parts.
LAYOUT = (VERSION, INTEGER, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE, EXTENSIONS)
SERIAL, VALIDITY, KEY = 1, 4, 6
LONG = 0x80  # a length of this and above takes more than one byte
FIRST_YEAR_OF_LONG_TIMES = 2050


@dataclass(frozen=True)
class Certificate:
    """A certificate in its parts."""

    parts: tuple[bytes, ...]  # of what is signed
    algorithm: bytes  # of the signature
    not_before: float
    not_after: float

    @property
    def serial(self) -> str:
        """The serial number in hexadecimal digits, as other tools show it."""
        return f"{int.from_bytes(_content(self.parts[SERIAL]), 'big'):x}"

    def successor(self, public: bytes, *, serial: int, begins: float, ends: float) -> bytes:
        """What has to be signed of one that says the same, with another public key, serial number and time."""
        parts = list(self.parts)
        parts[SERIAL] = _made(INTEGER, serial.to_bytes(serial.bit_length() // 8 + 1, "big"))
        parts[VALIDITY] = _made(SEQUENCE, _time(begins) + _time(ends))
        parts[KEY] = public
        return _made(SEQUENCE, b"".join(parts))

    def signed(self, body: bytes, signature: bytes) -> bytes:
        """A successor with its signature, by the same kind of key that signed this one."""
        return _made(SEQUENCE, body + self.algorithm + _made(BITS, b"\0" + signature))


def parse(der: bytes) -> Certificate:
    """Take a certificate apart; ValueError for one that is not made as cpkit and kubeadm make theirs."""
    try:
        body, algorithm, _ = _parts(_content(der))
        parts = tuple(_parts(_content(body)))
        begins, ends = (_seconds(part) for part in _parts(_content(parts[VALIDITY])))
    except (IndexError, ValueError) as error:
        raise ValueError("it is not a certificate") from error
    if tuple(part[0] for part in parts) != LAYOUT:
        raise ValueError("it is not made as cpkit makes them")
    return Certificate(parts, algorithm, begins, ends)


def _parts(data: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(data):
        _, end = _span(data, at)
        found.append(data[at:end])
        at = end
    return found


def _content(part: bytes) -> bytes:
    begin, end = _span(part, 0)
    return part[begin:end]


def _span(data: bytes, at: int) -> tuple[int, int]:
    """Where the content of a part begins, and where it ends."""
    length, begin = data[at + 1], at + 2
    if length & LONG:
        count = length & ~LONG
        length, begin = int.from_bytes(data[begin : begin + count], "big"), begin + count
    if begin + length > len(data):
        raise ValueError("it is cut off")
    return begin, begin + length


def _made(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < LONG:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, LONG | len(length))) + length + content


def _time(seconds: float) -> bytes:
    when = datetime.fromtimestamp(seconds, UTC)
    if when.year < FIRST_YEAR_OF_LONG_TIMES:
        return _made(UTC_TIME, f"{when:%y%m%d%H%M%SZ}".encode())
    return _made(TIME, f"{when:%Y%m%d%H%M%SZ}".encode())


def _seconds(part: bytes) -> float:
    text = _content(part).decode()
    if part[0] == UTC_TIME:  # of years from 1950 to 2049
        text = f"{'19' if text >= '50' else '20'}{text}"
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
