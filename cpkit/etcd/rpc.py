"""Importing this module makes the package etcd3 usable: it stands in for the generated module etcd3 ships.

etcd3 0.12.0 carries code generated for a protobuf that no longer installs, and knows nothing of learners, HashKV or
downgrades. It only ever touches that code as `etcd3.etcdrpc`, so a module of that name, built from our own .proto and
put in place before etcd3 is first imported, is all it needs.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorProto, MethodDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message_factory import GetMessageClass

from cpkit.errors import CpkitError
from cpkit.etcd.schema import read_proto

NAME = "etcd3.etcdrpc"


def load_schema() -> FileDescriptorProto:
    """The part of etcd's API that cpkit speaks."""
    path = Path(__file__).with_name("proto") / "etcd.proto"
    return read_proto(path.read_text(encoding="utf-8"), path.name)


def build_module(schema: FileDescriptorProto) -> ModuleType:
    """A module with a class for every message and a stub for every service, as protoc's generated code has."""
    # A pool of our own: in the shared one, any other copy of etcd's messages in this process would be a conflict.
    pool = DescriptorPool()
    pool.AddSerializedFile(schema.SerializeToString())
    module = ModuleType(NAME)
    vars(module).update(_messages(schema, pool))
    vars(module).update(_enums(schema, pool))
    for service in schema.service:
        setattr(module, f"{service.name}Stub", _stub(f"{schema.package}.{service.name}", tuple(service.method), module))
    return module


def _messages(schema: FileDescriptorProto, pool: DescriptorPool) -> Iterator[tuple[str, Any]]:
    for message in schema.message_type:
        yield message.name, GetMessageClass(pool.FindMessageTypeByName(f"{schema.package}.{message.name}"))


def _enums(schema: FileDescriptorProto, pool: DescriptorPool) -> Iterator[tuple[str, Any]]:
    for enum in schema.enum_type:
        yield enum.name, EnumTypeWrapper(pool.FindEnumTypeByName(f"{schema.package}.{enum.name}"))
        yield from ((value.name, value.number) for value in enum.value)


def _stub(service: str, methods: tuple[MethodDescriptorProto, ...], module: ModuleType) -> type:
    def __init__(self: Any, channel: Any) -> None:  # noqa: N807
        for method in methods:
            asked = "stream" if method.client_streaming else "unary"
            answered = "stream" if method.server_streaming else "unary"
            call = getattr(channel, f"{asked}_{answered}")(
                f"/{service}/{method.name}",
                request_serializer=getattr(module, _last(method.input_type)).SerializeToString,
                response_deserializer=getattr(module, _last(method.output_type)).FromString,
            )
            setattr(self, method.name, call)

    return type(f"{_last(service)}Stub", (), {"__init__": __init__, "__doc__": f"Calls of {service}."})


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _install() -> ModuleType:
    if NAME in sys.modules:
        raise CpkitError(
            "the package etcd3 was imported before cpkit.etcd, with its own generated code",
            hint="Import cpkit.etcd.rpc before anything that imports etcd3.",
        )
    module = build_module(load_schema())
    sys.modules[NAME] = module
    return module


etcdrpc = _install()

# gRPC's core writes every failed handshake to stderr; the same failure reaches the caller as an error.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
# Before 1.80, gRPC works on a connection only while a call waits, or this often: a restarted member would seem down
# for 20 s.
os.environ.setdefault("GRPC_CLIENT_CHANNEL_BACKUP_POLL_INTERVAL_MS", "100")

import grpc  # noqa: E402
from etcd3.client import Etcd3Client  # noqa: E402

__all__ = ["Etcd3Client", "build_module", "etcdrpc", "grpc", "load_schema"]
