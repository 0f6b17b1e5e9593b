"""Reading a checkpoint: a folder, a name on the Hub, or the model that ships with agentflow.

All of them go through transformers' `from_pretrained`. A checkpoint folder may carry an `agentflow.json` next to its
`config.json`; it says how the model wants to be used, see `Profile`. A model that is not here and cannot be fetched is
an error at once: the cache is looked at first, and the network is asked once, with a short time limit.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from agentflow.backend.diffusion.compiled import CompiledDenoiser
from agentflow.backend.diffusion.denoiser import Denoiser
from agentflow.backend.diffusion.packed import PackedDenoiser
from agentflow.backend.diffusion.sampler import SamplerConfig
from agentflow.errors import ConfigurationError, MissingDependencyError, ModelNotFoundError

_EMBEDDED = Path(__file__).parents[2] / "embedded" / "checkpoint"
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_HUB_FILES = ["*.json", "*.jinja", "*.safetensors", "*.model"]
_NETWORK_TIMEOUT_S = 5.0
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Profile:
    """How a checkpoint wants to be used; read from its `agentflow.json`. The defaults fit the released checkpoints.

    Attributes:
        grounded: Limit free strings and numbers to spans of the conversation unless the request says otherwise.
        has_empty_thought: Whether the place where the model writes next begins with a thought that is already closed.
        canvas_length: Positions of a canvas; ``None``: what `config.json` says.
        max_new_tokens: Budget of a turn when the request sets none; ``None``: what `generation_config.json` says.
        tail_token: Token with which it was trained to fill a canvas behind the end token. With it, the tail is scored
            and the model's belief about the length counts; ``None``: the tail is free.
        checked: Check every draft with the causal encoder unless the request says otherwise.
    """

    grounded: bool = False
    has_empty_thought: bool = True
    canvas_length: int | None = None
    max_new_tokens: int | None = None
    tail_token: str | None = None
    checked: bool = False

    @classmethod
    def read(cls, folder: Path) -> Profile:
        """Read `agentflow.json` in `folder`; without one, the profile of a released checkpoint.

        Raises:
            ConfigurationError: The file is no JSON object or has an unknown field.
        """
        path = folder / "agentflow.json"
        if not path.exists():
            return cls()
        values = _read_json(path)
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise ConfigurationError(f"{path} has the unknown fields {unknown}")
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint in memory.

    Attributes:
        name: What it was asked for as.
        denoiser: The network.
        tokenizer: Its Hugging Face fast tokenizer.
        sampler_config: How it wants to be denoised.
        end_ids: Tokens that end a turn.
        max_new_tokens: Budget of a turn when the request sets none.
        profile: How it wants to be used.
    """

    name: str
    denoiser: Denoiser
    tokenizer: Any
    sampler_config: SamplerConfig
    end_ids: frozenset[int]
    max_new_tokens: int
    profile: Profile


def load_checkpoint(
    name_or_path: str | Path, *, device: str | None = None, dtype: str | None = None, is_compiled: bool = False
) -> Checkpoint:
    """Load a DiffusionGemma checkpoint.

    Args:
        name_or_path: ``"embedded"``, a folder, or a name on the Hub such as ``"google/diffusiongemma-26B-A4B-it"``.
        device: A torch device; ``None``: CUDA if there is any, else the CPU; ``"auto"``: spread over all devices by
            transformers' device map, which needs accelerate.
        dtype: ``"float32"``, ``"bfloat16"`` or ``"float16"``; ``None``: float32 on the CPU, else the checkpoint's own;
            a quantised checkpoint keeps what it says of itself. A network without experts in bfloat16 keeps its state
            in float32 and rounds what its products take.
        is_compiled: Compile denoising steps, see `CompiledDenoiser`.

    Raises:
        MissingDependencyError: The checkpoint's quantisation, or ``"auto"``, needs a package that is not installed.
        ModelNotFoundError: There is no such model, or its weights are not here and cannot be fetched.
        ConfigurationError: The folder holds something else, device or dtype make no sense, or the steps of this network
            cannot be compiled.
    """
    chosen_device = _choose_device(device)
    if is_compiled and chosen_device is None:
        raise ConfigurationError(
            "a network that is spread over devices cannot be compiled",
            hint="choose one device, or leave is_compiled out",
        )
    _choose_dtype(dtype, chosen_device, is_quantized=False)  # a wrong one is said before anything is fetched
    folder = find_checkpoint(name_or_path)
    config = _read_config(folder)
    chosen_dtype = _choose_dtype(dtype, chosen_device, is_quantized="quantization_config" in config)
    profile = Profile.read(folder)
    with _quiet():
        # our own pass keeps a small network's state in float32 and multiplies in the precision that was asked for
        weights_dtype = torch.float32 if _is_dense(config) and chosen_dtype == torch.bfloat16 else chosen_dtype
        model = _load_model(folder, config, device=chosen_device, dtype=weights_dtype)
        tokenizer = _load_tokenizer(folder)
    if weights_dtype != chosen_dtype and not PackedDenoiser.can_run(model):
        model = model.to(chosen_dtype)  # it goes through transformers' modules, which know one precision
    if profile.canvas_length is not None:
        model.config.canvas_length = profile.canvas_length
    generation_config = model.generation_config
    return Checkpoint(
        name=str(name_or_path),
        denoiser=_make_denoiser(model, chosen_dtype, is_compiled=is_compiled),
        tokenizer=tokenizer,
        sampler_config=replace(SamplerConfig.from_generation_config(generation_config), is_checked=profile.checked),
        end_ids=_end_ids(generation_config, model.config),
        max_new_tokens=profile.max_new_tokens or generation_config.max_new_tokens or model.config.canvas_length,
        profile=profile,
    )


def _make_denoiser(model: Any, dtype: torch.dtype | str, *, is_compiled: bool) -> Denoiser:
    if not PackedDenoiser.can_run(model):
        return CompiledDenoiser(model) if is_compiled else Denoiser(model)
    if is_compiled:
        raise ConfigurationError(
            "networks without experts have passes of their own, which torch.compile does not take",
            hint="leave is_compiled out",
        )
    return PackedDenoiser(model, product_dtype=dtype if isinstance(dtype, torch.dtype) else torch.float32)


def _is_dense(config: dict[str, Any]) -> bool:
    return not config["text_config"].get("num_experts")


def find_checkpoint(name_or_path: str | Path) -> Path:
    """The folder of a checkpoint, fetched from the Hub if need be and possible.

    Raises:
        ModelNotFoundError: See `load_checkpoint`.
    """
    name = str(name_or_path)
    folder = _EMBEDDED if name == "embedded" else Path(name).expanduser()
    if folder.is_dir():
        if not _has_weights(folder):
            raise ModelNotFoundError(
                f"{folder} holds no *.safetensors, or not all of them", hint="point to the folder of a whole checkpoint"
            )
        return folder
    if name == "embedded":
        raise ModelNotFoundError(f"the embedded model is missing: {folder}", hint="reinstall agentflow-diffusion")
    if isinstance(name_or_path, Path) or not _HUB_NAME.fullmatch(name):
        raise ModelNotFoundError(
            f"no model {name!r}", hint='use "embedded", the folder of a checkpoint, or a name on the Hub (owner/model)'
        )
    return _find_on_hub(name)


def _find_on_hub(name: str) -> Path:
    from huggingface_hub import constants, snapshot_download

    try:
        folder = Path(snapshot_download(name, local_files_only=True))
    except OSError:  # nothing of it is in the cache
        folder = None
    if folder is not None and (folder / "config.json").exists() and _has_weights(folder):
        return folder
    if constants.HF_HUB_OFFLINE:
        raise ModelNotFoundError(
            f"{name!r} is not in the local cache and HF_HUB_OFFLINE forbids to fetch it", hint=_how_to_fetch(name)
        )
    _require_on_hub(name)
    return Path(snapshot_download(name, allow_patterns=_HUB_FILES, etag_timeout=_NETWORK_TIMEOUT_S))


def _require_on_hub(name: str) -> None:
    """Ask the Hub once whether the model is there and may be read."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    try:
        HfApi().model_info(name, timeout=_NETWORK_TIMEOUT_S)
    except GatedRepoError as error:
        raise ModelNotFoundError(
            f"{name!r} is gated", hint="accept its terms on the Hub, then `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelNotFoundError(f"the Hub has no model {name!r}", hint="check the name and `hf auth login`") from error
    except HfHubHTTPError as error:
        raise ModelNotFoundError(f"the Hub did not give {name!r}: {error}", hint=_how_to_fetch(name)) from error
    except Exception as error:  # the HTTP library's own tree, which differs between versions of huggingface_hub
        raise ModelNotFoundError(
            f"{name!r} is not in the local cache and the Hub cannot be reached ({type(error).__name__})",
            hint=_how_to_fetch(name),
        ) from error


def _how_to_fetch(name: str) -> str:
    return f"on a machine with network run `hf download {name} --local-dir FOLDER`, then load_model('FOLDER')"


def _has_weights(folder: Path) -> bool:
    """Whether the weights are there; of a sharded checkpoint, every shard."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        return all((folder / shard).exists() for shard in set(_read_json(index)["weight_map"].values()))
    return any(folder.glob("*.safetensors"))


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.exists():
        raise ConfigurationError(f"{folder} is no checkpoint: it has no config.json")
    config = _read_json(path)
    if config.get("model_type") != "diffusion_gemma":
        raise ConfigurationError(
            f"{folder} holds a model of type {config.get('model_type')!r}, needed is 'diffusion_gemma'"
        )
    return config


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigurationError(f"{path} is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise ConfigurationError(f"{path} must hold a JSON object, it holds a {type(value).__name__}")
    return value


def _load_model(folder: Path, config: dict[str, Any], *, device: torch.device | None, dtype: torch.dtype | str) -> Any:
    """Read the weights; without a device, transformers chooses one for each part."""
    from transformers import DiffusionGemmaForBlockDiffusion

    quantization = config.get("quantization_config")
    options: dict[str, Any] = {"local_files_only": True, "dtype": dtype}
    if _is_dense(config):
        options["experts_implementation"] = "eager"  # the fused ones cannot do without experts
    if device is None:
        options["device_map"] = "auto"
    elif (device.type != "cpu" or quantization) and find_spec("accelerate") is not None:
        options["device_map"] = {"": device}  # weights go to the device as they are read
    if device is None and find_spec("accelerate") is None:
        raise MissingDependencyError("device 'auto' needs accelerate", hint="pip install accelerate")
    try:
        model = DiffusionGemmaForBlockDiffusion.from_pretrained(folder, **options)
    except ImportError as error:
        method = quantization.get("quant_method", "unknown") if isinstance(quantization, dict) else "none"
        raise MissingDependencyError(
            f"{folder} (quantisation: {method}) needs a package that is not installed: {str(error).strip()}",
            hint="install it, or load a checkpoint that is not quantised",
        ) from error
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        raise ConfigurationError(f"{folder} cannot be loaded as DiffusionGemma: {error}") from error
    return model if device is None or quantization else model.to(device)  # quantised weights stay where they are


def _load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ModelNotFoundError(f"{folder} has no tokenizer: {error}", hint="add tokenizer.json") from error
    if not tokenizer.is_fast:
        raise ConfigurationError(f"the tokenizer of {folder} is no fast tokenizer", hint="add tokenizer.json")
    return tokenizer


def _end_ids(generation_config: Any, config: Any) -> frozenset[int]:
    ids = generation_config.eos_token_id
    if ids is None:
        ids = config.text_config.eos_token_id
    return frozenset([ids] if isinstance(ids, int) else ids)


def _choose_device(device: str | None) -> torch.device | None:
    """The device; ``None``: as transformers' device map says."""
    if device == "auto":
        return None
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ConfigurationError(f"{device!r} is no device: {error}") from error
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ConfigurationError(
            f"device {device!r} was asked for, torch sees {torch.cuda.device_count()} CUDA devices"
        )
    return chosen


def _choose_dtype(dtype: str | None, device: torch.device | None, *, is_quantized: bool) -> torch.dtype | str:
    if dtype is None:
        is_on_cpu = device.type == "cpu" if device is not None else not torch.cuda.is_available()
        return torch.float32 if is_on_cpu and not is_quantized else "auto"
    if dtype not in _DTYPES:
        raise ConfigurationError(f"dtype {dtype!r} is not one of {sorted(_DTYPES)}")
    return _DTYPES[dtype]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' progress bars out of the terminal, and torch's remark on a router of no experts."""
    from transformers.utils import logging

    is_showing = logging.is_progress_bar_enabled()
    if is_showing:
        logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Initializing zero-element tensors")
            yield
    finally:
        if is_showing:
            logging.enable_progress_bar()
