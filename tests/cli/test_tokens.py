"""The tokens of a model, read from its files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import agentflow.embedded
from agentflow.cli.tokens import read_tokenizer, read_vocabulary

CHECKPOINT = Path(agentflow.embedded.__path__[0]) / "checkpoint"


@pytest.mark.slow
def test_the_files_say_what_transformers_says():
    """Both ways give the same bytes, ends and control tokens."""
    from transformers import AutoTokenizer

    from agentflow.constraint import Vocabulary

    quick, slow = read_vocabulary("embedded"), Vocabulary.from_tokenizer(AutoTokenizer.from_pretrained(CHECKPOINT))
    assert quick.token_bytes == slow.token_bytes
    assert (quick.end_ids, quick.control_ids) == (slow.end_ids, slow.control_ids)
    assert quick.encode('{"weekday": "Saturday"}') == slow.encode('{"weekday": "Saturday"}')


@pytest.mark.parametrize("change", [{"eos_token": "<nowhere>"}, {"added_tokens_decoder": {"9": {"content": "<new>"}}}])
def test_a_config_that_adds_to_the_file_is_left_to_transformers(tmp_path, change):
    """What only transformers can put together is not guessed."""
    (tmp_path / "tokenizer.json").write_bytes((CHECKPOINT / "tokenizer.json").read_bytes())
    config = json.loads((CHECKPOINT / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert read_tokenizer(tmp_path) is not None
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config | change))
    assert read_tokenizer(tmp_path) is None


@pytest.mark.slow
def test_a_schema_is_checked_without_torch(tmp_path):
    """The command once took five seconds to import what it did not use."""
    (tmp_path / "schema.json").write_text('{"type": "integer"}')
    code = (
        "import sys; from agentflow.cli.app import main; code = main(['schema', 'check', 'schema.json']);"
        "sys.exit(code or 'torch' in sys.modules or 'transformers' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", code]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=60)  # noqa: S603 # this interpreter
