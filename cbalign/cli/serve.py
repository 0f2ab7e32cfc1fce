"""`cbalign serve`: serve a bundle over HTTP."""

from __future__ import annotations

from pathlib import Path

import click

from cbalign.cli import completions, console


@click.command()
@click.argument("bundle", metavar="BUNDLE", type=click.Path(path_type=Path), shell_complete=completions.results)
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Images for /search, indexed once at the start.",
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 accepts other machines."
)
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0 chooses a free one.",
)
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
    "--max-pixels",
    default=50.0,
    show_default=True,
    type=click.FloatRange(0.01, 178),
    metavar="MP",
    help="Maximum size of an image in megapixels.",
)
@click.option(
    "--timeout",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0.1, 3600),
    metavar="S",
    help="Timeout of a request, and of the shutdown.",
)
@click.option("--cache", type=click.Path(path_type=Path, file_okay=False), help="Folder of the index of --images.")
def serve(
    bundle: Path,
    images: Path | None,
    host: str,
    port: int,
    device: str,
    precision: str | None,
    threads: int | None,
    max_batch: int,
    max_wait: float,
    max_queue: int,
    max_requests: int,
    max_body: float,
    max_pixels: float,
    timeout: float,
    cache: Path | None,
) -> None:
    """Serve BUNDLE over HTTP: /encode/image, /encode/text, /match, /search, /healthz, /metrics.

    Prints the address when the server is ready. The page at this address is for trying it out; /openapi.json describes
    the API. There is no access control: listen only on this machine, or put a proxy with access control in front.
    """
    from cbalign.apps.serving.app import create_app
    from cbalign.apps.serving.batching import BatchLimits
    from cbalign.apps.serving.gate import RequestLimits
    from cbalign.apps.serving.metrics import Metrics
    from cbalign.apps.serving.server import bind, serve_until_stopped
    from cbalign.apps.serving.service import Service
    from cbalign.cli.search import describe_changes, load_index
    from cbalign.runtime.session import Session

    listening = bind(host, port)
    session = Session.open(bundle, device, precision, threads=threads)
    session.bundle.require_alignment()
    index = None
    if images is not None:
        index = load_index(session, images, cache)
        describe_changes(index.changes)
    batches = BatchLimits(max_batch, max_wait / 1000, max_queue)
    service = Service(session, index, batches, round(max_pixels * 1e6), Metrics(session))
    app = create_app(service, RequestLimits(max_requests, round(max_body * 1e6), timeout))
    name = f"[{host}]" if ":" in host else host
    address = f"http://{name}:{listening.getsockname()[1]}"
    serve_until_stopped(app, listening, patience=timeout, started=lambda: console.result(address))
