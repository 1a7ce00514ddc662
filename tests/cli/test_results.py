"""Results on stdout are JSON whatever a name is made of."""

import json
import os
import subprocess
import sys

import pytest

from celebgen_cli.cli.results import print_json

PROGRAM = "import sys; from celebgen_cli.cli.results import print_json; print_json({'name': sys.argv[1]})"


@pytest.mark.skipif(sys.platform != "linux", reason="a system where a name may be any bytes")
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("name", [b"bad\xff", "größe".encode(), b"plain"])
def test_any_name_is_valid_json(name: bytes, encoding: str) -> None:
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "1"}
    out = subprocess.run([sys.executable, "-c", PROGRAM, name], stdout=subprocess.PIPE, check=True, env=environment)
    assert json.loads(out.stdout.decode(encoding))["name"] == os.fsdecode(name)


def test_what_json_does_not_have_is_no_result() -> None:
    with pytest.raises(ValueError, match="JSON"):
        print_json({"fid": float("nan")})
