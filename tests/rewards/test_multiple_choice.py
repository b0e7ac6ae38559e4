"""A table of answers to a question of multiple choice, with the verdict that a careful person gives."""

from __future__ import annotations

import os
import resource

import pytest

from lightning_gft.rewards import MultipleChoiceReward, RewardError, score_responses

CITIES = ["Rome", "Paris", "A small town", "London, England"]
RIGHT = [  # B, Paris
    *("B", "b", "(B)", "(b)", "[B]", "B.", "B)", "b)", " B \n", "**B**", "__B__", "`B`", "$B$", "<B>", "B!"),
    *("(B).", "{B}"),
    *("B) Paris", "B. Paris", "B: Paris", "B - Paris", "B — Paris", "(B) Paris", "**B) Paris**"),
    *("**B.** Paris", "B Paris"),
    *("Paris", "paris", "PARIS", "Paris.", '"Paris"', "**Paris**", " Paris\n", "B, Paris", "B (Paris)", "(b) Paris"),
    *("Answer: B", "answer: b", "Answer: (B)", "ANSWER: B", "**Answer:** B", "**Answer: B**"),
    *("Answer: **B**", "Answer:B"),
    *("The answer is B", "The answer is B.", "The answer is (B).", "The answer is **B**.", "The answer is: B"),
    *("The answer is B) Paris", "The answer is B) Paris.", "The answer is Paris."),
    *("The answer is Paris", "The answer is b."),
    *("The correct answer is option B.", "The correct option is B", "The best choice is (B)", "Final answer: B"),
    *("So the answer is $\\boxed{B}$.", "\\boxed{B}", "\\boxed{\\text{B}}", "\\boxed{(B)}", "\\boxed{\\textbf{B}}"),
    *("\\boxed{Paris}", "\\boxed{B. Paris}", "$$\\boxed{\\mathrm{B}}$$", "\\boxed{b}", "\\(\\boxed{B}\\)", "\\boxed{B"),
    *("The answer is A? No.\nThe answer is B.", "It is A.\nAnswer: B"),
    *("\\boxed{A} no, \\boxed{B}", "Answer: A\nAnswer: B"),
    *("Rome is in Italy.\n\nB", "I think about it.\n**B**", "Thinking.\n(B) Paris"),
    *("<answer>B</answer>", "Long.\nParis"),
    *("The answer is B because Paris is in France.", "The answer is B, since A is in Italy.", "Answer: B (Paris)."),
    *("The answer is B. Rome is in Italy.", "The answer is Paris. It is in France.", "The answer is B, not A."),
    *("The answer is B. This option is correct.", "Answer: B. The other option is A."),
    *("The answer is B) Paris. The wrong choice is A.", "Answer: B\nThis answer is right."),
    *("The answer is therefore B.", "The answer would be B", "Answer = B"),
    *("My answer is B!", "The answer is letter B."),
    *("The answer is option (B): Paris", "The answer is thus **(B)**", "the answer is\u00a0B"),
    *("Answer (final): B", "\uff22"),
]
WRONG = [
    *("", " ", "A", "C", "(D)", "E", "Rome", "A) Rome", "The answer is A", "\\boxed{A}", "\\boxed{}", "Answer:", "42"),
    # several
    *("A or B", "A and B", "A, B", "A/B", "(A) (B)", "(A), (B)", "A) or B)", "B or A", "B, C", "B and C"),
    *("BC", "B & D"),
    *("The answer is A or B.", "The answer is B or C.", "The answer is B and C", "\\boxed{A, B}", "\\boxed{B, C}"),
    *("Answer: B/C", "Answer: (B) or (C)", "A, B, C, D", "A B C D", "Either B or C", "B) or C)", "Answer: B + D"),
    # the choices written once more
    *("A) Rome\nB) Paris", "D) x\nC) y\nB) Paris", "(A) Rome\n(B) Paris"),
    *("A. Rome\nB. Paris\n", "- A: Rome\n- B: Paris"),
    # letter and text of different choices
    *("B) Rome", "A) Paris", "The answer is A) Paris", "The answer is B) Rome.", "\\boxed{B. Rome}", "B Rome"),
    # no choice is given
    *("Not B", "The answer is not B.", "B is not right, I do not know", "The answer is unknown", "Banana", "Be", "BB"),
    *("The answer is a city", "Is it B or not? The answer is hard to tell.", "I do not know", "The answer is 2", "b)c"),
    *("The answer is blue", "Paris is not the answer: it is Rome", "The answer is A.\nParis"),
    *("Paris, Rome", "Paris or Rome"),
    *("b because", "The answer is A small town", "The answer is D: London", "\\boxed{A} is wrong, B", "ParisParis"),
    *("The answer is B) Paris or C) A small town", "B. C.", "B: A", "Answer: none of them", "i.e. Paris", "B\nA"),
]


def verdicts(responses: list[str], reference: object, choices: object = CITIES, **options: object) -> list[float]:
    reward = MultipleChoiceReward(**{"choices_column": "choices", **options})
    columns = {"choices": [choices] * len(responses)} if reward.choices_column else {}
    batch = {"prompts": ["?"] * len(responses), "references": [reference] * len(responses)}
    return reward(responses=responses, **batch, **columns).tolist()


@pytest.mark.parametrize("response", RIGHT)
def test_right(response: str):
    assert verdicts([response], "B") == [1]


@pytest.mark.parametrize("response", WRONG)
def test_wrong(response: str):
    assert verdicts([response], "B") == [0]


@pytest.mark.parametrize(
    ("response", "reference", "score"),
    [
        *(("A small town", "C", 1), ("a small town.", "C", 1), ("The answer is A small town", "C", 1)),
        *(("C) A small town", "C", 1), ("The answer is C: a small town", "C", 1), ("C. A small town", "A", 0)),
        *(("A", "A", 1), ("a", "A", 1), ("The answer is a", "A", 1), ("The answer is a dog", "A", 0)),
        *(("London, England", "D", 1), ("D) London, England", "D", 1), ("The answer is London, England.", "D", 1)),
    ],
)
def test_choices_whose_texts_look_like_letters_or_lists(response: str, reference: str, score: float):
    assert verdicts([response], reference) == [score]


@pytest.mark.parametrize(
    ("response", "score"),
    [
        *(("B", 1), ("(b)", 1), ("B) Paris", 1), ("The answer is B Paris", 1), ("B) Vitamin A", 1), ("Answer: B", 1)),
        *(("A", 0), ("A or B", 0), ("A B", 0), ("B A", 0), ("Paris", 0), ("The answer is A Paris", 0), ("B or C", 0)),
    ],
)
def test_without_the_choices_letters_count(response: str, score: float):
    assert verdicts([response], "B", choices_column=None) == [score]


def test_a_marker():
    responses = ["A #### B", "B", "#### The answer is B", "B #### A", "#### (B) #### "]
    assert verdicts(responses, "B", marker="####") == [1, 0, 1, 0, 0]


@pytest.mark.parametrize(
    "reference", ["B", "b", "(B)", "B)", "B.", " B ", 1, "Paris", "paris", "Paris.", ["A", "B"], ["B"]]
)
def test_references(reference):
    assert verdicts(["B", "C"], reference) == [1, 0]


def test_labels_of_the_datas_own():
    choices = {"text": ["one", "two", "three"], "label": ["1", "2", "3"]}
    responses = ["2", "(2)", "2) two", "two", "The answer is 2.", "\\boxed{2}", "3", "1", "12", "B"]
    assert verdicts(responses, "2", choices) == [1] * 6 + [0] * 4
    assert verdicts(["2", "1"], 1, choices) == [1, 0]


def test_choices_with_the_same_text():
    same = ["no", "yes", "yes"]
    assert verdicts(["yes", "B", "C", "no"], "B", same) == [1, 1, 0, 0]
    with pytest.raises(ValueError, match="expected one of A, B, C, a position from 0, or the text of one choice"):
        verdicts(["yes"], "yes", same)


@pytest.mark.parametrize("reference", [None, "", "E", "BB", "Madrid", 4, -1, 1.0, True, [], ["B", None], {"a": 1}])
def test_a_reference_that_names_no_choice_is_an_error_before_training(reference):
    reward = MultipleChoiceReward(choices_column="choices")
    with pytest.raises(ValueError, match="reference"):
        reward.check_row(reference, {"choices": CITIES})


def test_a_text_that_is_also_the_label_of_another_choice_is_an_error():
    with pytest.raises(ValueError, match="got 'A'; correct the data"):
        MultipleChoiceReward("choices").check_row("A", {"choices": ["B", "A"]})


@pytest.mark.parametrize("reference", ["Paris", "", None, "AB", 26])
def test_without_choices_a_reference_is_a_letter(reference):
    with pytest.raises(
        ValueError, match=r"expected one of A to Z, a position from 0, got .* or name the choices_column"
    ):
        MultipleChoiceReward().check_row(reference, {})


@pytest.mark.parametrize(
    "choices",
    [
        *(
            None,
            [],
            "AB",
            [1, 2],
            ["a"] * 27,
            {"text": ["a"], "label": []},
            {"text": ["a", "b"], "label": ["1", "1"]},
            {},
        )
    ],
)
def test_what_are_no_choices(choices):
    with pytest.raises(ValueError, match="the choices of MultipleChoiceReward: expected"):
        MultipleChoiceReward("choices").check_row("A", {"choices": choices})


def test_a_column_that_is_not_there():
    with pytest.raises(ValueError, match=r"`choices_column`: expected a column of the data \(x\), got 'choices'"):
        MultipleChoiceReward("choices").check_row("A", {"x": 1})


def test_a_failure_shows_the_response():
    with pytest.raises(RewardError, match="the reference of MultipleChoiceReward"):
        score_responses(
            {"choice": MultipleChoiceReward()}, prompts=["p"], responses=["B"], references=["?"], columns={}
        )


def test_megabytes_are_read_in_linear_time():
    big = 1 << 18
    texts = ["(" * big, "\\boxed{" * big, "answer is " * big, "A " * big, "*" * big, " " * big, "A\nB\n" * big]
    child = os.fork()
    if child == 0:
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (20, 20))  # linear time takes 2 s
            os._exit(verdicts(texts, "B") != [0] * len(texts))
        finally:
            os._exit(2)  # an error here must not run the tests that follow a second time
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
