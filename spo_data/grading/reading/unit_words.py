"""The words and abbreviations that decide what stands after a number; `units` reads them."""

import re

CURRENCIES = ("$", "€", "£", "¥", "₹")
ATTACHED = ("g", "L", "°")
"""The single letters that may follow a number directly: any other is a variable, as in 3t."""
LETTERS = tuple("mghslLVAWNJCFKdT")
SHORT = frozenset(
    {
        *("GB", "GW", "Hz", "KB", "MB", "MJ", "MW", "Pa", "TB", "Wb", "cc", "cd", "cm", "cu", "dB", "dl", "dm"),
        *("eV", "ft", "gm", "hp", "hr", "in", "kJ", "kN", "kV", "kW", "kg", "km", "lb", "mA", "mL", "mV", "mg"),
        *("mi", "ml", "mm", "ms", "nm", "ns", "oz", "pt", "qt", "sq", "yd", "µF", "µg", "µm", "µs"),
    }
)
"""The abbreviations of two letters that are units outside a text command, where two letters may be variables."""
NOT_ABBREVIATIONS = frozenset(
    {
        *("B", "M", "P", "R", "a", "b", "ba", "c", "e", "i", "k", "n", "pi", "r", "t", "u", "x", "y"),
    }
)
"""pint reads them as constants or rare units; in an answer they are thousand, million, billion or a variable."""
ABBREVIATIONS = frozenset(
    {
        *("cad", "cc", "cu", "deg", "eur", "ft", "gbp", "gm", "gms", "hr", "hrs", "kb", "kph", "lbs", "min"),
        *("mins", "mo", "mpg", "mph", "no", "pts", "rmb", "rpm", "rs", "sec", "secs", "sq", "unit", "units"),
        *("usd", "wk", "wks", "yr", "yrs"),
    }
)
SMALL = frozenset(
    {
        *("a", "an", "and", "as", "at", "be", "by", "do", "go", "i", "in", "it", "of", "on", "or", "per", "so"),
        *("the", "up", "us", "we"),
    }
)
COUNTS = "one|two|three|four|five|six|seven|eight|nine|ten|twelve"
CHANGES = re.compile(
    r"e|is|are|was|were|not|no|nor|but|if|when|where|for|to|than|more|less|fewer|least|most|above|below|over|under"
    r"|plus|minus|mod|modulo|choose|factorial|squared|cubed|half|halves|thirds?|fourths?|couples?|mil|millones|millonen"
    r"|(?:fif|six|seven|eigh|nin|ten|eleven|twelf|thirteen|fourteen|fifteen|sixteen|hundred|thousand|million)ths?"
    r"|\w+tieths?|permille|mille|milliards?|doubled|halved|tripled|multiplied|divided|inverse|tens|negative|incorrect|false"
    r"|isn't"
    r"|doesn't|aren't|fails|excluded|never|cannot|can't|invalid|except|without|score|gross|lakhs?|crores?|wrong"
    r"|grand|myriad|double|triple|root|reciprocal|negated|bps|basis|pp[mbt]|recurring|repeating|short|off"
    r"|percent|cent per|remainder|none|hundreds?|thousands?|\w*illions?|dozens?|bn|mm?ln|[ap]m|p|otherwise|between"
    r"|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen"
    r"|(?:twen|thir|for|fif|six|seven|eigh|nine)ty|approximately|about|roughly"
)
"""Words that change the value or the meaning of the number before them. They are the list that must be right."""
MAGNITUDES = {
    **dict.fromkeys(("hundred", "hundreds"), r"\cdot 10^{2}"),
    **dict.fromkeys(("thousand", "thousands"), r"\cdot 10^{3}"),
    **dict.fromkeys(("million", "millions"), r"\cdot 10^{6}"),
    **dict.fromkeys(("billion", "billions"), r"\cdot 10^{9}"),
    **dict.fromkeys(("trillion", "trillions"), r"\cdot 10^{12}"),
    **dict.fromkeys(("dozen", "dozens"), r"\cdot 12"),
}
CJK_FACTORS = {"万": r"\cdot 10^{4}", "亿": r"\cdot 10^{8}", "萬": r"\cdot 10^{4}", "億": r"\cdot 10^{8}"}
