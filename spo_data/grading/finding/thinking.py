r"""Removing what a response thinks before it answers, and the chat tokens around it.

    strip_thinking(r"<think>perhaps 41</think>It is 42.<|im_end|>")                              # "It is 42."
    strip_thinking("<|channel|>analysis<|message|>41?<|end|>…<|channel|>final<|message|>42")     # "42"
    strip_thinking("<seed:think>perhaps 41")                                                     # None: it never ends

A tag opens thinking if its name says so: `<think>`, `<seed:think>`, `<inner_thoughts>`, `<|START_THINKING|>`. A
closing tag without an opening one ends thinking that the chat template opened, so nothing before it is visible.
Harmony's messages outside the channel `final` are thinking too. Every step is linear in the response's length.
"""

import re

_STEMS = (
    r"think|thought|reason|reflect|scratch_?pad|monologue|analysis|analy[sz]e|deliberat|contemplat|ponder|brainstorm"
    r"|rationale|chain_of_thought"
)
_THINKS = re.compile(
    rf"(?!no[_:.-]).*(?:(?:{_STEMS})|(?<![^_:.-])(?:cot|plan|planning|draft|workings?|inner|internal)(?![^_:.-]))"
)
"""Whether a tag's name, in lower case, is one for thinking."""
_ENDS = re.compile(r"(?:^|[_:.-])(?:end|close|stop|suffix)(?:$|[_:.-])")
_SIDES = re.compile(r"(?:^|[_:.-])(?:begin|start|open|prefix|end|close|stop|suffix|of|the)(?=$|[_:.-])")
_TAG = re.compile(
    r"<(?:(?P<bar>\|?)(?P<slash>/?)(?P<name>[A-Za-z][\w:.-]{0,40})(?:\s[^<>\n/]{0,80})?(?P=bar)>"
    r"|(?P<gemma>\|channel>(?:thought|analysis))|(?P<gemma_end>channel\|>))"
    r"|\[(?P<slash2>/?)(?P<name2>THINK|THINKING|REASONING)\]"
    r"|\u25c1(?P<slash3>/?)(?P<name3>think)\u25b7"
)
_ANSWER_BEGINS = frozenset(
    {"start_response", "start_text", "content", "begin_of_solution", "begin_of_response", "begin_of_answer"}
)
"""Tokens between bars that end thinking without saying so."""

_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)(?:[^<]{0,80}(?:<\|constrain\|>[^<]{0,40})?<\|message\|>)?")
_MESSAGE_END = re.compile(r"<\|(?:end|return|call|start|channel)\|>")
_BARE_HARMONY = re.compile(r"\s*(?:assistant)?analysis(?=[A-Z\"'(\d])")
"""Harmony decoded without its special tokens: analysisWe need…assistantfinal42."""
_GRANITE = re.compile(r"\s*Here(?:'s| is) my thought process:?")
_GRANITE_END = re.compile(r"Here(?:'s| is) my response:?")
_S1_THINKS, _S1_ANSWERS = "<|im_start|>think", "<|im_start|>answer"

_TURN = (
    r"<(?:\|(?i:im_(?:end|start|sep)|(?:start|end)_header_id|eo[ts]_id|eom_id|eot|eos|end|return|call|start|begin|pad"
    r"|endoftext|begin_of_(?:text|turn|sentence|message)|end_of_(?:text|turn|sentence|message|response|solution)"
    r"|endofturn|endofresponse|end_response|end_text|(?:start|end)_of_turn_token|(?:user|system|chatbot)_token"
    r"|user|assistant|system|observation|turn)\|>"
    r"|\uff5c[^<>\uff5c]{1,40}\uff5c>|(?:start|end)_of_turn>|(?:eos|bos|pad)>|\|turn>|turn\|>)"
    r"|\[(?:\|endofturn\|\]|/?INST\]|EOS\])"
)
_LEADING = re.compile(rf"\s*(?:(?:{_TURN}|<s>|<\|message\|>)\s*(?:(?:assistant|model)\b:?\s*)?)+")
_TURN_END = re.compile(rf"{_TURN}|</s>(?=\s{{0,9}}(?:\Z|[<\[]))")

_TOKEN = re.compile(r"<\|(?!end_of_box)\w{2,40}\|>")


def strip_thinking(response: str) -> str | None:
    """The text outside the thinking, up to the end of the turn; None if the thinking never ends."""
    if "<" not in response and "[" not in response and "\u25c1" not in response:
        return _strip_words(response)
    if _S1_THINKS in response:
        _, found, answer = response.rpartition(_S1_ANSWERS)
        return _strip_chat_tokens(answer) if found else None
    if "<|channel|>" in response:
        return _read_final_channel(response)
    visible = _strip_tags(response)
    return None if visible is None else _strip_chat_tokens(_strip_words(visible))


def _strip_tags(response: str) -> str | None:
    pieces: list[str] = []
    opened: list[str] = []
    begins = 0
    for tag in _TAG.finditer(response):
        name = (tag["name"] or tag["name2"] or tag["name3"] or "gemma").lower()
        ends = bool(tag["slash"] or tag["slash2"] or tag["slash3"] or tag["gemma_end"] or _ENDS.search(name))
        if name == "unused95":  # Gemma's unnamed tokens
            name, ends = "unused94", True
        elif tag["bar"] and name in _ANSWER_BEGINS:
            ends = True
        elif name not in ("gemma", "unused94") and not _THINKS.match(name):
            continue
        name = _SIDES.sub("", name).strip("_:.-")
        if not ends:
            if not opened:
                pieces.append(response[begins : tag.start()])
            if name not in opened:
                opened.append(name)
            continue
        if name in opened:
            del opened[opened.index(name) :]
        else:  # the chat template opened it, or it has another name than the tag that opened it
            opened.clear()
            pieces.clear()
        begins = tag.end()
    if opened:
        return None
    return "\n".join([*pieces, response[begins:]]) if any(map(str.strip, pieces)) else response[begins:]


def _read_final_channel(response: str) -> str | None:
    final = None
    for channel in _CHANNEL.finditer(response):
        if channel[1].lower().startswith("final"):
            final = channel
    if final is None:
        return None
    end = _MESSAGE_END.search(response, final.end())
    return _strip_chat_tokens(response[final.end() : end.start() if end else len(response)])


def _strip_words(text: str) -> str | None:
    """Strip thinking that only words set off."""
    if _BARE_HARMONY.match(text):
        _, found, final = text.rpartition("assistantfinal")
        return final if found else None
    granite = _GRANITE.match(text)
    if granite is not None:
        end = _GRANITE_END.search(text, granite.end())
        return text[end.end() :] if end else None
    return text


def _strip_chat_tokens(text: str | None) -> str | None:
    if text is None:
        return None
    leading = _LEADING.match(text)
    text = text[leading.end() :] if leading else text
    end = _TURN_END.search(text)
    text = text[: end.start()] if end else text
    while (bare := text.rstrip()).endswith("|>") and (token := _TOKEN.fullmatch(bare, max(0, bare.rfind("<|")))):
        text = bare[: token.start()]
    return text
