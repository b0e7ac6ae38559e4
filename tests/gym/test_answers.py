from __future__ import annotations

import time

import pytest

from lightning_gft.gym.answers import AnswerTemplate


@pytest.mark.parametrize(
    ("template", "response", "answer"),
    [
        ("<answer>{answer}</answer>", "<answer>5</answer>", "5"),
        ("<answer>{answer}</answer>", "so\n<answer>\n5 6\n</answer> done", "5 6"),
        ("<answer>{answer}</answer>", "<answer>5</answer> or <answer>6</answer>", "6"),
        ("<answer>{answer}</answer>", "<answer>5</answer> or <answer>6", "5"),
        ("<answer>{answer}</answer>", "<answer>4 <answer>5</answer></answer>", "5"),
        ("<answer>{answer}</answer>", "</answer><answer>", None),
        ("<answer>{answer}</answer>", "5", None),
        ("<answer>{answer}</answer>", "<answer></answer>", ""),
        ("####{answer}", "2 + 3 = 5 #### 4\n#### 5\n", "5"),
        ("#### {answer}", "####5", "5"),
        ("####{answer}", "5", None),
        ("{answer}", " 5 \n", "5"),
        ("\\boxed{{answer}}", r"\boxed{1}, so \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        ("\\boxed{{answer}}", r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        ("\\boxed{{answer}}", r"\boxed{1", None),
        ("$\\boxed{{answer}}$", r"$\boxed{1}$", "1"),
        ("$\\boxed{{answer}}$", r"$\boxed{1}", None),
    ],
)
def test_the_last_answer_of_a_response(template: str, response: str, answer: str | None) -> None:
    assert AnswerTemplate(template).read(response) == answer


@pytest.mark.parametrize("template", ["<answer>{answer}</answer>", "#{answer}", "\\boxed{{answer}}", "{answer}"])
@pytest.mark.parametrize("answer", ["5", "two words", "[1, 2]", "a {b} c"])
def test_what_is_written_is_read(template: str, answer: str) -> None:
    written = AnswerTemplate(template)
    assert written.read(written.write(answer)) == answer


@pytest.mark.parametrize("template", ["", "<answer></answer>", "{answer}{answer}", "{answer}</answer>", " {answer}."])
def test_a_template_without_a_place_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match=r"`answer_template`: expected a text with {answer} in it"):
        AnswerTemplate(template)


@pytest.mark.parametrize("template", ["<answer>{answer}</answer>", "\\boxed{{answer}}"])
@pytest.mark.parametrize("piece", ["<answer>", "</answer>", "\\boxed{", "{", "}"])
def test_a_long_response_is_read_in_one_go(template: str, piece: str) -> None:
    began = time.process_time()
    AnswerTemplate(template).read(piece * 100_000)
    assert time.process_time() - began < 10
