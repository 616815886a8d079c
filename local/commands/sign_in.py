"""The local issuer's sign-in: a server of its own on this machine's loopback, beside whichever server has the API."""

import asyncio
import contextlib
import dataclasses

from local.commands.console import to_stdout
from local.commands.dependencies import Dependencies
from local.gateway.http_server import HttpServer
from local.gateway.issuer import make_issuer
from local.gateway.sign_in import HOST, SignIn
from local.http.listening import listen
from local.http.sites import LOOPBACK
from local.settings import Settings

_GRACE = 1.0  # seconds to answer the requests in flight after the server was asked to stop


async def start_sign_in(
    settings: Settings, port: int, dependencies: Dependencies, cleanup: contextlib.AsyncExitStack
) -> Dependencies:
    """Start the sign-in.

    Parameters
    ----------
    settings
        The server's settings.
    port
        The port of the server that has the API.
    dependencies
        What functions need before they start.
    cleanup
        Receives the callback that stops it.

    Returns
    -------
    Dependencies
        The dependencies, with what tells the console where to sign in.

    Raises
    ------
    CannotServeError
        If its port cannot be used, or the issuer has no key and none can be made.
    """
    listener = cleanup.enter_context(listen(HOST, settings.issuer_port, variable="ISSUER_PORT"))
    names = LOOPBACK | {settings.host.lower()} | {name.lower() for name in settings.allowed_hosts}
    callers = [f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}" for name in sorted(names)]
    issuer = make_issuer(settings.ledger_home)
    sign_in = SignIn(issuer, listener.getsockname()[1], callers, settings.token_seconds)
    server = HttpServer(sign_in)
    cleanup.push_async_callback(_stop, server, asyncio.create_task(server.run_on(listener)))
    to_stdout(f"sign-in    {sign_in.address}")
    configuration = dependencies.configuration
    variables = {**configuration.variables, **sign_in.settings}
    return dataclasses.replace(dependencies, configuration=dataclasses.replace(configuration, variables=variables))


async def _stop(server: HttpServer, serving: "asyncio.Task[None]") -> None:
    server.should_exit = True
    await asyncio.wait([serving], timeout=_GRACE)
    if not serving.done():
        server.close_connections()
        await asyncio.wait([serving], timeout=_GRACE)
