"""`cbalign serve`: serve a bundle over HTTP."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cbalign.cli import completions, console

if TYPE_CHECKING:
    from cbalign.apps.serving.access import Certificate
    from cbalign.apps.serving.connections import Listener


@click.command()
@click.argument("bundle", metavar="BUNDLE", type=click.Path(path_type=Path), shell_complete=completions.results)
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Images for /search, indexed once at the start.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; 0.0.0.0 accepts other machines, which needs a token or a certificate.",
)
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0 chooses a free one.",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File with the token that requests must present; the variable CBALIGN_TOKEN can hold it instead.",
)
@click.option("--tls-cert", type=click.Path(path_type=Path), metavar="FILE", help="Certificate for HTTPS (PEM).")
@click.option("--tls-key", type=click.Path(path_type=Path), metavar="FILE", help="Its private key (PEM).")
@click.option("--allow-host", multiple=True, metavar="NAME", help="A name by which requests may address the server.")
@click.option("--insecure", is_flag=True, help="Accept other machines without a token and without a certificate.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--precision", help="Precision of the bundle.  [default: the first that it lists]")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads within one graph.")
@click.option(
    "--max-batch", default=16, show_default=True, type=click.IntRange(1, 256), help="Maximum items per batch."
)
@click.option(
    "--max-wait", default=5.0, show_default=True, type=click.FloatRange(0, 1000), metavar="MS",
    help="Maximum time that a batch waits for more items.",
)  # fmt: skip
@click.option(
    "--max-queue", default=256, show_default=True, type=click.IntRange(min=64),
    help="Maximum queued items; further requests are rejected (429).",
)  # fmt: skip
@click.option(
    "--max-requests", default=64, show_default=True, type=click.IntRange(min=1),
    help="Maximum concurrent requests; further requests are rejected (429).",
)  # fmt: skip
@click.option(
    "--max-body",
    default=16.0,
    show_default=True,
    type=click.FloatRange(0.01, 1000),
    metavar="MB",
    help="Maximum size of a request.",
)
@click.option(
    "--max-bodies", default=64.0, show_default=True, type=click.FloatRange(0.01, 100_000), metavar="MB",
    help="Maximum size of all requests together; further ones are rejected (429).",
)  # fmt: skip
@click.option(
    "--max-pixels",
    default=25.0,
    show_default=True,
    type=click.FloatRange(0.01, 178),
    metavar="MP",
    help="Maximum size of an image in megapixels.",
)
@click.option(
    "--max-decoding", default=32.0, show_default=True, type=click.FloatRange(0.1, 10_000), metavar="MP",
    help="Maximum size of all images that are decoded at a time; others wait.",
)  # fmt: skip
@click.option(
    "--max-connections", default=256, show_default=True, type=click.IntRange(min=1),
    help="Maximum open connections; a new one replaces the one that is idle for longest.",
)  # fmt: skip
@click.option(
    "--idle-timeout", default=10.0, show_default=True, type=click.FloatRange(1, 3600), metavar="S",
    help="Timeout for the head of a request, and of connections between requests.",
)  # fmt: skip
@click.option(
    "--timeout",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0.1, 3600),
    metavar="S",
    help="Timeout of a request, and of the shutdown.",
)
@click.option(
    "--log-lines", default=100, show_default=True, type=click.IntRange(min=1), metavar="N",
    help="Maximum lines per second in the log; further ones are counted.",
)  # fmt: skip
@click.option("--cache", type=click.Path(path_type=Path, file_okay=False), help="Folder of the index of --images.")
def serve(
    bundle: Path,
    images: Path | None,
    host: str,
    port: int,
    token_file: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    allow_host: tuple[str, ...],
    insecure: bool,
    device: str,
    precision: str | None,
    threads: int | None,
    max_batch: int,
    max_wait: float,
    max_queue: int,
    max_requests: int,
    max_body: float,
    max_bodies: float,
    max_pixels: float,
    max_decoding: float,
    max_connections: int,
    idle_timeout: float,
    timeout: float,
    log_lines: int,
    cache: Path | None,
) -> None:
    """Serve BUNDLE over HTTP: /encode/image, /encode/text, /match, /search, /healthz, /metrics.

    Prints the address when the server is ready. The page at this address is for trying it out; /openapi.json describes
    the API. Only this machine can connect, unless --host says otherwise; then requests need a token, connections a
    certificate, or both.
    """
    from cbalign.apps.serving.access import AccessRules, host_name
    from cbalign.apps.serving.app import create_app
    from cbalign.apps.serving.batching import BatchLimits
    from cbalign.apps.serving.connections import ConnectionLimits
    from cbalign.apps.serving.gate import RequestLimits
    from cbalign.apps.serving.metrics import Metrics
    from cbalign.apps.serving.server import return_memory, serve_until_stopped
    from cbalign.apps.serving.service import PixelLimits, Service
    from cbalign.cli.search import describe_changes, load_index
    from cbalign.runtime.session import Session

    listening, token, certificate = _listen(host, port, token_file, tls_cert, tls_key, insecure)
    return_memory()
    session = Session.open(bundle, device, precision, threads=threads)
    session.bundle.require_alignment()
    index = None
    if images is not None:
        index = load_index(session, images, cache)
        describe_changes(index.changes)
    batches = BatchLimits(max_batch, max_wait / 1000, max_queue)
    pixels = PixelLimits(round(max_pixels * 1e6), round(max_decoding * 1e6))
    service = Service(session, index, batches, pixels, Metrics(session))
    access = AccessRules(token, {name.lower() for name in (host, *map(host_name, allow_host))})
    app = create_app(
        service, RequestLimits(max_requests, round(max_body * 1e6), round(max_bodies * 1e6), timeout), access
    )
    name = f"[{host}]" if ":" in host else host
    url = f"{'https' if certificate else 'http'}://{name}:{listening.getsockname()[1]}"
    serve_until_stopped(
        app,
        listening,
        patience=timeout,
        started=lambda: console.result(url),
        limits=ConnectionLimits(max_connections, idle_timeout, 2 * timeout),
        certificate=certificate,
        log_lines=log_lines,
    )


def _listen(
    host: str, port: int, token_file: Path | None, tls_cert: Path | None, tls_key: Path | None, insecure: bool
) -> tuple[Listener, str | None, Certificate | None]:
    """Bind the socket, and return it with the token and the certificate that requests and connections need."""
    from cbalign.apps.serving.access import check_exposure, read_certificate, read_token
    from cbalign.apps.serving.server import bind

    token = read_token(token_file, os.environ)
    certificate = read_certificate(tls_cert, tls_key)
    listening = bind(host, port)
    address = str(listening.getsockname()[0])
    warning = check_exposure(address, token=token is not None, tls=certificate is not None, insecure=insecure)
    if warning is not None:
        console.warn(warning)
    return listening, token, certificate
