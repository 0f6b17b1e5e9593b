"""One denoising step of the released shape on a GPU, against what it must move; and the kernels of the posterior alone.

    python benchmarks/gpu.py [--canvases 1,2,4,8,16,32] [--context 512] [--budget-s 440] [--json FILE]
    python benchmarks/gpu.py --small                        # a tiny network on the CPU, to see that the script runs

The network has the shape of DiffusionGemma 26B-A4B and random weights in bf16, made on the device; nothing is
downloaded. A step is: decoder, posterior of a schema for every canvas, one joint draw, self-conditioning signal; the
decoder goes through transformers' modules and, in the figures that begin with `compiled_`, through `torch.compile`. The
floor of a step is the larger of bytes / bandwidth and operations / speed, both measured here: bytes are the weights
that the step reads (with 256 tokens a canvas, all experts), the keys and values of the contexts, and the logits,
written and read once. Tokens per second are for 16 steps per canvas, all positions counted, which is how they are
published. Every part is timed with the device synchronised; medians. What does not fit into memory or the time budget
is said so.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agentflow.backend.diffusion.compiled import CompiledDenoiser
from agentflow.backend.diffusion.denoiser import Denoiser
from agentflow.backend.diffusion.untrained import build_config
from agentflow.bench.machine import this_machine
from agentflow.constraint import Constraint, Vocabulary, compile_constraint, condition, json_grammar
from agentflow.errors import ConfigurationError

STEPS_PER_CANVAS = 16
RELEASED: dict[str, Any] = {
    "vocab_size": 262_144, "canvas_length": 256, "num_experts": 128, "top_k_experts": 8, "hidden_size": 2816,
    "intermediate_size": 2112, "moe_intermediate_size": 704, "num_hidden_layers": 30, "num_attention_heads": 16,
    "num_key_value_heads": 8, "head_dim": 256, "global_head_dim": 512, "num_global_key_value_heads": 2,
    "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 5, "sliding_window": 1024,
    "max_position_embeddings": 262_144,
}  # fmt: skip
SMALL: dict[str, Any] = {"vocab_size": 512, "canvas_length": 32}
SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer", "minimum": 1, "maximum": 16},
        "unit": {"enum": ["celsius", "fahrenheit"]},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 4},
    },
    "required": ["city", "days"],
}


class Clock:
    """Times parts of a run on one device, within a budget."""

    def __init__(self, device: torch.device, budget_s: float) -> None:
        self._device = device
        self._end = time.monotonic() + budget_s

    @property
    def is_over(self) -> bool:
        """Whether the budget is spent."""
        return time.monotonic() > self._end

    def synchronize(self) -> None:
        """Wait for the device."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def median_ms(self, work: Callable[[], object], *, repeats: int) -> float:
        """Give the median of `repeats` runs in milliseconds, after one that does not count."""
        work()
        times = []
        for _ in range(repeats):
            self.synchronize()
            begin = time.perf_counter()
            work()
            self.synchronize()
            times.append(1e3 * (time.perf_counter() - begin))
        return statistics.median(times)


# ------------------------------------------------------------ the network


@contextmanager
def parameters_on_meta() -> Iterator[None]:
    """Make modules without memory for their parameters; buffers are real."""
    register = torch.nn.Module.register_parameter

    def register_meta(module: torch.nn.Module, name: str, parameter: torch.nn.Parameter | None) -> None:
        if parameter is not None and parameter.device.type != "meta":
            parameter = torch.nn.Parameter(parameter.to("meta"), requires_grad=False)
        register(module, name, parameter)

    torch.nn.Module.register_parameter = register_meta  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        torch.nn.Module.register_parameter = register  # type: ignore[method-assign]


def make_model(shape: dict[str, Any], device: torch.device, dtype: torch.dtype) -> Any:
    """Give a network with random weights, each made once on the device; encoder and decoder share theirs."""
    from transformers import DiffusionGemmaForBlockDiffusion

    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with parameters_on_meta():
            model = DiffusionGemmaForBlockDiffusion(build_config(**shape))
    finally:
        torch.set_default_dtype(before)
    model.model.encoder.vision_tower = None
    model.tie_weights()
    made: dict[int, torch.nn.Parameter] = {}
    generator = torch.Generator(device=device).manual_seed(0)
    for module in model.modules():
        for name, parameter in module._parameters.items():  # noqa: SLF001 - tied parameters stay one
            if parameter is not None:
                if id(parameter) not in made:
                    made[id(parameter)] = _random(parameter, device, generator)
                module._parameters[name] = made[id(parameter)]  # noqa: SLF001
        for name, buffer in module._buffers.items():  # noqa: SLF001
            module._buffers[name] = None if buffer is None else buffer.to(device)  # noqa: SLF001
    return model.eval()


def _random(parameter: torch.nn.Parameter, device: torch.device, generator: torch.Generator) -> torch.nn.Parameter:
    weights = torch.empty(parameter.shape, dtype=parameter.dtype, device=device)
    if weights.ndim > 1:
        weights.normal_(0.0, 0.02, generator=generator)
    else:
        weights.fill_(1.0)
    return torch.nn.Parameter(weights, requires_grad=False)


# ------------------------------------------------------------ the parts


def measure_device(clock: Clock, device: torch.device, *, num_bytes: int) -> dict[str, float]:
    """Read memory, and multiply matrices: what the device gives to a kernel that does nothing else."""
    data = torch.ones(num_bytes // 2, dtype=torch.bfloat16, device=device)
    read_ms = clock.median_ms(data.view(torch.int16).max, repeats=5)
    copy_ms = clock.median_ms(data.clone, repeats=5)
    side = 8192 if device.type == "cuda" else 256
    matrix = torch.ones(side, side, dtype=torch.bfloat16 if device.type == "cuda" else torch.float32, device=device)
    product_ms = clock.median_ms(lambda: matrix @ matrix, repeats=5)
    return {
        "read_gb_per_s": num_bytes / read_ms / 1e6,
        "copy_gb_per_s": 2 * num_bytes / copy_ms / 1e6,
        "product_tflops": 2 * side**3 / product_ms / 1e9,
    }


def floor_ms(model: Any, device_speed: dict[str, float], *, num_canvases: int, key_bytes: int) -> dict[str, float]:
    """Give what a step must move and compute, and the time that takes at the measured speeds."""
    text = model.config.text_config
    decoder = {id(p): p for p in model.model.decoder.parameters()}
    weights = sum(p.nbytes for p in decoder.values())
    positions = num_canvases * model.config.canvas_length
    share = text.top_k_experts / text.num_experts if text.num_experts else 1.0
    active = sum(
        p.numel() * (share if "experts" in name else 1.0) for name, p in model.model.decoder.named_parameters()
    )
    logits = 2 * 4 * positions * text.vocab_size  # written once and read once, float32
    signal = 2 * positions * text.vocab_size * text.hidden_size  # self-conditioning: beliefs times embeddings
    operations = 2 * active * positions + signal
    speed = max(device_speed["read_gb_per_s"], device_speed["copy_gb_per_s"])
    memory_ms = (weights + key_bytes + logits) / speed / 1e6
    product_ms = operations / device_speed["product_tflops"] / 1e9
    return {
        "gigabytes": (weights + key_bytes + logits) / 1e9,
        "teraflop": operations / 1e12,
        "memory_ms": memory_ms,
        "product_ms": product_ms,
        "floor_ms": max(memory_ms, product_ms),
    }


class Step:
    """The canvases of one batch, and the parts of a step over them."""

    def __init__(self, denoiser: Denoiser, constraint: Constraint, *, num_canvases: int, context: int) -> None:
        self._denoiser, self._constraint = denoiser, constraint
        generator = torch.Generator().manual_seed(1)
        prompt = denoiser.open_context()
        denoiser.read_inplace(prompt, torch.randint(denoiser.vocab_size, (context,), generator=generator).tolist())
        self.key_bytes = num_canvases * prompt.num_bytes
        self._batch = denoiser.stack([prompt.fork() for _ in range(num_canvases)])
        shape = (num_canvases, denoiser.canvas_length)
        self.canvases = torch.randint(denoiser.vocab_size, shape, generator=generator).to(denoiser.device)  # (B, L)
        self.signals = torch.zeros(*shape, denoiser.hidden_size, dtype=denoiser.dtype, device=denoiser.device)

    def denoise(self) -> Tensor:
        """Predict, ``(B, L, V)``."""
        return self._denoiser.denoise(self.canvases, self.signals, self._batch)

    def plain(self) -> None:
        """Run a step without a schema, in PyTorch operations."""
        probs = torch.softmax(self.denoise(), dim=-1)  # (B, L, V)
        self.canvases = torch.multinomial(probs.flatten(0, 1), 1).view(self.canvases.shape)  # (B, L)
        self.signals = self._denoiser.soft_embed(probs)  # (B, L, H)

    def constrained(self) -> None:
        """Run a step with a schema on every canvas."""
        posterior = condition_canvases(self.denoise(), self._constraint)
        self.canvases = posterior.sample().to(self.canvases)  # (B, L)
        self.signals = self._denoiser.soft_embed(posterior.marginals())  # (B, L, H)


def condition_canvases(logits: Tensor, constraint: Constraint) -> Any:
    """Condition every canvas on the schema, on the device where there is one."""
    num_canvases = len(logits)
    if not (logits.is_cuda and find_spec("triton")):
        return condition(logits.log_softmax(-1), [constraint] * num_canvases, [0] * num_canvases,
                         num_tokens_left=[0] * num_canvases)  # fmt: skip
    from agentflow.constraint.device_trellis import condition_logits

    return condition_logits(
        logits,
        [constraint] * num_canvases,
        [0] * num_canvases,
        num_tokens_left=[0] * num_canvases,
        temperature=torch.full((num_canvases,), 0.8, device=logits.device),
        seeds=torch.arange(num_canvases, device=logits.device),
    )


def measure_kernels(clock: Clock, constraint: Constraint, device: torch.device, *, shape: tuple[int, ...]) -> Any:
    """Time the constraint alone over logits of `shape`, beside PyTorch's softmax over them."""
    logits = torch.randn(shape, device=device)
    made = condition_canvases(logits, constraint)
    result = {
        "shape": list(shape),
        "softmax_ms": clock.median_ms(lambda: logits.softmax(-1), repeats=5),
        "condition_ms": clock.median_ms(lambda: condition_canvases(logits, constraint), repeats=5),
        "condition_entropies_and_draw_ms": clock.median_ms(
            lambda: _use(condition_canvases(logits, constraint)), repeats=5
        ),
        "marginals_ms": clock.median_ms(made.marginals, repeats=3),
    }
    if device.type == "cuda" and find_spec("triton"):
        result |= _measure_against_host(constraint, logits[:1])
    return result


def _use(posterior: Any) -> None:
    posterior.entropies  # noqa: B018 - computed when asked for
    posterior.sample()


def _measure_against_host(constraint: Constraint, logits: Tensor) -> dict[str, float]:
    """Compare one canvas with the sums on the CPU."""
    device = condition_canvases(logits, constraint)
    log_probs = (logits / 0.8).double().log_softmax(-1).cpu()
    host = condition(log_probs, [constraint], [0], num_tokens_left=[0])
    drawn = device.sample()[0].tolist()
    return {
        "largest_entropy_error": float((device.entropies.cpu() - host.entropies).abs().max()),
        "log_partition_error": float((device.log_partition.cpu() - host.log_partition).abs().max()),
        "is_draw_valid": float(constraint.is_accepting(constraint.advance(0, drawn))),
    }


def make_vocabulary(num_tokens: int) -> Vocabulary:
    """Give a vocabulary of bytes, the pieces of the schema and made-up words."""
    generator = np.random.default_rng(0)
    letters = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz ", np.uint8)
    texts = {bytes([b]) for b in range(256)}
    texts |= {b'":"', b'","', b'{"', b'"}', b'":', b',"', b"city", b"days", b"unit", b"tags", b"celsius"}
    while len(texts) < num_tokens - 1:
        texts |= {w.tobytes() for w in generator.choice(letters, (num_tokens, int(generator.integers(2, 9))))}
    pieces: list[bytes | None] = [None, *sorted(texts, key=lambda t: (len(t) > 1, t))[: num_tokens - 1]]
    return Vocabulary(pieces, {0})


# ------------------------------------------------------------ the run


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run all parts and give the record."""
    device = torch.device("cpu" if options.small or not torch.cuda.is_available() else "cuda")
    clock = Clock(device, options.budget_s)
    shape = SMALL if options.small else RELEASED
    dtype = torch.float32 if options.small else torch.bfloat16
    constraint = compile_constraint(json_grammar(SCHEMA, is_strict=True), make_vocabulary(shape["vocab_size"]))
    record: dict[str, Any] = {
        "machine": dataclasses.asdict(this_machine()),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "triton": find_spec("triton") is not None,
        "constraint": constraint.statistics()._asdict(),
        "left_out": [],
    }
    record["speed"] = measure_device(clock, device, num_bytes=(1 << 24) if options.small else (1 << 32))
    try:
        num_kernel_canvases = 2 if options.small else 8
        record["kernels"] = measure_kernels(
            clock, constraint, device, shape=(num_kernel_canvases, shape["canvas_length"], shape["vocab_size"])
        )
    except Exception as error:  # noqa: BLE001 - a kernel that fails must not cost the other figures
        record["left_out"].append(f"kernels: {type(error).__name__}: {str(error)[:400]}")
    _free(device)
    begin = time.perf_counter()
    model = make_model(shape, device, dtype)
    clock.synchronize()
    unique = {id(p): p for p in model.parameters()}
    record["model"] = {
        "billion_parameters": sum(p.numel() for p in unique.values()) / 1e9,
        "gigabytes": sum(p.nbytes for p in unique.values()) / 1e9,
        "make_s": time.perf_counter() - begin,
    }
    record["steps"] = list(measure_steps(model, constraint, clock, record, options))
    return record


def measure_steps(
    model: Any, constraint: Constraint, clock: Clock, record: dict[str, Any], options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Time a step for each number of canvases."""
    denoisers = make_denoisers(model, clock, record)
    canvas_length, device = denoisers[""].canvas_length, denoisers[""].device
    for num_canvases in options.canvases:
        if clock.is_over:
            record["left_out"].append(f"{num_canvases} canvases: the time budget is spent")
            continue
        row: dict[str, Any] = {"canvases": num_canvases}
        try:
            for prefix, denoiser in denoisers.items():
                step = Step(denoiser, constraint, num_canvases=num_canvases, context=options.context)
                row |= floor_ms(model, record["speed"], num_canvases=num_canvases, key_bytes=step.key_bytes)
                parts = {"denoise": step.denoise, "plain_step": step.plain, "constrained_step": step.constrained}
                for name, work in parts.items():
                    row[f"{prefix}{name}_ms"] = clock.median_ms(work, repeats=options.repeats)
                del step, parts, work
        except (torch.OutOfMemoryError, RuntimeError) as error:
            record["left_out"].append(f"{num_canvases} canvases: {type(error).__name__}: {str(error)[:400]}")
        for prefix in denoisers:
            constrained, denoise = row.get(f"{prefix}constrained_step_ms"), row.get(f"{prefix}denoise_ms")
            if constrained is not None and denoise is not None:
                row[f"{prefix}tokens_per_s"] = 1e3 * num_canvases * canvas_length / (STEPS_PER_CANVAS * constrained)
                row[f"{prefix}denoise_over_floor"] = denoise / row["floor_ms"]
        if device.type == "cuda":
            row["peak_memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
        yield row
        _free(device)


def make_denoisers(model: Any, clock: Clock, record: dict[str, Any]) -> dict[str, Denoiser]:
    """Give the network through transformers' modules and compiled, by the prefix of its figures."""
    denoisers = {"": Denoiser(model)}
    begin = time.perf_counter()
    try:
        denoisers["compiled_"] = CompiledDenoiser(model)
        clock.synchronize()
        record["compile_s"] = time.perf_counter() - begin
    except ConfigurationError as error:
        record["left_out"].append(f"compiled steps: {str(error)[:400]}")
    return denoisers


def _free(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def report(record: dict[str, Any]) -> None:
    """Print the tables and the JSON line."""
    print(f"device {record['device']}, {record['speed']}")
    print(f"model {record['model']}")
    print(f"kernels {record.get('kernels')}")
    columns = ("canvases", "floor_ms", "memory_ms", "product_ms", "denoise_ms", "plain_step_ms", "constrained_step_ms",
               "compiled_denoise_ms", "compiled_constrained_step_ms", "tokens_per_s", "compiled_tokens_per_s",
               "peak_memory_gb")  # fmt: skip
    print("".join(f"  {name}" for name in columns))
    for row in record["steps"]:
        cells = {name: f"{row[name]:.2f}" if name in row else "-" for name in columns}
        print("".join(f"{cell:>{len(name) + 2}}" for name, cell in cells.items()))
    for line in record["left_out"]:
        print("left out:", line)
    print(json.dumps(record))


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--canvases", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--context", type=int, default=512, help="tokens of each prompt")
    parser.add_argument("--repeats", type=int, default=5, help="steps that count, after one that does not")
    parser.add_argument("--budget-s", type=float, default=440.0, help="begin nothing new after this time")
    parser.add_argument("--small", action="store_true", help="a tiny network on the CPU")
    parser.add_argument("--json", type=Path, help="default: $OUT/gpu.json, or benchmarks/results/gpu.json")
    return parser.parse_args()


def main() -> None:
    """Run the benchmark."""
    options = parse()
    folder = Path(os.environ["OUT"]) if "OUT" in os.environ else Path(__file__).parent / "results"
    target = options.json or folder / "gpu.json"
    with torch.inference_mode():
        record = measure(options)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    report(record)


if __name__ == "__main__":
    main()
