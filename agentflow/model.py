"""`load_model` and `Model`: the edge where a concrete backend is chosen.

Nothing below the edge is imported before a model is loaded, so importing this module is quick and needs no torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias, TypeVar, overload

import anyio
from anyio.lowlevel import current_token

from agentflow.backend.base import Backend, DraftObserver
from agentflow.errors import (
    ConfigurationError,
    MalformedOutputError,
    ModelOutputError,
    OutputValidationError,
    TruncatedOutputError,
)
from agentflow.output import OutputType
from agentflow.types import (
    AssistantMessage,
    Generation,
    GenerationRequest,
    GenerationSettings,
    JsonSchema,
    JsonValue,
    Message,
    OnUnsupported,
    UserMessage,
)

T = TypeVar("T")

Mode: TypeAlias = Literal["diffusion", "autoregressive"]
"""How a checkpoint writes: whole canvases at a time, or token by token from left to right."""

MaskKind: TypeAlias = Literal["agentflow", "llguidance"]
"""Who computes the grammar mask of a left-to-right model."""


def load_model(
    name_or_path: str | Path,
    *,
    device: str | None = None,
    dtype: str | None = None,
    mode: Mode = "diffusion",
    mask: MaskKind = "agentflow",
    max_rows: int = 16,
    num_replicas: int = 1,
    is_compiled: bool = False,
) -> Model:
    """Load a model.

    Args:
        name_or_path: ``"embedded"``, the folder of a checkpoint, or a name on the Hub such as
            ``"google/diffusiongemma-26B-A4B-it"``.
        device: A torch device; ``None``: CUDA if there is any, else the CPU; ``"auto"``: spread over all devices by
            transformers' device map, which needs accelerate.
        dtype: ``"float32"``, ``"bfloat16"`` or ``"float16"``; ``None``: float32 on the CPU, else the checkpoint's own.
        mode: ``"autoregressive"`` decodes the same weights from left to right, to measure against.
        mask: For ``mode="autoregressive"``: whose grammar mask holds the output to its schemas.
        max_rows: Most requests that share a forward pass.
        num_replicas: With 2 or more, so many processes hold the whole model each and share the requests out among them:
            on a CPU many agents get more turns a second with as many replicas as cores, for as many times the memory.
            One agent is no faster.
        is_compiled: Compile denoising steps with `torch.compile`, for networks with experts on one device: loading
            takes about a minute longer the first time, a step starts fewer kernels. Outputs are equal up to rounding.

    Raises:
        ModelNotFoundError: There is no such model, or its weights are not here and cannot be fetched.
        ConfigurationError: An option makes no sense, or the folder holds something else.
        MissingDependencyError: `mask` is ``"llguidance"`` and it is not installed.

    Example:
        >>> with load_model("embedded") as model:
        ...     model.decode_sync(Invoice, "Extract: 3 pens, 4.50 EUR")
    """
    _check_options(mode=mode, mask=mask, max_rows=max_rows, num_replicas=num_replicas, is_compiled=is_compiled)
    make = partial(
        _make_backend,
        name_or_path,
        device=device,
        dtype=dtype,
        mode=mode,
        mask=mask,
        max_rows=max_rows,
        is_compiled=is_compiled,
    )
    if num_replicas == 1:
        return Model(make())
    from agentflow.backend.replicas import ReplicatedBackend

    num_threads = max((os.cpu_count() or 1) // num_replicas, 1)
    make = partial(make, is_replica=True)
    return Model(ReplicatedBackend(make, num_replicas=num_replicas, num_threads=num_threads))


def _check_options(*, mode: Mode, mask: MaskKind, max_rows: int, num_replicas: int, is_compiled: bool) -> None:
    if mode not in ("diffusion", "autoregressive"):
        raise ConfigurationError(f"mode must be 'diffusion' or 'autoregressive', got {mode!r}")
    if mask not in ("agentflow", "llguidance"):
        raise ConfigurationError(f"mask must be 'agentflow' or 'llguidance', got {mask!r}")
    if is_compiled and mode == "autoregressive":
        raise ConfigurationError("is_compiled is for denoising steps, and mode 'autoregressive' takes none")
    if max_rows < 1:
        raise ConfigurationError(f"max_rows must be at least 1, got {max_rows}")
    if num_replicas < 1:
        raise ConfigurationError(f"num_replicas must be at least 1, got {num_replicas}")


def _make_backend(
    name_or_path: str | Path,
    *,
    device: str | None,
    dtype: str | None,
    mode: Mode,
    mask: MaskKind,
    max_rows: int,
    is_compiled: bool,
    is_replica: bool = False,
) -> Backend:
    """Load a checkpoint and make its backend, in this process."""
    from agentflow.backend.diffusion.loader import load_checkpoint

    checkpoint = load_checkpoint(name_or_path, device=device, dtype=dtype, is_compiled=is_compiled)
    if is_replica and checkpoint.denoiser.device.type != "cpu":
        raise ConfigurationError(
            f"replicas are for CPUs, and {checkpoint.name!r} would be on {checkpoint.denoiser.device}, once for each",
            hint="leave num_replicas out: on a GPU one engine batches all requests; or pass device='cpu'",
        )
    if mode == "autoregressive":
        from agentflow.backend.autoregressive import AutoregressiveBackend

        return AutoregressiveBackend(checkpoint, mask=mask, max_rows=max_rows)
    from agentflow.backend.diffusion.backend import DiffusionBackend

    return DiffusionBackend(checkpoint, max_rows=max_rows)


class Model:
    """A model that writes turns and decodes values.

    It may be used from many tasks and threads at once. Use it as a context manager, sync or async, or `close` it.

    Attributes:
        backend: What does the work.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.backend.name

    async def generate(self, request: GenerationRequest, *, on_draft: DraftObserver | None = None) -> Generation:
        """Write one turn; see `agentflow.backend.base.Backend.generate`."""
        return await self.backend.generate(request, on_draft=on_draft)

    @overload
    async def decode(
        self,
        output_type: type[T],
        prompt: str | Sequence[Message],
        *,
        settings: GenerationSettings | None = None,
        on_unsupported: OnUnsupported | None = None,
        num_retries: int = 2,
        on_draft: DraftObserver | None = None,
    ) -> T: ...
    @overload
    async def decode(
        self,
        output_type: JsonSchema | Any,
        prompt: str | Sequence[Message],
        *,
        settings: GenerationSettings | None = None,
        on_unsupported: OnUnsupported | None = None,
        num_retries: int = 2,
        on_draft: DraftObserver | None = None,
    ) -> Any: ...
    async def decode(
        self,
        output_type: type[T] | JsonSchema | Any,
        prompt: str | Sequence[Message],
        *,
        settings: GenerationSettings | None = None,
        on_unsupported: OnUnsupported | None = None,
        num_retries: int = 2,
        on_draft: DraftObserver | None = None,
    ) -> T | JsonValue:
        """Answer a prompt with a value.

        Args:
            output_type: A pydantic class, a dataclass, a TypedDict, a union of these, a JSON Schema, or `str`.
            prompt: What to answer: text, or a whole conversation.
            settings: How to generate.
            on_unsupported: What happens to keywords of the schema that decoding cannot hold to. ``"raise"`` refuses the
                schema; ``"check"`` decodes without them, checks the answer with the `jsonschema` library, and asks
                again when it fails; ``None``: what `settings` say.
            num_retries: Tries after the first, when an answer fails that check.
            on_draft: Told about every draft.

        Returns:
            The value; for a JSON Schema, plain JSON.

        Raises:
            ConfigurationError: The type has no JSON form.
            SchemaError: The schema cannot be decoded to, or cannot fit the token budget.
            ContextLengthError: The prompt and the budget exceed the context.
            OutputValidationError: The answer breaks a rule that is not in the schema, or, without the constraint, any.
            TruncatedOutputError: Without the constraint: the budget ended before the answer.
        """
        output: OutputType[T] = OutputType(output_type)
        messages = (UserMessage(prompt),) if isinstance(prompt, str) else tuple(prompt)
        settings = settings or GenerationSettings()
        if on_unsupported is not None:
            settings = replace(settings, on_unsupported=on_unsupported)
        num_left = num_retries if settings.on_unsupported == "check" else 0
        while True:
            try:
                return await self._decode_once(output, messages, settings, on_draft)
            except (MalformedOutputError, OutputValidationError) as error:
                if not num_left:
                    raise
                messages = (*messages, AssistantMessage(error.text), UserMessage(_ask_again(error)))
            num_left -= 1
            settings = settings if settings.seed is None else replace(settings, seed=settings.seed + 1)

    async def _decode_once(
        self,
        output: OutputType[T],
        messages: tuple[Message, ...],
        settings: GenerationSettings,
        on_draft: DraftObserver | None,
    ) -> T:
        """Ask for an answer and read it."""
        request = GenerationRequest(
            messages=messages, tool_choice="none", output_schema=output.schema, settings=settings
        )
        generation = await self.backend.generate(request, on_draft=on_draft)
        text = generation.message.text
        if generation.finish_reason == "length" and not output.is_text:
            num_tokens = generation.usage.output_tokens
            raise TruncatedOutputError(f"the answer was cut off after {num_tokens} tokens", text=text)
        return output.parse(text, checks_schema=settings.on_unsupported == "check" and not output.is_text)

    @overload
    def decode_sync(
        self,
        output_type: type[T],
        prompt: str | Sequence[Message],
        *,
        settings: GenerationSettings | None = None,
        on_unsupported: OnUnsupported | None = None,
        num_retries: int = 2,
        on_draft: DraftObserver | None = None,
    ) -> T: ...
    @overload
    def decode_sync(
        self,
        output_type: JsonSchema | Any,
        prompt: str | Sequence[Message],
        *,
        settings: GenerationSettings | None = None,
        on_unsupported: OnUnsupported | None = None,
        num_retries: int = 2,
        on_draft: DraftObserver | None = None,
    ) -> Any: ...
    def decode_sync(
        self,
        output_type: type[T] | JsonSchema | Any,
        prompt: str | Sequence[Message],
        *,
        settings: GenerationSettings | None = None,
        on_unsupported: OnUnsupported | None = None,
        num_retries: int = 2,
        on_draft: DraftObserver | None = None,
    ) -> T | JsonValue:
        """Do what `decode` does, from code that is not async.

        Inside a running event loop (a notebook) it works too, in a thread of its own; the loop stands still meanwhile,
        so prefer ``await model.decode(...)`` there.
        """
        value: T | JsonValue = run_to_end(
            lambda: self.decode(
                output_type,
                prompt,
                settings=settings,
                on_unsupported=on_unsupported,
                num_retries=num_retries,
                on_draft=on_draft,
            )
        )
        return value

    def close(self) -> None:
        """Release the device and threads. Closing twice is harmless."""
        run_to_end(self.backend.aclose)

    async def aclose(self) -> None:
        """Do what `close` does, from async code."""
        await self.backend.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"Model({self.name!r}, {type(self.backend).__name__})"


def _ask_again(error: ModelOutputError) -> str:
    """Write what the model is told after an answer that fails the check."""
    return f"That cannot be used: {error.message}. Answer again, corrected."


def run_to_end(function: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run an async function to its end, in this thread or, where an event loop is running here, in one of its own."""
    try:
        current_token()
    except RuntimeError:  # no event loop is running in this thread
        return anyio.run(function)
    with ThreadPoolExecutor(1, thread_name_prefix="agentflow-sync") as executor:
        return executor.submit(anyio.run, function).result()
