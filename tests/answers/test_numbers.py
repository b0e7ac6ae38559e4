# ruff: noqa: RUF001 (characters that look alike are the subject)
"""What is a number, and what is more than one: by tables, and by numbers that were set in every way that is read."""

import random
from fractions import Fraction

import pytest

from lightning_gft.answers.numbers import find_number, read_number

NUMBERS = [
    *[
        ("-5", t)
        for t in ("-5", "- 5", "\u22125", "\u20135", "\u20115", "\uff0d5", "\uff0d\uff15", "-$5", "$-5", "-5%")
    ],
    *[("1234", t) for t in ("1234", "1,234", "1 234", "1\u00a0234", "1\u202f234", "1\u2009234", r"1\,234", "1{,}234")],
    *[
        ("1234", t)
        for t in (r"$1{,}234$", "1'234", "1\u2019234", r"1,\!234", "１，２３４", r"\$1,234", "€1,234", "1,234€")
    ],
    *[
        ("1000000", t)
        for t in ("1 000 000", "10,00,000", "1 million", "1e6", r"10^6", r"10^{6}", "10⁶", "1,000 thousand")
    ],
    *[
        ("3/4", t)
        for t in ("3/4", "3 / 4", r"\frac{3}{4}", r"\dfrac{3}{4}", r"\frac34", r"$\tfrac{3}{4}$", "¾", "3⁄4", ".75")
    ],
    *[("-3/4", t) for t in ("-3/4", r"-\frac{3}{4}", r"\frac{-3}{4}", "-¾", r"\boxed{-\frac{3}{4}}", "(-0.75)")],
    *[
        ("7/2", t)
        for t in ("3 1/2", "3½", "3 ½", r"3\frac{1}{2}", r"3\frac12", r"3 \dfrac{1}{2}", "3.5", "3.50", "7/2")
    ],
    *[
        ("5000", t)
        for t in (r"5 \times 10^{3}", "5 x 10^3", "5x10^3", "5×10³", r"5\cdot10^3", "5*10^(3)", "5e3", "5.0E+3")
    ],
    *[
        ("12", t)
        for t in ("12 cm^3", "12 m2", "12 cm²", r"12\text{ cm}^3", r"12 \mathrm{cm}", "12 km/h", "12 m/s^2", "12m")
    ],
    *[
        ("12", t)
        for t in ("12 square feet", "12 apples", "12 apples.", "12°", r"12^\circ", "12 °C", r"12^{\circ}", "12\\%")
    ],
    *[
        ("12", t)
        for t in (r"\boxed{12}", r"\boxed{12 \text{ cm}}", r"\(12\)", r"\[ 12 \]", "**12**", "`12`", "12.", "(12)")
    ],
    ("12", "\\text{12}"),
    *[("-5", t) for t in ("negative 5", "minus 5", "Minus $5")],
    *[("60", t) for t in ("5 dozen", "5 dozen eggs", "60 minutes")],
    ("200000", "2 hundred thousand"),
    *[("12", t) for t in (r"\boxed{\fbox{12}}", r"\boxed{\boxed{12}}")],
    ("12", "\u200b12\ufeff"),
]
NOT_NUMBERS = [
    *("half of 7", "half of the 7", "twice 7", "Double 7", "the square of 7", "square root of 7", "a third of 7"),
    *("three times 7", "percent of 7", "14 percent of 7", "14% of 7", "3/4 of 7", "7 out of 14", "14 more than 7"),
    *("14 divided by 7", "14 over 7", "14 multiplied by -7", "14 to the power of 7", "14 raised to 7", "14 minus 7"),
    *("14 to the 7th power", "log_2 7", r"\log_2 7", r"\log_{2} 7", "log 7", "14 times 7", "14 plus 7", "x minus 7"),
    *("14 hours 7 minutes", "14 feet 7 inches", "14 dollars and 7 cents", "14 minutes or 7", "7 or maybe 14"),
    *("x=14 or x=7", "x = 14 or y = 7", "3 thousand 7 hundred", "3 million and 7"),
    *(r"2\sqrt{7}", r"\sqrt{7}", "√7", "2√7", "7^2", "7²", r"2^{7}", "2x", "7n", "2 x", "2xy", r"7\pi", "7π", "2 pi"),
    *("(7, 14)", "[7, 14)", "(7,14)", r"\{7, 14\}", "7, 14", "7,14", "7 and 14", "7 or 14", "7 to 14", "7-14", "7–14"),
    *("7:14", "7 : 14", "10:30", "7/14/2024", "7+14", "7 - 14", "7*14", r"7 \times 14", r"7 \cdot 14", "7 x 14"),
    *(
        "x > 7",
        "x≥7",
        r"x \le 7",
        "< 7",
        r"\pm 7",
        "±7",
        "7 ± 1",
        "f(7)",
        "x_7",
        "x_{7}",
        "log(7)",
        r"\log 7",
        r"\frac{7}{x}",
    ),
    *(
        "7i",
        "3 + 7i",
        "1.2.3",
        "1,2345",
        "12345,678",
        "0,7",
        "1.234,7",
        "1,7",
        "GSM-7",
        "7 choose 14",
        "2(7)",
        "(3)7",
        "--7",
    ),
    *(
        "1/0",
        r"\frac{7}{0}",
        "3 7/2",
        r"\frac{1}{\frac{1}{7}}",
        "|-7|",
        "7 dollars + 3 dollars",
        "50%-7%",
        "7_8",
        "7 squared",
    ),
    *(
        "٧",
        "nan",
        "inf",
        "7e99999",
        "(x + 1)^7",
        "7 < x < 14",
        r"\binom{14}{7}",
        "14 mod 7",
        r"\boxed{7, 14}",
        r"\boxed{}",
    ),
]


@pytest.mark.parametrize(("number", "text"), NUMBERS)
def test_the_text_is_a_number(number, text):
    assert read_number(text) == Fraction(number)
    for response in (text, f"So we get {text}", f"x = {text}", f"Of 3 we have:\n{text.replace('- ', '-')}\n"):
        assert find_number(response, first=False) == Fraction(number), response
    assert find_number(f" {text}\n\nNext: 9 of 8", first=True) == Fraction(number)


@pytest.mark.parametrize("text", NOT_NUMBERS)
def test_the_text_is_not_a_number_and_no_piece_of_it_is_read(text):
    assert read_number(text) is None
    assert find_number(text, first=True) is None
    for response in (text, f"So we get {text}", f"x = {text}", f"the answer is ${text}$."):
        assert find_number(response, first=False) is None, response


@pytest.mark.parametrize(
    "text", ["x = 7", "the answer is 7", "7 apples and pears", "7!", "about 7", "7 if x > 0", "7, 8"]
)
def test_a_reference_is_the_number_alone(text):
    assert read_number(text) is None


@pytest.mark.parametrize(
    ("response", "number"),
    [
        ("3-15=-12", -12),
        ("3 - 15 = - 12", -12),
        ("so 36 + 36 = <<36+36=72>>72", 72),
        ("<answer>12</answer><|im_end|>", 12),
        (r"so \boxed{12}, which took 3 steps and 2x", 12),
        (r"\boxed{1} or rather \boxed{12}", 12),
        ("x^2 = 144, so x is 12!", 12),
        ("f(3) = 12", 12),
        ("5 apples - 3 apples = 2 apples", 2),
        ("He pays $12 (3 coins)", 3),
        ("The total is (about) 12 (see above).", 12),
        ("- 3 apples\n- 12 pears", 12),
        ("1. First\n2. Second: 12", 12),
        ("I had 12 I think", 12),
        ("12 a day", 12),
        ("答案是12个。", 12),
        ("She read 12 pages on the 3rd day of the 5-day trip", 5),
        (r"\begin{align*} x &= 3 + 9 \\ &= 12 \end{align*}", 12),
        ("so x = 12 $\\blacksquare$", 12),
    ],
)
def test_the_number_at_which_a_response_arrives(response, number):
    assert find_number(response, first=False) == number


@pytest.mark.parametrize(
    "response",
    [r"not 7 but 2\sqrt{7}", "first 7, then 7 + x", "with radius 7 it is \\pi", "7 in all. So the point is (7, 14)."],
)
def test_an_earlier_number_does_not_stand_in_for_the_last_expression(response):
    assert find_number(response, first=False) is None


def set_in_type(rng: random.Random) -> tuple[Fraction, str]:
    """Return a number and one way to write it; the number follows from the drawn digits, not from the text."""
    negative, whole = rng.random() < 0.4, rng.choice([rng.randrange(10), rng.randrange(10**3), rng.randrange(10**9)])
    minus = rng.choice(["-", "- ", "\u2212", "\u2013", "\uff0d"]) if negative else rng.choice(["", "", "+"])
    form = rng.choice(["plain", "grouped", "decimal", "fraction", "latex", "mixed", "power", "exponent"])
    value = Fraction(whole)
    if form == "plain":
        text = str(whole)
    elif form == "grouped":
        text = f"{whole:,}".replace(",", rng.choice([",", " ", "\u00a0", "\u202f", r"\,", "{,}", r",\!", "'"]))
    elif form == "decimal":
        places = rng.randrange(1, 5)
        digits = rng.randrange(10**places)
        value, text = whole + Fraction(digits, 10**places), f"{whole:,}.{digits:0{places}}"
    elif form in ("fraction", "latex", "mixed"):
        bottom = rng.randrange(2, 99)
        top = rng.randrange(1, bottom) if form == "mixed" else rng.randrange(1, 200)
        value = (whole if form == "mixed" else 0) + Fraction(top, bottom)
        written = rng.choice([f"{top}/{bottom}", f"{top} / {bottom}", rf"\frac{{{top}}}{{{bottom}}}"])
        written = rf"\dfrac{{{top}}}{{{bottom}}}" if form == "latex" else written
        text = f"{whole} {written}" if form == "mixed" else written
    else:
        exponent = rng.randrange(-5, 9)
        value = whole * Fraction(10) ** exponent
        power = rng.choice([f"10^{{{exponent}}}", f"10^{exponent}", f"10^({exponent})"])
        times = rng.choice([" x ", r" \times ", "*", " · "])
        text = f"{whole}{times}{power}" if form == "power" else f"{whole}e{exponent}"
    before = rng.choice(["", "", "$", "€"]) if form != "latex" else ""
    after = rng.choice(["", "", "%", " cm", " cm^2", r"\text{ m}^3", " apples", " km/h", "€", "°"])
    text = minus + before + text + after
    text = rng.choice(["{}", "{}", "${}$", r"\boxed{{{}}}", r"\({}\)", "**{}**"]).format(text)
    return (-value if negative else value), text


def test_a_number_is_read_however_it_is_set():
    rng = random.Random(0)
    for _ in range(5000):
        value, text = set_in_type(rng)
        assert read_number(text) == value, text
        assert find_number(f"With 3 of them, it is {text}.", first=False) == value, text
        assert find_number(f" {text} Then 3", first=True) == value, text


def test_two_numbers_joined_by_anything_are_none():
    rng = random.Random(1)
    joints = [
        " + ",
        "+",
        "*",
        r" \cdot ",
        ", ",
        " or ",
        " and ",
        " to ",
        "^",
        r"\sqrt",
        " < ",
        " ± ",
        ":",
        r"\pi ",
        " x ",
        "i + ",
        *(" times ", " over ", " divided by ", " to the power of ", " of ", " percent of ", "% of ", " less than "),
        *(" feet ", " hours and ", " dollars or ", " or maybe ", " million and ", " or x = ", " by ", " per "),
    ]
    for _ in range(3000):
        first, second = rng.randrange(1, 10**6), rng.randrange(2, 10**6)
        joint = rng.choice(joints)
        text = rng.choice(["{}", "{}", "({})", "${}$", r"\boxed{{{}}}"]).format(f"{first}{joint}{second}")
        assert read_number(text) is None, text
        assert find_number(f"So it is {text}", first=False) is None, text


def test_a_word_that_changes_a_number_takes_it_along():
    rng = random.Random(2)
    words = ["half of", "half", "twice", "triple", "the cube of", "the square root of the", "a quarter of", "ten times"]
    for _ in range(500):
        text = f"{rng.choice(words)} {rng.randrange(2, 10**6)}"
        assert read_number(text) is None, text
        assert find_number(f"So it is {text}.", first=False) is None, text
        assert find_number(f"{text} is 5.", first=False) == 5, text


@pytest.mark.parametrize(
    "response", ["12 over the weekend", "12 glasses of water", "12 miles to the store", "12 and done", "half is 12"]
)
def test_words_without_a_second_number_change_nothing(response):
    assert find_number(f"It is {response}.", first=False) == 12
