"""The tokens of a model, read without the model: torch and transformers stay out where its files say it all."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentflow.constraint import Vocabulary


def read_vocabulary(model: str) -> Vocabulary:
    """Read the tokens of a model, and nothing else of it.

    Args:
        model: ``"embedded"``, the folder of a checkpoint, or a name on the Hub.

    Raises:
        ModelNotFoundError: There is no such model.
        ConfigurationError: Its tokens do not spell bytes.
    """
    from agentflow.constraint import Vocabulary

    folder = _find_folder(model)
    tokenizer = read_tokenizer(folder)
    if tokenizer is None:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder)
    vocabulary = Vocabulary.from_tokenizer(tokenizer)
    if vocabulary.is_large:
        vocabulary.prepare()
    return vocabulary


@dataclass(frozen=True)
class FileTokenizer:
    """What `Vocabulary.from_tokenizer` looks at, from ``tokenizer.json`` and ``tokenizer_config.json``.

    Attributes:
        backend_tokenizer: A ``tokenizers.Tokenizer``.
        added_tokens_decoder: The tokens beside the merges, by id.
        eos_token_id: Token that ends the output.
    """

    backend_tokenizer: Any
    added_tokens_decoder: dict[int, Any]
    eos_token_id: int | None


def read_tokenizer(folder: Path) -> FileTokenizer | None:
    """Read the tokenizer of a checkpoint; `None` where transformers would add something to the file."""
    from tokenizers import Tokenizer

    paths = folder / "tokenizer.json", folder / "tokenizer_config.json"
    if not all(path.is_file() for path in paths):
        return None
    backend, config = Tokenizer.from_file(str(paths[0])), json.loads(paths[1].read_text(encoding="utf-8"))
    added = backend.get_added_tokens_decoder()
    listed = {int(number): token["content"] for number, token in config.get("added_tokens_decoder", {}).items()}
    end = config.get("eos_token")
    end = end["content"] if isinstance(end, dict) else end
    is_whole = all(number in added and added[number].content == content for number, content in listed.items())
    if not is_whole or (end is not None and backend.token_to_id(end) is None):
        return None
    return FileTokenizer(backend, added, None if end is None else backend.token_to_id(end))


def _find_folder(model: str) -> Path:
    import agentflow.embedded

    is_embedded = model == "embedded"
    folder = Path(agentflow.embedded.__path__[0]) / "checkpoint" if is_embedded else Path(model).expanduser()
    if (folder / "tokenizer.json").is_file():
        return folder
    from agentflow.backend.diffusion.loader import find_checkpoint

    return find_checkpoint(model)
