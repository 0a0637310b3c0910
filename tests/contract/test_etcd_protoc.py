"""etcd's schema, read by cpkit and by protoc."""

from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

from cpkit.etcd import schema
from cpkit.etcd.schema import read_proto

PROTO = Path(schema.__file__).with_name("proto") / "etcd.proto"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> FileDescriptorProto:
    """What protoc makes of the same file."""
    out = tmp_path_factory.mktemp("protoc") / "etcd.desc"
    assert protoc.main(["protoc", f"-I{PROTO.parent}", f"--descriptor_set_out={out}", PROTO.name]) == 0
    (file,) = FileDescriptorSet.FromString(out.read_bytes()).file
    for message in file.message_type:
        for field in message.field:
            field.ClearField("json_name")  # a default protoc spells out
    return file


def test_reads_the_schema_as_protoc_does(compiled: FileDescriptorProto) -> None:
    assert read_proto(PROTO.read_text(), PROTO.name) == compiled


def test_streaming_calls_are_known_as_such(compiled: FileDescriptorProto) -> None:
    streaming = {
        method.name: (method.client_streaming, method.server_streaming)
        for service in compiled.service
        for method in service.method
        if method.client_streaming or method.server_streaming
    }
    assert streaming == {"Watch": (True, True), "LeaseKeepAlive": (True, True), "Snapshot": (False, True)}
