"""An execution environment of Lambda: AWS's runtime interface emulator and client, with a function's package."""

import http.client
import json
import platform
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from infra.build import PYTHON
from local.services.process_guard import GuardedProcess
from local.template import Function

_ROOT = Path(__file__).parents[2]
_PATH = "/2015-03-31/functions/function/invocations"
_START_TIMEOUT = 60.0  # seconds until the emulator listens; it starts the function with the first event


class EmulatorError(Exception):
    """The function ended without a result. The message includes what it printed."""


def find_emulator() -> Path:
    """Return the emulator for this machine's processor, which the package aws-sam-cli includes.

    Raises
    ------
    FileNotFoundError
        If the package is not installed in `.venv-deploy`.
    """
    architecture = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
    pattern = f".venv-deploy/lib/python3*/site-packages/samcli/local/rapid/aws-lambda-rie-{architecture}"
    for path in _ROOT.glob(pattern):
        return path
    raise FileNotFoundError(f"{pattern}: run `make build`")


class Emulator:
    """One execution environment. It runs one event at a time, as on Lambda.

    Parameters
    ----------
    function
        The function, as template.yaml declares it.
    package
        The folder of its package, the only one from which handlers are imported.
    python, runtime
        A CPython of Lambda's version, and the folder with the packages of Lambda's runtime.
    variables
        Environment variables that override the template's.
    log
        File that receives what emulator and function print.
    """

    def __init__(
        self,
        function: Function,
        package: Path,
        *,
        python: Path,
        runtime: Path,
        variables: Mapping[str, str],
        log: Path,
    ) -> None:
        self._log = log
        # The emulator crashes when two events overlap, and two emulators must not share a runtime API.
        self._lock = threading.Lock()
        self._port, api_port = _free_ports()
        addresses = ["--runtime-interface-emulator-address", f"127.0.0.1:{self._port}"]
        addresses += ["--runtime-api-address", f"127.0.0.1:{api_port}"]
        # -S hides this Python's site-packages: imports find the package, the runtime and the standard library only.
        client: list[str | Path] = [python, "-S", "-m", "awslambdaric", function.handler]
        environment = {name: value for name, value in function.environment.items() if value is not None}
        environment |= {
            "AWS_EXECUTION_ENV": f"AWS_Lambda_python{PYTHON}",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
            "AWS_LAMBDA_FUNCTION_NAME": function.name,
            "AWS_LAMBDA_FUNCTION_TIMEOUT": f"{function.timeout:.0f}",
            "AWS_REGION": "us-east-1",
            "LAMBDA_TASK_ROOT": str(package),
            "PATH": "/usr/bin:/bin",
            "PYTHONDONTWRITEBYTECODE": "1",  # a package is read-only on Lambda
            "PYTHONPATH": f"{package}:{runtime}",
            **variables,
        }
        with log.open("ab") as output:
            command = [find_emulator(), *addresses, "--log-level", "warn", *client]
            self._process = GuardedProcess(command, cwd=package, env=environment, stdout=output, stderr=output)
        _wait_until_it_listens(self._port)

    def invoke(self, event: Mapping[str, Any]) -> tuple[Any, float]:
        """Run the handler on one event. Return its result, and the seconds that it took.

        Raises
        ------
        EmulatorError
            If the handler raises, or its process ends.
        """
        with self._lock:
            began = time.perf_counter()
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
            connection.request("POST", _PATH, json.dumps(event))
            result = json.loads(connection.getresponse().read())
            seconds = time.perf_counter() - began
            connection.close()
        if isinstance(result, dict) and "errorType" in result:
            raise EmulatorError(f"{result}\n{self._log.read_text(errors='replace')[-4000:]}")
        return result, seconds

    def __enter__(self) -> "Emulator":
        """Return this environment. Leaving the block ends it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the environment."""
        self._process.stop()


Start = Callable[..., Emulator]
"""Starts an emulator for a function, with environment variables."""


def _free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as another:
        return one.getsockname()[1], another.getsockname()[1]


def _wait_until_it_listens(port: int) -> None:
    until = time.monotonic() + _START_TIMEOUT
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)
        else:
            return
