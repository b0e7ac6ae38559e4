from __future__ import annotations

import re
from random import Random

import pytest

from lightning_gft.arithmetic import ARITHMETIC_ALPHABET, ArithmeticProblem, LetterProblem
from lightning_gft.arithmetic.problems import draw_arithmetic, draw_letters, slips
from lightning_gft.arithmetic.rows import draw_splits, mixture_rows

MIXTURE = {"slip": 0.3, "second_skill_fraction": 0.15, "expert_style_fraction": 0.1}
SIZES = {"num_operands": 3, "max_operand": 30}


def _problems(num: int, num_operands: int) -> list[ArithmeticProblem]:
    random = Random(0)
    return [draw_arithmetic(random, num_operands) for _ in range(num)]


def _steps(solution: str) -> list[tuple[int, int]]:
    """Return what each step's two sides come to, by Python's own reckoning."""
    *steps, _ = re.split("[,N]", solution.removeprefix("P"))
    sides = [step.split("=") for step in steps]
    return [(_evaluate(left), int(right)) for left, right in sides]


def _evaluate(expression: str) -> int:
    return sum(int(number) for number in re.findall(r"[+-]?\d+", expression))


@pytest.mark.parametrize("num_operands", [2, 3, 5])
def test_solutions_are_right_step_by_step_in_both_styles(num_operands: int) -> None:
    for problem in _problems(300, num_operands):
        value = eval(problem.prompt.removesuffix("="))  # noqa: S307  # Python as the judge of our own text
        assert problem.answer == str(value)
        for solution in (problem.left_to_right(), problem.signs_apart()):
            assert solution.endswith(f"#{value}")
            assert all(left == right for left, right in _steps(solution))


@pytest.mark.parametrize(
    ("terms", "left_to_right", "signs_apart"),
    [
        ((12, 7, -5), "12+7=19,19-5=14,#14", "P12+7=19N5=5,19-5=14,#14"),
        ((3, -20, 5), "3-20=-17,-17+5=-12,#-12", "P3+5=8N20=20,8-20=-12,#-12"),
        ((3, 4, 5), "3+4=7,7+5=12,#12", "P3+4=7,7+5=12N0=0,12+0=12,#12"),
        ((9, -1, -2, -3), "9-1=8,8-2=6,6-3=3,#3", "P9=9N1+2=3,3+3=6,9-6=3,#3"),
        ((0, 0), "0+0=0,#0", "P0+0=0N0=0,0+0=0,#0"),
    ],
)
def test_styles_to_the_letter(terms: tuple[int, ...], left_to_right: str, signs_apart: str) -> None:
    problem = ArithmeticProblem(terms)
    assert problem.left_to_right() == left_to_right
    assert problem.signs_apart() == signs_apart


def test_problems_use_the_whole_range() -> None:
    terms = [term for problem in _problems(2000, 3) for term in problem.terms]
    assert (min(terms), max(terms)) == (-30, 30)
    assert all(problem.terms[0] >= 0 for problem in _problems(2000, 3))


def test_slips_are_as_frequent_as_stated_and_carried_on() -> None:
    error = slips(0.3, Random(0))
    wrong_steps = wrong_answers = 0
    for problem in _problems(1000, 3):
        solution = problem.left_to_right(error)
        steps = _steps(solution)
        wrong_steps += sum(left != right for left, right in steps)
        wrong_answers += solution.rpartition("#")[2] != problem.answer
        assert all(0 < abs(left - right) <= 3 for left, right in steps if left != right)
        assert f",{steps[0][1]}" in solution  # the second step starts from what the first came to
        assert solution.endswith(f"#{steps[-1][1]}")
    assert 560 < wrong_steps < 640  # of 2000; the standard deviation is 20
    assert 430 < wrong_answers < 530  # 1 - 0.7^2 of 1000, less those that cancel


def test_slips_in_the_experts_style_too() -> None:
    error = slips(1.0, Random(0))
    for problem in _problems(200, 3):
        steps = _steps(problem.signs_apart(error))
        assert any(left != right for left, right in steps)


@pytest.mark.parametrize(
    ("problem", "prompt", "answer"),
    [(LetterProblem("rev", "hdkle"), "rev:hdkle=", "elkdh"), (LetterProblem("sort", "hdkle"), "sort:hdkle=", "dehkl")],
)
def test_letters(problem: LetterProblem, prompt: str, answer: str) -> None:
    assert (problem.prompt, problem.answer, problem.solution) == (prompt, answer, "#" + answer)


def test_letters_come_in_all_lengths_and_both_skills() -> None:
    random = Random(0)
    problems = [draw_letters(random) for _ in range(200)]
    assert {len(problem.letters) for problem in problems} == {4, 5, 6}
    assert {problem.skill for problem in problems} == {"rev", "sort"}


def test_splits_share_nothing_and_the_first_depends_on_no_other() -> None:
    splits = draw_splits(lambda random: draw_arithmetic(random, 2, 9), {"val": 40, "test": 40, "train": 100}, seed="0")
    assert [len(problems) for problems in splits.values()] == [40, 40, 100]
    assert len({problem.prompt for problems in splits.values() for problem in problems}) == 180
    assert draw_splits(lambda random: draw_arithmetic(random, 2, 9), {"val": 40}, seed="0")["val"] == splits["val"]


def test_mixture_has_the_stated_shares() -> None:
    rows = mixture_rows(4000, **MIXTURE, **SIZES, seed=0)
    letters = [row for row in rows if ":" in row["prompt"]]
    sums = [row for row in rows if ":" not in row["prompt"]]
    expert_style = [row for row in sums if row["expert"].startswith("P")]
    right = [row for row in sums if row["expert"].endswith(f"#{row['answer']}")]
    assert 520 < len(letters) < 680  # 600 expected, standard deviation 23
    assert 280 < len(expert_style) < 400  # 340 expected, standard deviation 18
    assert 0.45 < len(right) / len(sums) < 0.57
    assert all(row["expert"] == "#" + row["answer"] for row in letters)


def test_mixture_follows_its_seed() -> None:
    first, same, other = (mixture_rows(50, **MIXTURE, **SIZES, seed=seed) for seed in (0, 0, 1))
    assert first == same
    assert first != other


def test_alphabet_is_exactly_what_occurs() -> None:
    rows = mixture_rows(3000, **MIXTURE, **SIZES, seed=0)
    assert {char for row in rows for char in row["prompt"] + row["expert"]} == set(ARITHMETIC_ALPHABET)
    assert len(set(ARITHMETIC_ALPHABET)) == len(ARITHMETIC_ALPHABET)
