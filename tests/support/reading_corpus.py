"""The corpus's cases of finding the answer in a response: marks, thinking, chat tokens, letters and unmarked text."""

from spo_data.grading.verdict import Verdict

CORRECT, WRONG, NO_ANSWER = Verdict.CORRECT, Verdict.WRONG, Verdict.NO_ANSWER

Row = tuple[str, str, Verdict, str]

EMPHASIS: tuple[Row, ...] = (
    ("73", "So the total is **73**.", CORRECT, "a bold number at the end of a sentence"),
    ("73", "So the total is *73*.", CORRECT, "an italic number"),
    ("73", "The result is ***73***.", CORRECT, "a number in three stars"),
    ("73", "So the total is `73`.", CORRECT, "a number in backticks"),
    ("73", 'So the total is "73".', CORRECT, "a number in quotes"),
    ("73", "**73**", CORRECT, "nothing but a bold number"),
    ("73", "__73__", CORRECT, "a number in underscores"),
    ("73", "So it is <strong>73</strong>.", CORRECT, "a number in HTML's bold"),
    ("73", "The probability: **73.**", CORRECT, "a full stop within the stars"),
    ("730", "He earned **\\$730**.", CORRECT, "a bold amount with an escaped dollar sign"),
    ("730", "The profit: \\$730", CORRECT, "an escaped dollar sign after a colon"),
    ("73", "There are **73** ways to seat 4 of them.", CORRECT, "what is bold goes before what comes last"),
    ("4", "There are **73** ways to seat 4 of them.", WRONG, "a number after the bold one"),
    ("73", "There are **73** cats and **12** dogs.", WRONG, "two bold numbers"),
    ("73", "The answer is **not 73**.", NO_ANSWER, "a bold denial"),
    ("1/2", r"The probability is **\(\frac12\)**.", CORRECT, "a bold formula"),
    ("2x", "so the slope is `2x`", CORRECT, "a symbol in backticks"),
)

SENTENCES: tuple[Row, ...] = (
    ("12", "Answer: There are 12 ways.", CORRECT, "an answer line with a sentence"),
    ("12", "Answer: There are 12 ways to choose 3 of 5.", CORRECT, "a sentence whose last number is not its value"),
    ("5", "Answer: There are 12 ways to choose 3 of 5.", WRONG, "the last number of an answer line"),
    ("3", "Answer: Of the 5 boys, 3 stay.", CORRECT, "a sentence without a verb that states values"),
    ("12", "Answer: Each gets 12 cookies, because 48/4 = 12.", CORRECT, "an answer line with its reason"),
    ("12", "Final Answer: The largest $n$ is $12$.", CORRECT, "a sentence with a formula before its value"),
    ("12", "<answer>The total is 12.</answer>", CORRECT, "a sentence in a tag"),
    ("12", "Answer: Yes, 12.", CORRECT, "a yes before the value"),
    ("4", "Answer: Tom needs 4 more stamps than Jim.", CORRECT, "a comparison after the value"),
    ("5", "Answer: Since 2+3=5, the answer is 5.", CORRECT, "a reason before the value"),
)

BARE_FORMULAS: tuple[Row, ...] = (
    (r"\frac{3}{4}", "Therefore\n\\frac{3}{4}", CORRECT, "a last line in bare LaTeX"),
    (r"\frac{3}{4}", "so\nP = 1 - \\frac{1}{4} = \\frac{3}{4}.", CORRECT, "a chain in bare LaTeX"),
    (r"2\sqrt{3}", "Simplify.\n2\\sqrt{3}", CORRECT, "a root in bare LaTeX"),
    ("x^2+1", "Expand.\nx^2 + 1", CORRECT, "a polynomial in bare LaTeX"),
    (r"\{1,2\}", "So\n\\{1, 2\\}", CORRECT, "a set in bare LaTeX"),
    (r"3+2\sqrt{2}", "Thus\nh = 3 + 2\u221a2.", CORRECT, "a last line with a Unicode root"),
    (r"2\pi", "The circumference is 2\u03c0.", CORRECT, "a Unicode pi after a verb"),
    (
        r"-5\ln 3",
        "so the limit is\n= \u22125 ln 3.\n\n\u25a1",
        CORRECT,
        "a chain's last line before the end of the proof",
    ),
)

TAKEN_BACK: tuple[Row, ...] = (
    ("42", "The answer is 42. Wait, that is wrong. It is 43.", WRONG, "an answer that the next sentence takes back"),
    ("43", "The answer is 42. Wait, that is wrong. It is 43.", CORRECT, "the answer after one that was taken back"),
    ("42", "The final answer is 42? No, it is 43.", WRONG, "a statement that asks"),
    ("42", "If the answer is 42, then we have a contradiction.", NO_ANSWER, "an answer that is supposed"),
    ("42", "The answer would be 42 if x was 3, but x is 4.", NO_ANSWER, "an answer under a condition"),
    ("42", "Is it 42?", NO_ANSWER, "a question"),
    ("42", "The answer is one of 42, 43", NO_ANSWER, "a choice that is left open"),
    ("42", "So what is it? The answer is 42.", CORRECT, "an answer after a question"),
)

INSTRUCTIONS: tuple[Row, ...] = (
    ("42", "Put your final answer within \\boxed{}. So $6 \\cdot 7=42$.", CORRECT, "an echoed instruction before"),
    ("42", "\\boxed{42}\n\nPut your final answer within \\boxed{}.", CORRECT, "an echoed instruction after"),
    ("42", "I must use \\boxed{}.\n\nThe answer is 42", CORRECT, "an empty box before a stated answer"),
    ("42", "\\boxed{42}, in the form \\boxed{...}.", CORRECT, "a box of dots after the answer"),
    ("42", "\\boxed{42}. Written as \\boxed{answer}.", CORRECT, "a box with the word answer"),
    ("42", "\\boxed{42} \\boxed{your final answer here}", CORRECT, "a box with an instruction"),
    ("42", "<answer>42</answer>\nThe form is <answer>...</answer>.", CORRECT, "an echoed tag"),
    ("0", "so \\boxed{0}\n\nYour turn: put it in $\\boxed{[answer]}$.", NO_ANSWER, "a problem of the model's own"),
    ("42", "6 times 7 is 42, so \\boxed{}", NO_ANSWER, "an empty box at the end"),
)

LATER_MARKS: tuple[Row, ...] = (
    ("7", "First \\boxed{5}, then more.\n\nFinal answer: 7", CORRECT, "a final answer after a box"),
    ("5", "First \\boxed{5}, then more.\n\nFinal answer: 7", WRONG, "the box before a final answer"),
    ("7", "\\boxed{5} is the first part. The answer is 7", CORRECT, "a stated answer after a box"),
    ("7", "\\boxed{5}\n<answer>7</answer>", CORRECT, "a tag after a box"),
    ("7", "\\boxed{5}\n\n### Answer\n$$7$$", CORRECT, "a heading after a box"),
    ("7", "\\boxed{5}. I made an error. The correct answer is **7**.", CORRECT, "a corrected answer"),
    ("5", "\\boxed{5}\n\nIf it were odd, the answer would be 7.", CORRECT, "a supposition after a box"),
    ("5", "\\boxed{5}\n\nThe answer is not 7 as one might think.", CORRECT, "a denial after a box"),
    ("5", "\\boxed{5}\n\nThe answer is clearly positive.", CORRECT, "a remark after a box"),
    ("5", "\\boxed{5}\n\nAnswer: see above", CORRECT, "a reference to the box"),
    ("12", "We get \\boxed{12}.\n\nThe correct option is D.", CORRECT, "a letter after the value, value asked"),
    ("D", "We get \\boxed{12}.\n\nThe correct option is D.", CORRECT, "a letter after the value, letter asked"),
    ("C", "We get \\boxed{12}.\n\nThe correct option is D.", WRONG, "another letter after the value"),
)

THINKING: tuple[Row, ...] = (
    ("42", "<reasoning>\\boxed{41}</reasoning>\n42", CORRECT, "reasoning as a tag"),
    ("42", "<reasoning>\\boxed{42}", NO_ANSWER, "reasoning that never ends"),
    ("42", "<seed:think>so \\boxed{42}", NO_ANSWER, "Seed's thinking that never ends"),
    ("42", "<scratchpad>\\boxed{41}</scratchpad>It is 42.", CORRECT, "a scratchpad"),
    (
        "42",
        "<|channel|>analysis<|message|>41?<|end|><|start|>assistant<|channel|>final<|message|>**42**<|return|>",
        CORRECT,
        "Harmony's final channel",
    ),
    ("42", "<|channel|>analysis<|message|>It is \\boxed{42}.", NO_ANSWER, "Harmony without a final channel"),
    ("42", "analysisWe guess \\boxed{41}.assistantfinal42", CORRECT, "Harmony without its special tokens"),
    ("42", "<|START_THINKING|>41<|END_THINKING|><|START_RESPONSE|>42<|END_RESPONSE|>", CORRECT, "Cohere's tokens"),
    ("42", "<unused94>thought\n41<unused95>42", CORRECT, "Gemma's unnamed tokens"),
    ("42", "<unused94>thought\n\\boxed{42}", NO_ANSWER, "Gemma's thinking that never ends"),
    ("42", "<inner_thoughts>\\boxed{41}</inner_thoughts>42", CORRECT, "inner thoughts"),
    ("42", "<thinking>\\boxed{41}<reflection>no</reflection>\\boxed{42}", NO_ANSWER, "a reflection within thinking"),
    ("7", "<|begin_of_box|>7<|end_of_box|>", CORRECT, "GLM's box tokens"),
    ("42", "<final_answer>42</final_answer>", CORRECT, "a final answer's tag"),
    ("42", "#### 42<|im_end|>", CORRECT, "a chat token after the last line"),
    ("42", "**42**<|eot_id|>", CORRECT, "a chat token after a bold number"),
    ("42", "The answer is 42</s>", CORRECT, "an end of sequence"),
    ("42", "\\boxed{42}<|im_end|>\n<|im_start|>user\nAnd 1+2? \\boxed{3}", CORRECT, "a turn of the model's own"),
    ("42", "<|START_THINKING|>\\boxed{42}", NO_ANSWER, "Cohere's thinking that never ends"),
)

NO_ANSWERS: tuple[Row, ...] = (
    ("42", "It cannot be 42.", NO_ANSWER, "a value that cannot be"),
    ("42", "It isn't equal to 42.", NO_ANSWER, "a value it is not equal to"),
    ("42", "42 is too large.", NO_ANSWER, "a value called too large"),
    ("42", "We can rule out 42.", NO_ANSWER, "a value ruled out"),
    ("42", "It is less than 42.", NO_ANSWER, "a bound"),
    ("42", "It's not 41, it's 42.", CORRECT, "a value after the denial of another"),
    ("42", "Step 42", NO_ANSWER, "a step's number"),
    ("42", "**Step 42.**", NO_ANSWER, "a step's number in bold"),
    ("42", "Step 3: x = 42", CORRECT, "a value in a step"),
    ("3", "Step 3: x = 42", WRONG, "the number of a step with a value"),
    ("2", "1. First\n2. Second", NO_ANSWER, "the number of a list's last item"),
    ("12", "1. We add.\n2. We get 12.", CORRECT, "a value in a list's last item"),
    ("11", "This follows from (11).", NO_ANSWER, "an equation's number"),
    ("105", "see step 3 and 105).", NO_ANSWER, "a number at a parenthesis that was not opened"),
    ("42", "6*7.\n42", NO_ANSWER, "a scratch calculation"),
    ("42", "So we have 42 +", NO_ANSWER, "a computation that breaks off"),
    ("42", "$6 \\cdot 7 = 42$\n\nSo, the final answer", NO_ANSWER, "a sentence that breaks off"),
    ("42", "We get 42 in step 3.", CORRECT, "a step's number after the value"),
)

LETTERS: tuple[Row, ...] = (
    ("D", "ANSWER IS D", CORRECT, "choice: capitals without a colon"),
    ("B", "(b)", CORRECT, "choice: nothing but a lower-case letter in parentheses"),
    ("B", "The answer is (b).", CORRECT, "choice: a stated lower-case letter"),
    ("B", "Final answer - B", CORRECT, "choice: a dash for a colon"),
    ("B", r"\boxed{B \text{ (12 cm)}}", CORRECT, "choice: the option's text in parentheses"),
    ("B", "\u6545\u9009\uff1aB", CORRECT, "choice: a choice in Chinese"),
    ("B", "\u7b54\u6848\u4e3a\uff08B\uff09", CORRECT, "choice: a letter in full-width parentheses"),
    ("G", "The answer is G.", CORRECT, "choice: a seventh option"),
    ("I", "The answer is I.", CORRECT, "choice: the ninth option"),
    ("I", "I am not sure.", NO_ANSWER, "choice: a pronoun is no letter"),
    ("A", "Answer: A lot of heat", WRONG, "choice: an article on an answer line"),
    ("B", "Answer: \\boxed{A} is wrong, so **Answer: B**", CORRECT, "choice: a second answer in the line"),
    ("D", "We get \\boxed{12}.\n\nAnswer: D", CORRECT, "choice: a box with a number before the letter"),
    ("B", "The answer is not A but B.", CORRECT, "choice: a denial before the letter"),
    ("A", "The answer is not A but B.", WRONG, "choice: the letter that is denied"),
    ("B", "It can't be A. It must be B.", CORRECT, "choice: what must be"),
    ("B", "Hence, option B is the right one.", CORRECT, "choice: an option called right"),
    ("B", "I would go with B.", CORRECT, "choice: a letter gone with"),
    ("D", "D\n\nBecause the others fail.", CORRECT, "choice: a first line of only the letter"),
    ("C", "A) 1\nB) 2\nC) 3", NO_ANSWER, "choice: the options repeated"),
    ("A", "Both A and B are wrong", NO_ANSWER, "choice: two letters called wrong"),
)

MORE_MARKS: tuple[Row, ...] = (
    ("73", "(Answer: 73)", CORRECT, "a label within parentheses"),
    ("73", "Answer: ==73==", CORRECT, "a highlighted number"),
    ("73", "Answer: ~~72~~ 73", CORRECT, "a struck number before the answer"),
    ("73", "Answer: 73 \u2705", CORRECT, "an emoji after the answer"),
    ("73", "73 is the answer", CORRECT, "a sentence that begins with its value"),
    ("73", "73 is the smallest number with 5 such sums.", CORRECT, "a value before what it is"),
    ("5", "73 is the smallest number with 5 such sums.", WRONG, "a number in what the value is"),
    ("35", "There are 5 ways for each of 7 colours, so 35 in total.", CORRECT, "a conclusion within a sentence"),
    ("12", "\u6240\u4ee5\u5171\u670912\u79cd\u65b9\u6cd5\u3002", CORRECT, "a number between Chinese words"),
    ("12", "\u517112\u4e07\u4eba", WRONG, "a number before a Chinese myriad"),
    ("42", "I thought the answer is 42, but that is wrong.", NO_ANSWER, "an answer taken back"),
    ("7", "3, 7", WRONG, "two bare numbers"),
    ("42", "It's 42, not 41.", CORRECT, "the denial of another value after the value"),
    ("42", "It's anything but 42.", NO_ANSWER, "anything but the value"),
    ("42", "I doubt it is 42.", NO_ANSWER, "a doubted value"),
    ("42", "42. Simplify", NO_ANSWER, "the number of an item without a value"),
    ("42", "Eq. (42)", NO_ANSWER, "an abbreviated equation's number"),
    ("42", "By (3), x = 42.", CORRECT, "an equation's number before the value"),
    ("42", "x = 42. (3)", CORRECT, "an equation's number after the value"),
    ("7", "Answer: We have 3 pens.\nThen we buy 4 more.\nSo 7.", CORRECT, "a solution that begins on the answer line"),
    ("42", "So 42. (There are 6 rows of 7 seats.)", CORRECT, "a remark in parentheses after the answer"),
    ("42", "The total is 42.\n\nStep 3:", NO_ANSWER, "a step that says nothing after a value"),
    ("35", "Answer: Each of the 5 boys has 7 marbles, so 35 in total.", CORRECT, "a conclusion on an answer line"),
    ("Evelyn", "So the winner is Evelyn.", CORRECT, "a name after the verb"),
    ("Evelyn", "Answer: The winner is Evelyn.", CORRECT, "a name in a marked sentence"),
    ("odd", "It is unclear whether it is odd.", NO_ANSWER, "a doubted word"),
    ("42", "<|im_start|>think\n\\boxed{41}<|im_start|>answer\n42", CORRECT, "thinking as a role"),
    ("5000000", "$\\boxed{5}$ million", CORRECT, "a million behind a box and a dollar sign"),
    ("5", "$\\boxed{5}$ million", WRONG, "the number before a million behind a dollar sign"),
)

LETTER_GOLDS: tuple[Row, ...] = (
    ("B", "Final answer - B", CORRECT, "a gold letter after a dash"),
    ("B", "Therefore, the correct option is **(B) 12 cm**.", CORRECT, "a gold letter with its option in bold"),
    ("C", "Answer: I think it is C", CORRECT, "a gold letter in an opinion"),
    ("D", "Answer: D, not B", CORRECT, "a gold letter before the denial of another"),
    ("D", "Answer: It is not B, the answer is D", CORRECT, "a gold letter after the denial of another"),
    ("A", "The answer is a matter of taste.", WRONG, "an article for a gold letter"),
    ("C", "Answer: cannot be determined", WRONG, "no letter for a gold letter"),
)

READING: tuple[tuple[str, Row], ...] = (
    *(
        ("math-verify", row)
        for theme in (
            *(
                EMPHASIS,
                SENTENCES,
                BARE_FORMULAS,
                TAKEN_BACK,
                INSTRUCTIONS,
                LATER_MARKS,
                THINKING,
                NO_ANSWERS,
                MORE_MARKS,
                LETTER_GOLDS,
            ),
        )
        for row in theme
    ),
    *(("choice", row) for row in LETTERS),
)
"""Each case with its verifier."""
