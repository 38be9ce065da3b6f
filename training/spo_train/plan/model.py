"""The model to train, and the length of its longest prompt.

model = choose_model(TrainOptions(offline_values="runs/demo"), defaults)
find_longest_prompt(data, None, load_chat(model))
"""

from typing import TYPE_CHECKING

from spo_data.errors import UserError
from spo_train.plan.train_options import PAPER_MODEL

if TYPE_CHECKING:
    import pyarrow as pa

    from spo_data.models.chat import Chat
    from spo_data.models.names import Model
    from spo_train.data.training_rows import TrainingData
    from spo_train.plan.parity import RolloutDefaults
    from spo_train.plan.train_options import TrainOptions


def choose_model(options: "TrainOptions", defaults: "RolloutDefaults") -> "Model":
    """Return the model to train, at the values' commit if it is the values' model and no revision is asked for.

    Raises UserError if neither the options nor the values name a model.
    """
    from spo_data.models.names import resolve_model

    if options.model is None:
        if defaults.model is None:
            raise UserError(
                f"{options.offline_values} does not name the model of its values: give --model, or --preset paper,"
                f" which trains {PAPER_MODEL}"
            )
        return resolve_model(defaults.model, options.model_revision or defaults.model_revision)
    model = resolve_model(options.model, options.model_revision)
    if model.name == defaults.model and options.model_revision is None and defaults.model_revision is not None:
        return resolve_model(model.name, defaults.model_revision)
    return model


def find_longest_prompt(data: "TrainingData", validation: "pa.Table | None", chat: "Chat", allow: str = "") -> int:
    """Return the tokens of the longest prompt, in training and validation.

    Raises UserError if the chat template writes the date; `allow` is what its fix needs besides.
    """
    from spo_data.models.template_date import refuse_dates
    from spo_data.prompts.identity import Message

    conversations = [prompt.messages for prompt in data.prompts]
    turns = [] if validation is None else validation.column("prompt").to_pylist()
    conversations += [tuple(Message(turn["role"], turn["content"]) for turn in each) for each in turns]
    refuse_dates(chat, conversations, allow)
    return max(map(len, chat.tokenize(conversations)))
