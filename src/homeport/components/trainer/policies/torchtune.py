"""torchtune: the command is completed with recipe, configuration and paths (upstream: ``torchtune.go``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from homeport.components.trainer import names
from homeport.components.trainer.draft import Draft
from homeport.kube import field, meta
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object

_ENTRY = ["tune", "run"]
_LLAMA_1B, _LLAMA_3B, _LLAMA_70B, _QWEN = "llama3_2/1B", "llama3_2/3B", "llama3_3/70B", "qwen2_5/1.5B"
_MODELS = frozenset((_LLAMA_1B, _LLAMA_3B, _LLAMA_70B, _QWEN))
_PATHS = frozenset(("output_dir", "tokenizer.path", "checkpointer.checkpoint_dir", "tokenizer.merges_file"))
"""What the runtime says, and jobs may not."""
_ONE_QLORA, _QLORA = "_qlora_single_device", "_qlora"


def is_meant(draft: Draft) -> bool:
    return list(draft.trainer.get("command") or ()) == _ENTRY


def complete(draft: Draft, container: Object, nodes: int, processes: int | str) -> None:
    words: list[str] = []
    several = processes > 1 if isinstance(processes, int) else draft.gpus > 1
    if nodes > 1 or several:
        words.append(f"--rdzv_endpoint={draft.head}:{names.PORT}")
    recipe, configuration = _recipe(draft, nodes, processes)
    words += [recipe, "--config", configuration]
    words += [word for word in container.get("command") or () if word.partition("=")[0] in _PATHS]
    draft.trainer["command"] = [*_ENTRY, *words]


def _model(draft: Draft) -> str:
    """By the runtime's name: ``torchtune-llama3.2-1b`` is ``llama3_2/1B``."""
    parts = str((meta.spec(draft.job).get("runtimeRef") or {}).get("name") or "").split("-")
    return f"{parts[1].replace('.', '_')}/{parts[2].upper()}" if len(parts) == 3 else ""


def _recipe(draft: Draft, nodes: int, processes: int | str) -> tuple[str, str]:
    arguments = draft.trainer.get("args") or ()
    lora, qlora = _has_lora(arguments), _has_qlora(arguments)
    if nodes == 1 and (processes == 1 or draft.gpus == 1):
        if qlora:
            recipe, suffix = "lora_finetune_single_device", _ONE_QLORA
        elif lora:
            recipe, suffix = "lora_finetune_single_device", "_lora_single_device"
        else:
            recipe, suffix = "full_finetune_single_device", "_full_single_device"
    elif nodes == 1 and (qlora or lora):
        recipe, suffix = "lora_finetune_distributed", _QLORA if qlora else "_lora"
    else:
        recipe, suffix = "full_finetune_distributed", "_full_multinode" if nodes > 1 else "_full"
    return recipe, _model(draft) + suffix


def _has_lora(arguments: Sequence[str]) -> bool:
    return any("model.lora_attn_modules" in argument for argument in arguments)


def _has_qlora(arguments: Sequence[str]) -> bool:
    return not _is_on(arguments, "model.use_dora") and _is_on(arguments, "model.quantize_base")


def _is_on(arguments: Sequence[str], key: str) -> bool:
    pairs = (argument.partition("=") for argument in arguments)
    return any(key in name and value.strip().lower() == "true" for name, _, value in pairs)


def validate(draft: Draft, processes: int | str) -> Iterator[FieldError]:
    model, trainer = _model(draft), draft.trainer
    name = (meta.spec(draft.job).get("runtimeRef") or {}).get("name")
    if model not in _MODELS:
        words = f"must have a supported pretrained model, invalid model configured: {model}"
        yield field.invalid("spec.runtimeRef.name", name, words)
    nodes = 1 if trainer.get("numNodes") is None else trainer["numNodes"]
    if nodes > 1 and model != _LLAMA_70B:
        yield field.invalid("spec.trainer.numNodes", nodes, f"must be 1 for {model} model")
    yield from _judge_qlora(draft, nodes, processes, model, name)
    arguments = trainer.get("args") or ()
    if nodes > 1 and (_has_lora(arguments) or _has_qlora(arguments)):
        words = "LoRA fine-tuning is not supported for multi-node training in TorchTune"
        yield field.invalid("spec.trainer.numNodes", nodes, words)
    for index, argument in enumerate(arguments):
        key = argument.partition("=")[0]
        if key in _PATHS:
            words = f'must not set immutable config "{key}" in trainer args; it is managed by the runtime'
            yield field.invalid(f"spec.trainer.args[{index}]", argument, words)


def _judge_qlora(draft: Draft, nodes: int, processes: int | str, model: str, name: str | None) -> Iterator[FieldError]:
    configuration = _recipe(draft, nodes, processes)[1]
    if _QLORA not in configuration:
        return
    if model == _QWEN:
        yield field.invalid("spec.runtimeRef.name", name, f"QLoRA is not supported for {model} model")
    if _ONE_QLORA not in configuration and model in (_LLAMA_1B, _LLAMA_3B):
        words = f"must be auto or 1 for {model} model when using QLoRA"
        yield field.invalid("spec.trainer.numProcPerNode", processes, words)
        words = f"must have gpu resource with value 1 for {model} model when using QLoRA"
        yield field.invalid("spec.trainer.resourcesPerNode", draft.trainer.get("resourcesPerNode"), words)
