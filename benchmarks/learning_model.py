"""A small Llama that half knows arithmetic: the policy of benchmarks/learning.py.

    problems = make_problems(seed)
    model = supervised(problems, seed)
    responses = sample(model, problems.train_prompts, generator)

Problems are `37+58=`, `4-91=` and `63*7=`, one character a token. Prompts are padded with spaces in front to six
tokens, so no attention mask is needed: a response's padding comes after its end, where a causal model does not look.
A response is digits and an end token, at most five tokens; without the end token it is wrong, as if truncated.

Many of the model's examples forget to carry, so it learns a right and a wrong way, and RL can tell them apart. Without
a carry both ways are right, and some operations are taught badly, so values spread over (0, 1).

Because only one response is right, the success probability of a prompt is the probability of that response. One forward
pass computes it without sampling, so `success` is exact; the accuracy of a large model can only be estimated.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import LlamaConfig, LlamaForCausalLM

PROMPT_TOKENS = 6
RESPONSE_TOKENS = 5
ALPHABET = "0123456789+-*= "
END = len(ALPHABET)
PAD = END + 1
SHARES = {"+": 0.4, "-": 0.45, "*": 0.15}
"""Shares of operators in the training and the held-out prompts."""
SUPERVISED_SHARES = {"+": 0.4, "-": 0.4, "*": 0.2}
RIGHT = {"+": 0.7, "-": 0.55, "*": 0.5}
"""For the supervised examples: the share of each operator, and the share of its answers that are right."""
SUPERVISED_STEPS, SUPERVISED_BATCH = 2000, 128
N_TRAIN, N_HELD_OUT = 2048, 512

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Problems:
    """Prompts and right responses as token ids; training, held-out and supervised ones share no problem."""

    train_prompts: torch.Tensor
    train_golds: torch.Tensor
    held_out_prompts: torch.Tensor
    held_out_golds: torch.Tensor
    supervised: dict[str, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]
    """By operator: prompts, right responses, and responses that forget to carry."""


@dataclass(frozen=True, slots=True)
class Responses:
    """Sampled responses: ids padded with PAD, each token's log-prob under the policy that sampled, and the mask."""

    ids: torch.Tensor
    log_probs: torch.Tensor
    mask: torch.Tensor
    """True for the tokens that the model sampled, including the end."""


def make_problems(seed: int, n_train: int = N_TRAIN, n_held_out: int = N_HELD_OUT) -> Problems:
    """Split all problems into training, held-out and supervised ones, by seed."""
    random = np.random.default_rng([seed, 1])
    chosen: dict[str, list[tuple[int, int, str]]] = {"train": [], "held out": []}
    supervised = {}
    for operator, share in SHARES.items():
        second = 10 if operator == "*" else 100
        every = [(a, b, operator) for a in range(100) for b in range(second)]
        shuffled = [every[k] for k in random.permutation(len(every))]
        end_train, end_held_out = round(share * n_train), round(share * n_train) + round(share * n_held_out)
        chosen["train"] += shuffled[:end_train]
        chosen["held out"] += shuffled[end_train:end_held_out]
        rest = shuffled[end_held_out:]
        supervised[operator] = (*_encode(rest), _encode_responses([forgets_to_carry(*problem) for problem in rest]))
    return Problems(*_encode(chosen["train"]), *_encode(chosen["held out"]), supervised)


def supervised(problems: Problems, seed: int, steps: int = SUPERVISED_STEPS) -> Any:
    """Return a fresh model after `steps` batches of supervised examples: too few to learn everything."""
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=PAD + 1,
            hidden_size=96,
            intermediate_size=256,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=PROMPT_TOKENS + RESPONSE_TOKENS,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=END,
            pad_token_id=PAD,
        )
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=steps)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        parts = []
        for operator, (prompts, golds, slips) in problems.supervised.items():
            rows = torch.randint(
                len(prompts), (round(SUPERVISED_BATCH * SUPERVISED_SHARES[operator]),), generator=generator
            )
            right = torch.rand(len(rows), 1, generator=generator) < RIGHT[operator]
            parts.append((prompts[rows], torch.where(right, golds[rows], slips[rows])))
        prompts, golds = (torch.cat(part) for part in zip(*parts, strict=True))
        loss = -response_log_probs(model, prompts, golds)[golds != PAD].mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model


def sample(model: Any, prompts: torch.Tensor, generator: torch.Generator) -> Responses:
    """Sample one response to each prompt at temperature 1, from the full distribution."""
    ids = torch.full((len(prompts), RESPONSE_TOKENS), PAD)
    log_probs = torch.zeros(len(prompts), RESPONSE_TOKENS)
    mask = torch.zeros(len(prompts), RESPONSE_TOKENS, dtype=torch.bool)
    alive = torch.ones(len(prompts), dtype=torch.bool)
    new, cache = prompts, None
    for k in range(RESPONSE_TOKENS):
        with torch.no_grad():
            output = model(input_ids=new, past_key_values=cache, use_cache=True, logits_to_keep=1)
        distribution = output.logits[:, -1].log_softmax(-1)
        drawn = torch.multinomial(distribution.exp(), 1, generator=generator)
        mask[:, k] = alive
        ids[alive, k] = drawn[alive, 0]
        log_probs[alive, k] = distribution.gather(1, drawn)[alive, 0]
        alive = alive & (drawn[:, 0] != END)
        if not alive.any():
            break
        new, cache = drawn, output.past_key_values
    return Responses(ids, log_probs, mask)


def response_log_probs(model: Any, prompts: torch.Tensor, responses: torch.Tensor) -> torch.Tensor:
    """Return the log-prob of every response token under the model; the caller masks padding."""
    return _compute_distributions(model, prompts, responses).gather(-1, responses[..., None])[..., 0]


def success(model: Any, prompts: torch.Tensor, golds: torch.Tensor) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return each prompt's exact probability of a right response at temperature 1, and whether its greedy one is."""
    with torch.no_grad():
        distributions = _compute_distributions(model, prompts, golds)
    padding = golds == PAD
    log_probs = distributions.gather(-1, golds[..., None])[..., 0].masked_fill(padding, 0.0)
    greedy = ((distributions.argmax(-1) == golds) | padding).all(-1)
    return log_probs.sum(-1).exp().double().numpy(), greedy.numpy()


def rewards(responses: torch.Tensor, golds: torch.Tensor) -> Floats:
    """Return 1 for each response whose tokens are all right, including the end, else 0."""
    right: Floats = (responses == golds).all(-1).double().numpy()
    return right


def _compute_distributions(model: Any, prompts: torch.Tensor, responses: torch.Tensor) -> torch.Tensor:
    inputs = torch.cat([prompts, responses[:, :-1]], dim=1)
    logits = model(input_ids=inputs, use_cache=False, logits_to_keep=RESPONSE_TOKENS).logits
    return logits.log_softmax(-1)


def answer(a: int, b: int, operator: str) -> int:
    """Return the right answer."""
    return {"+": a + b, "-": a - b, "*": a * b}[operator]


def forgets_to_carry(a: int, b: int, operator: str) -> int:
    """Return the answer digit by digit, without carrying or borrowing; it is right if there is nothing to carry."""
    (a_tens, a_ones), (b_tens, b_ones) = divmod(a, 10), divmod(b, 10)
    if operator == "+":
        return 10 * (a_tens + b_tens) + (a_ones + b_ones) % 10
    if operator == "*":
        return 10 * a_tens * b + a_ones * b % 10
    size = 10 * abs(a_tens - b_tens) + abs(a_ones - b_ones)
    return size if a >= b else -size


def _encode(problems: list[tuple[int, int, str]]) -> tuple[torch.Tensor, torch.Tensor]:
    prompts = [f"{a}{operator}{b}=".rjust(PROMPT_TOKENS) for a, b, operator in problems]
    ids = torch.tensor([[ALPHABET.index(character) for character in prompt] for prompt in prompts])
    return ids, _encode_responses([answer(*problem) for problem in problems])


def _encode_responses(numbers: list[int]) -> torch.Tensor:
    ids = [[ALPHABET.index(character) for character in str(number)] + [END] for number in numbers]
    return torch.tensor([each + [PAD] * (RESPONSE_TOKENS - len(each)) for each in ids])
