"""The language model that everything starts from, its tokenizer, and what identifies its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core import arguments
from eqlin_core.dtypes import dtype_name
from eqlin_core.errors import EqlinError
from eqlin_core.models import four_bit
from eqlin_core.models.checkpoints import quiet
from eqlin_core.models.in_memory import view_of
from eqlin_core.models.sites import blocks_of, find_decoder, promised_blocks
from eqlin_core.models.token_strings import token_strings
from eqlin_core.reprs import Facts, ShortRepr, counted

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
else:  # importing these takes seconds, and names that exist only for a type checker break run-time checks of shapes
    PreTrainedConfig = PreTrainedModel = PreTrainedTokenizerBase = Any


@dataclass(eq=False, repr=False)
class LanguageModel(ShortRepr):
    """A causal language model in evaluation mode without gradients, its tokenizer, and what identifies its weights."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase | None
    name: str
    revision: str
    _runs_on: torch.device | None = field(default=None, init=False, repr=False)

    @classmethod
    def wrap(
        cls,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase | None = None,
        name: str | None = None,
        revision: str = "unsaved",
    ) -> LanguageModel:
        """A LanguageModel around a model that is built already, which is switched to evaluation without gradients.

        A model that soft-caps its attention scores is switched to eager attention: the fused kernel leaves the cap out.
        """
        if not hasattr(model, "get_input_embeddings") or not hasattr(model, "config"):
            arguments.wrong_type("model", model, "a causal language model of transformers")
        _check_names(tokenizer, name, revision)
        model.eval()
        model.requires_grad_(False)
        four_bit.keep_linear(model)
        text = model.config.get_text_config()
        if getattr(text, "attn_logit_softcapping", None) and text._attn_implementation == "sdpa":
            model.set_attn_implementation("eager")
        return cls(model, tokenizer, name or type(model).__name__, revision)

    @classmethod
    def from_model(
        cls, model: Any, tokenizer: PreTrainedTokenizerBase | None = None, *, name: str | None = None
    ) -> LanguageModel:
        """A LanguageModel of a transformers model in memory, fine-tuned or with adapters (PEFT), which stays untouched.

        Everything runs on a view: ``.model`` has modules and a configuration of its own, in evaluation mode and without
        gradients, and shares the weights, so that it takes no memory and follows further training in place. Raises
        EqlinError for what is no causal language model of transformers.
        """
        _check_names(tokenizer, name)
        view = view_of(model)
        if view.get_output_embeddings() is None:
            raise EqlinError(f"{type(view).__name__} has no unembedding: load it as a causal language model.")
        return cls.wrap(view, tokenizer, name or Path(view.config._name_or_path or type(view).__name__).name)

    def _facts(self) -> Facts:
        weight = self.model.get_input_embeddings().weight
        yield "model", self.name
        yield "family", self.text_config.model_type
        yield "blocks", counted(self.n_layers, "block")
        yield "width", f"d={self.width}"
        yield "dtype", dtype_name(weight.dtype)
        yield "device", "offloaded" if weight.is_meta else str(weight.device)

    @property
    def config(self) -> PreTrainedConfig:
        """The model's configuration as transformers keeps it."""
        return self.model.config

    @property
    def text_config(self) -> PreTrainedConfig:
        """The language part of the configuration: the configuration itself unless it nests one for text."""
        return self.model.config.get_text_config()

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of the embeddings, in which the residual stream starts."""
        return self._embedding().weight.dtype

    @property
    def device(self) -> torch.device:
        """The device of the embeddings, where token ids have to go; of offloaded ones, the device that they run on."""
        weight = self._embedding().weight
        if not weight.is_meta:
            return weight.device
        if self._runs_on is None:
            self._runs_on = self.input_embeddings.device
        return self._runs_on

    @property
    def width(self) -> int:
        """d, the width of the residual stream."""
        known = getattr(self.text_config, "hidden_size", None)
        return int(self.unembedding.shape[1] if known is None else known)

    @property
    def n_layers(self) -> int:
        """L, the number of decoder blocks, or of the runs of blocks where a model runs its blocks again and again."""
        promised = promised_blocks(self.text_config)
        blocks = blocks_of(self.decoder, promised)
        return promised if blocks is None else len(blocks)

    @property
    def decoder(self) -> Any:
        """The part of the model that takes embeddings to hidden states, and has the blocks."""
        return find_decoder(self.model, promised_blocks(self.text_config))

    @property
    def vocab_size(self) -> int:
        """The number of rows of the unembedding."""
        return int(self._head().weight.shape[0])

    @property
    def max_positions(self) -> int | None:
        """The longest prompt, in tokens, that the configuration allows; None where it names no limit."""
        limit = getattr(self.text_config, "max_position_embeddings", None)
        return None if limit is None or limit < 0 else int(limit)

    @property
    def unembedding(self) -> Float[Tensor, "vocab d"]:
        """W_U, one row for each vocabulary token; logits are W_U y. Raises EqlinError where the model has none."""
        return _present_weight(self._head())

    @property
    def input_embeddings(self) -> Float[Tensor, "vocab d"]:
        """The embedding matrix, before the factor by which some models scale its rows."""
        return _present_weight(self._embedding())

    def _embedding(self) -> Any:
        module: Any = self.model.get_input_embeddings()
        if not hasattr(module, "weight"):
            raise EqlinError(
                f"{type(self.model).__name__} reads {len(module)} tokens at once and predicts as many: none is next."
            )
        return module

    def _head(self) -> Any:
        head = self.model.get_output_embeddings()
        if head is None:
            raise EqlinError(f"{self.name} has no unembedding: load it as a causal language model.")
        return head

    def encode(self, prompt: str) -> list[int]:
        """The prompt's token ids, with the special tokens that the model's own tokenizer adds (a BOS, say).

        Raises EqlinError where the model has no tokenizer, and for what is no text that can be encoded.
        """
        arguments.text("prompt", prompt)
        if self.tokenizer is None:
            raise EqlinError(f"{self.name} has no tokenizer: pass token_ids=[...] in place of a prompt.")
        with quiet():
            return [int(i) for i in self.tokenizer(prompt)["input_ids"]]

    def token_strings(self, ids: Sequence[int]) -> list[str]:
        """The text each token stands for on its own; bytes that are no text read <0xE2>, unknown tokens <17>."""
        found = arguments.several("ids", ids, "a list of token ids")
        return token_strings(self.tokenizer, [arguments.whole("A token id", i, 0, 2**31 - 1) for i in found])


def checked_model(lm: Any) -> LanguageModel:
    """``lm`` itself, which a public function takes. Raises EqlinError for anything but a LanguageModel."""
    return arguments.instance("lm", lm, LanguageModel, "a LanguageModel, as load_model gives one")


def _check_names(tokenizer: Any, name: Any, revision: Any = "") -> None:
    if tokenizer is not None and (not callable(tokenizer) or not hasattr(tokenizer, "convert_ids_to_tokens")):
        arguments.wrong_type("tokenizer", tokenizer, "a tokenizer of transformers or None")
    if name is not None:
        arguments.text("name", name)
    arguments.text("revision", revision)


def _present_weight(module: Any) -> Tensor:
    """A module's weight, also where accelerate keeps it on the disk or in another memory until the module runs."""
    if not module.weight.is_meta:
        return module.weight
    from accelerate.utils import align_module_device  # noqa: PLC0415

    with align_module_device(module):
        return module.weight.detach()
