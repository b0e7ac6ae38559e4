"""Answers that are made to hang, crash or deceive a verifier."""

from __future__ import annotations

import itertools
from collections.abc import Iterator


def attacks(count: int) -> list[str]:
    """Return different malicious answers, of all kinds in turn."""
    kinds = [kind() for kind in _KINDS]
    turns = itertools.chain.from_iterable(zip(*kinds, strict=True))
    return list(itertools.islice(turns, count))


def _formulas(*templates: str) -> Iterator[str]:
    for number in itertools.count(2):
        for template in templates:
            yield rf"\boxed{{{template.replace('N', str(number))}}}"


def _powers() -> Iterator[str]:
    return _formulas(
        "N^{9^{9^9}}", "9^{9^{9^N}}", "N^{999999999}", "(N^{99999})^{99999}", "2^{2^{2^{2^{N}}}}", "9**9**9**N",
        r"N^{N^{N^{N^N}}} \bmod 7", "(10^{100})^{N^{20}}", r"\sqrt[999999999]{N}", "1.0000000N^{99999999}",
        "e^{e^{e^{e^N}}}", r"\left(\frac{N}{3}\right)^{-9999999}", "N^{9!}", "N^{1000}^{1000}",
    )  # fmt: skip


def _factorials() -> Iterator[str]:
    return _formulas(
        r"\binom{10^9}{10^8+N}", "N000000!", "(N!)!!", "((9!)!+N)!", r"\binom{N99999}{50000}",
        r"\frac{N00000!}{99999!}",
        r"\prod_{k=1}^{1000000} (k+N)", r"\sum_{k=1}^{10^9} k^N", r"\sum_{k=1}^{\infty} \frac{1}{k^{N.5}}",
        r"\gcd(10^{5000}+N, 10^{4999})", r"\lfloor 10^{10^{N}} \rfloor", r"\sum_{a=1}^{999} \sum_{b=1}^{999} a^b+N",
    )  # fmt: skip


def _analysis() -> Iterator[str]:
    return _formulas(
        r"\int_0^{N} e^{-x^2} \sin(x^3) \ln(1+x) dx", r"\int \frac{\sin x^N}{\ln \cos x} dx",
        r"\lim_{x \to \infty} \left(1+\frac{1}{x}\right)^{x^N}", r"\sin(\sin(\sin(\sin(\sin(N^x)))))",
        r"\left(x+y+z+w\right)^{N0}", r"\left(a+b+c+d+e\right)^{20} - N", r"\frac{x^{N00}-1}{x-1}",
        r"\sqrt{2+\sqrt{3+\sqrt{5+\sqrt{7+\sqrt{11+\sqrt{N}}}}}}", r"x^{N} + x^{99} + x + 1 = 0",
        r"\frac{d^{N0}}{dx^{N0}} e^{\sin x}", r"(1+i)^{N00}", r"\log_{1.000001} N",
        r"\cos(N^{40}) + \sqrt[N]{x^N + y^N}",
    )  # fmt: skip


def _deep() -> Iterator[str]:
    for number in itertools.count(1000):
        few = number // 40
        yield r"\boxed{" * number + "1"
        for before, middle, after, depth in (
            ("(", "1", ")", number),
            ("{", "1", "}", number),
            (r"\sqrt{", "2", "}", number),
            ("|", "x", "|", number),
            ("-", "1", "", number),
            ("", "x", "!", number),
            ("", "x", "_{1", number),
            ("(", "x", ")", few),
            (r"\frac{1}{1+", "2", "}", few),
            (r"\left(", "x+1", r"\right)^2", few),
            (r"\{", "1", r"\}", few),
        ):
            yield rf"\boxed{{{before * depth}{middle}{after * depth}}}"


def _long() -> Iterator[str]:
    pieces = ("1", "1+", "x", "(", "{", "}", "\\", "$", "1,", " ", r"\frac", r"\(", "a=", r"\{1,2\},", "answer is 1 ")
    for number in itertools.count(1):
        size = 50_000 + number
        for piece in pieces:
            yield piece * size
            yield r"\boxed{" + piece * (size // 8)
        rows = r"1 & 2 \\ " * 500
        columns = "1 & " * 90
        elements = ", ".join(f"x_{{{index}}}" for index in range(number, number + 120))
        yield rf"\boxed{{\begin{{pmatrix}}{rows}{number}\end{{pmatrix}}}}"
        yield rf"\boxed{{\begin{{pmatrix}}{columns}x^{number}\end{{pmatrix}}}}"
        yield rf"\boxed{{\{{{elements}\}}}}"
        yield rf"\boxed{{{'x+' * 480}{number}}}"
        yield rf"\boxed{{{'x^2 y+' * 130}{number}}}"


def _broken() -> Iterator[str]:
    for number in itertools.count(1):
        for text in (
            "\\boxed{N\0}", "\\boxed{N\ud800}", "\udfffN", "\\boxed{\ud83dN\\frac", "N\x1b[2J", "\\boxed{N}}}}}{{{",
            "\\boxed{\\frac{N}{", "\\boxed{\\input{/etc/passwd}N}", "\\boxed{__import__('os')._exit(N)}",
            "\\boxed{\\begin{pmatrix}N}", "\\boxed{\\end{pmatrix}N}", "\\boxed{\u202e\u0661N}", "\\boxed{N\\}",
            "\\boxed{lambda: N}", "\\boxed{x.__class__.__mro__[N]}", "\\boxed{\\write18{sleep N}}", "#### N####",
            "\\boxed{\\sqrt[N]}", "\\boxed{^N}", "\\boxed{_N_}", "\\boxed{\\\\\\\\N}", "\\boxed{$$$N$$$}",
            "\\boxed{N\\newline\\def\\a{\\a\\a}\\a}", "\\boxed{a" + "a?" * 30 + "N}", "\\boxed{\u0000\ufeff\u2066N}",
        ):  # fmt: skip
            yield text.replace("N", str(number))


_KINDS = (_powers, _factorials, _analysis, _deep, _long, _broken)
