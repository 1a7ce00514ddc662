"""One of two processes that run commands one after the other: `python -m tests.cli.two_processes '[["sample"]]'`.

What they print is printed. Inception is a stand-in without weights.
"""

import json
import os
import sys

import torch

from celebgen_cli.evaluation import features
from tests.command import invoke
from tests.evaluation.conftest import StubExtractor


def main() -> None:
    torch.set_num_threads(1)
    features.load_inception = lambda *args, **kwargs: StubExtractor()  # type: ignore[assignment,return-value]
    for words, port in zip(json.loads(sys.argv[1]), json.loads(os.environ["PORTS"]), strict=True):
        os.environ["MASTER_PORT"] = str(port)
        result = invoke(*words)
        sys.stdout.write(result.stdout)
        sys.stderr.write(result.stderr)
        if result.exit_code:
            sys.exit(result.exit_code)


if __name__ == "__main__":
    main()
