import subprocess
import sys


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)


def test_importing_the_package_loads_no_grpc() -> None:
    found = python(
        "import sys, cpkit.etcd; print([m for m in ('grpc', 'etcd3', 'google.protobuf') if m in sys.modules])"
    )
    assert (found.stdout, found.stderr) == ("[]\n", "")


def test_etcd3_runs_on_the_schema_of_cpkit() -> None:
    found = python(
        "from cpkit.etcd import rpc; import etcd3\n"
        "assert etcd3.etcdrpc is rpc.etcdrpc and etcd3.Etcd3Client is rpc.Etcd3Client\n"
        "print(etcd3.__version__, rpc.etcdrpc.MemberAddRequest(isLearner=True).isLearner, rpc.etcdrpc.NOSPACE)"
    )
    assert (found.stdout, found.stderr) == ("0.12.0 True 1\n", "")


def test_refuses_to_share_a_process_with_another_etcdrpc() -> None:
    found = python(
        "import sys, types; sys.modules['etcd3.etcdrpc'] = types.ModuleType('etcd3.etcdrpc')\n"
        "from cpkit.errors import CpkitError\n"
        "try:\n    import cpkit.etcd.rpc\n"
        "except CpkitError as error:\n    print(error.message, '|', error.hint)"
    )
    assert "imported before cpkit.etcd" in found.stdout
    assert "Import cpkit.etcd.rpc before" in found.stdout
    assert found.stderr == ""


def test_a_client_left_open_ends_without_a_word() -> None:
    found = python(
        "from cpkit.etcd import MemberClient, EtcdError\n"
        "client = MemberClient('127.0.0.1', 9, ca=b'x', cert=b'x', key=b'x', timeout=0.5)\n"
        "try:\n    client.status()\n"
        "except EtcdError as error:\n    print(type(error).__name__)"
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, "EtcdUnavailable\n", "")
