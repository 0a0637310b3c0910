"""Reads a .proto file into a descriptor, so that no generated code is shipped."""

import re
from collections import deque

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    ServiceDescriptorProto,
)

Tokens = deque[str]

_COMMENT = re.compile(r"//[^\n]*")
_TOKEN = re.compile(r'"[^"]*"|[\w.]+|[{}()=;]')
_SCALARS = ("bool", "bytes", "string", "int64", "uint32", "uint64")


def read_proto(text: str, name: str) -> FileDescriptorProto:
    """The descriptor of a proto3 file: messages, enums, oneofs and services; ValueError for any other syntax."""
    tokens: Tokens = deque(_TOKEN.findall(_COMMENT.sub("", text)))
    file = FileDescriptorProto(name=name)
    while tokens:
        match tokens.popleft():
            case "syntax":
                _expect(tokens, "=")
                file.syntax = tokens.popleft().strip('"')
                _expect(tokens, ";")
            case "package":
                file.package = tokens.popleft()
                _expect(tokens, ";")
            case "message":
                _read_message(tokens, file.message_type.add(name=tokens.popleft()))
            case "enum":
                _read_enum(tokens, file.enum_type.add(name=tokens.popleft()))
            case "service":
                _read_service(tokens, file.service.add(name=tokens.popleft()), file.package)
            case other:
                raise ValueError(f"{name}: unexpected {other!r}")
    _resolve_types(file)
    return file


def _expect(tokens: Tokens, *wanted: str) -> None:
    for token in wanted:
        found = tokens.popleft()
        if found != token:
            raise ValueError(f"expected {token!r}, found {found!r}")


def _read_message(tokens: Tokens, message: DescriptorProto) -> None:
    _expect(tokens, "{")
    while (word := tokens.popleft()) != "}":
        if word == "enum":
            _read_enum(tokens, message.enum_type.add(name=tokens.popleft()))
        elif word == "oneof":
            _read_oneof(tokens, message)
        else:
            _read_field(tokens, word, message.field.add())


def _read_oneof(tokens: Tokens, message: DescriptorProto) -> None:
    index = len(message.oneof_decl)
    message.oneof_decl.add(name=tokens.popleft())
    _expect(tokens, "{")
    while (word := tokens.popleft()) != "}":
        _read_field(tokens, word, message.field.add(oneof_index=index))


def _read_field(tokens: Tokens, word: str, field: FieldDescriptorProto) -> None:
    repeated = word == "repeated"
    kind = tokens.popleft() if repeated else word
    field.label = FieldDescriptorProto.LABEL_REPEATED if repeated else FieldDescriptorProto.LABEL_OPTIONAL
    field.name = tokens.popleft()
    _expect(tokens, "=")
    field.number = int(tokens.popleft())
    _expect(tokens, ";")
    if kind in _SCALARS:
        field.type = FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")
    else:
        field.type_name = kind


def _read_enum(tokens: Tokens, enum: EnumDescriptorProto) -> None:
    _expect(tokens, "{")
    while (word := tokens.popleft()) != "}":
        _expect(tokens, "=")
        enum.value.add(name=word, number=int(tokens.popleft()))
        _expect(tokens, ";")


def _read_service(tokens: Tokens, service: ServiceDescriptorProto, package: str) -> None:
    _expect(tokens, "{")
    while (word := tokens.popleft()) != "}":
        if word != "rpc":
            raise ValueError(f"{service.name}: unexpected {word!r}")
        method = service.method.add(name=tokens.popleft())
        request, client_streaming = _read_rpc_type(tokens)
        _expect(tokens, "returns")
        response, server_streaming = _read_rpc_type(tokens)
        _expect(tokens, ";")
        method.input_type, method.output_type = f".{package}.{request}", f".{package}.{response}"
        if client_streaming:
            method.client_streaming = True
        if server_streaming:
            method.server_streaming = True


def _read_rpc_type(tokens: Tokens) -> tuple[str, bool]:
    _expect(tokens, "(")
    word = tokens.popleft()
    streaming = word == "stream"
    name = tokens.popleft() if streaming else word
    _expect(tokens, ")")
    return name, streaming


def _resolve_types(file: FileDescriptorProto) -> None:
    """Give every field its full type name, an enum of its own message first."""
    messages = {message.name for message in file.message_type}
    enums = {enum.name for enum in file.enum_type}
    for message in file.message_type:
        own = {enum.name for enum in message.enum_type}
        for field in message.field:
            kind = field.type_name
            if not kind:
                continue
            if kind in own:
                field.type, field.type_name = FieldDescriptorProto.TYPE_ENUM, f".{file.package}.{message.name}.{kind}"
            elif kind in enums:
                field.type, field.type_name = FieldDescriptorProto.TYPE_ENUM, f".{file.package}.{kind}"
            elif kind in messages:
                field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{file.package}.{kind}"
            else:
                raise ValueError(f"{message.name}.{field.name}: unknown type {kind}")
