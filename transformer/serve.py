"""Answer translation requests over HTTP, with the API of LibreTranslate: python -m transformer.serve

Without --model the server has all included models. The log is written to standard error.
"""

import argparse
import sys

from common.arguments import CommandParser
from common.command import run_command
from evaluate.options import add_backend, add_compute_type, add_decode_options, decode_config
from serve.options import add_server_options, read_keys


def parse_args() -> argparse.Namespace:
    """Read the command line; exit with status 2 if an option is invalid."""
    parser = CommandParser(
        description="Answer translation requests over HTTP, with the API of LibreTranslate. Stop the server with "
        "Ctrl-C or SIGTERM: it answers the requests that it has accepted, and ends.",
    )
    add_server_options(parser)
    add_backend(parser)
    add_compute_type(parser, "auto")
    add_decode_options(parser)
    args = parser.parse_args()
    if args.split_sentences is False:
        parser.error("the server always splits texts into sentences. Omit --no-split-sentences")
    return args


def main() -> None:
    """Load the models and answer requests until a signal stops the server."""
    args = parse_args()
    # Imported after the options are read: --help needs neither PyTorch nor the packages of the server.
    from serve.packages import check_packages

    check_packages()
    from evaluate.model_folders import find_model, read_decode_config
    from paper_transformer import __version__
    from serve.api import create_app
    from serve.limits import Limits
    from serve.models import Models
    from serve.server import address, is_loopback, listen, log_to_stderr, run
    from serve.service import Service
    from transformer.included_models import included_models

    limits = Limits(args.char_limit, args.queue, args.timeout, args.batch_requests, args.file_char_limit)
    keys = read_keys(args)
    folders = [find_model(name, None, None) for name in args.model] or list(included_models().values())
    configs = {folder: decode_config(args, read_decode_config(folder)) for folder in folders}
    sock = listen(args.host, args.port)  # before the models are loaded, so that a used port is reported at once
    models = Models.load(configs, args.compute_type, args.backend)
    if not keys and not is_loopback(sock):
        print("note: everybody who can reach this address can translate. See --api-key-file.", file=sys.stderr)
    log_to_stderr()
    directions = ", ".join(f"{source} to {target}" for source, target in models.directions)
    print(f"{address(sock)} translates {directions}. Stop it with Ctrl-C.", file=sys.stderr, flush=True)
    run(create_app(Service(models, limits, keys), __version__, args.allow_origin), sock, limits)


if __name__ == "__main__":
    run_command(main)
