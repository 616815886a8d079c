"""Certificates, and a real PostgreSQL that speaks TLS. The embedded one does not."""

import os
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from local.services.process_guard import GuardedProcess

_HBA = """\
hostssl all all all scram-sha-256
hostnossl all all all scram-sha-256
"""


def certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, Path]:
    """A server's TLS with a certificate that only itself vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / f"{name}.pem", folder / f"{name}.key"
    certificate_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_file, key_file)
    return context, certificate_file


def find_postgres() -> Path | None:
    """The folder of a PostgreSQL that is installed on this machine, None if there is none."""
    on_path = shutil.which("postgres")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


@contextmanager
def postgres_with_tls(binaries: Path, certificate_file: Path, password: str) -> Iterator[int]:
    """Run a server that asks its superuser `postgres` for a password; yield its port on 127.0.0.1."""
    # It refuses to run as root.
    account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    user = None if account is None else account.pw_uid
    with TemporaryDirectory() as made, socket.create_server(("127.0.0.1", 0)) as free:
        folder, port = Path(made), free.getsockname()[1]
        for name, source in (("server.crt", certificate_file), ("server.key", certificate_file.with_suffix(".key"))):
            shutil.copy(source, folder / name)
            (folder / name).chmod(0o600)
        (folder / "password").write_text(password)
        if account is not None:
            for path in (folder, *folder.iterdir()):
                os.chown(path, account.pw_uid, account.pw_gid)
        data = folder / "data"
        command: list[str | Path] = [
            binaries / "initdb",
            "-D",
            data,
            "-U",
            "postgres",
            "-A",
            "scram-sha-256",
            "--no-locale",
        ]
        command += ["--encoding=UTF8", "--no-sync", f"--pwfile={folder / 'password'}"]
        subprocess.run(command, user=user, cwd="/", check=True, capture_output=True)
        (data / "pg_hba.conf").write_text(_HBA)
        settings = {
            "ssl": "on",
            "ssl_cert_file": folder / "server.crt",
            "ssl_key_file": folder / "server.key",
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": "",
            "fsync": "off",
        }
        free.close()
        server: list[str | Path] = [
            binaries / "postgres",
            "-D",
            data,
            *(f"--{name}={value}" for name, value in settings.items()),
        ]
        with (folder / "log").open("wb") as log:
            process = GuardedProcess(
                server,
                stop=((signal.SIGINT, 2.0), (signal.SIGQUIT, 0.7)),
                cwd=Path("/"),
                stdout=log,
                stderr=log,
                user=user,
                group=None if account is None else account.pw_gid,
            )
        try:
            deadline = time.monotonic() + 60
            while "ready" not in _status(data):
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.02)
            yield port
        finally:
            process.stop()


def _status(data: Path) -> str:
    """The line of the postmaster's own file that says whether it takes connections."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return ""
    return lines[7] if len(lines) >= 8 else ""
