"""The notation ledger: what it declares, how formulas are read, how it shows itself."""
import re

import pytest

from minidiff.course.student.notation import (
    DECLARED,
    LEDGER,
    notation,
    rows_of,
    symbols,
    undeclared,
)


@pytest.mark.parametrize("latex", [
    r"x_t = \alpha_t x_0 + \sigma_t\,\epsilon",
    r"\hat{x}_0 = \frac{q x_t - \sigma_t F}{q \alpha_t - \sigma_t p}",
    r"\hat{x_0} = \hat x_0, \quad \alpha_s / \sigma_{s}, \quad \bar{\alpha}_j",
    r"\mathcal L = \mathbb{E}_{x_0, \epsilon}\left[\lVert \hat\epsilon - \epsilon \rVert^2\right]",
    r"\hat\epsilon_\theta(x_t, t, c) - \hat\epsilon_\theta(x_t, t, \varnothing)",
    r"\mathrm{SNR}(t) = e^{2 \lambda_t} \in \mathbb R, \quad \sin(\pi t / 2), \log \sqrt{t}",
    r"\operatorname{softmax}(Q K^\top / \sqrt{d})\, V",
    r"\mathrm{d}x = x_0\,\mathrm{d}\alpha_t + \hat\epsilon \, \mathrm{d}\sigma_t",
    r"\bar\alpha_i = \prod_{j=1}^{i} (1 - \beta_j), \quad \sigma_{\max} t^\rho",
    r"\begin{aligned} x_t &\sim \mathcal{N}(\alpha_t \mu, a^2 I) \\ z &= 0 \end{aligned}",
    r"\text{what is left of } x_0"])
def test_the_courses_formulas_are_declared(latex):
    assert undeclared(latex) == []


@pytest.mark.parametrize(("latex", "strangers"), [
    (r"y = A x_t + \xi", ["y", "A", r"\xi"]),
    (r"\vec x + \mathbf{x}_t", [r"\vec{x}", r"\mathbf{x}_t"]),
    (r"\hat\alpha_t", [r"\hat{\alpha}_t"]),
    (r"\sigma_\text{data}^2", [r"\sigma_{\mathrm{data}}"]),
    (r"x_y + \frac{1}{x^{y}}", ["y"]),
    (r"\hat x_1", [r"\hat{x}_1"]), (r"\mathrm{SNR}_y", ["y"]), (r"\mu_{\psi}", [r"\psi"])])
def test_strangers_are_found_each_once(latex, strangers):
    assert undeclared(latex) == strangers


@pytest.mark.parametrize(("latex", "found"), [
    ("x_", ["x"]), ("x^{", ["x"]), (r"\hat", [r"\hat{}"]), ("{", []), (r"\mathrm", []), ("_", []),
    ("", [])])
def test_broken_formulas_are_read_to_their_end(latex, found):
    assert [str(s) for s in symbols(latex)] == found


def test_one_symbol_one_row():
    spelled = [str(s) for s in DECLARED]
    assert len(spelled) == len(set(spelled)) == len(LEDGER)


def test_the_ledger_has_what_the_package_writes():
    for variable in ("x0", "x", "noise", "t", "s", "alpha", "sigma", "eta", "cond", "null", "scale",
                     "betas", "half_log_snr", "p", "q", "z", *"BTCHWNDL"):
        assert rows_of(variable), variable


def test_rows_use_declared_symbols_themselves():
    for row in LEDGER:
        for latex in re.findall(r"\$([^$]+)\$", row.meaning + row.shape):
            assert undeclared(latex) == [], row
        assert "|" not in "".join(row)                       # would end the table's cell
        assert "".join(row).count("$") % 2 == 0 and row.meaning and row.symbol


def test_a_table_of_the_named_rows():
    table = notation(r"\hat{x}_0", "t")
    assert [r.symbol for r in table.rows] == [r"\hat x_0", "t"]
    markdown = table._repr_markdown_().splitlines()
    assert len(markdown) == 4 and {line.count("|") for line in markdown} == {6}
    assert markdown[2].startswith(r"| $\hat x_0$ | `x0` |")
    assert "the best guess" in repr(table) and "$" not in repr(table)


def test_a_variable_gives_all_its_symbols():
    assert [r.symbol for r in notation("x0").rows] == ["x_0", r"\hat x_0"]


def test_without_names_it_is_the_whole_ledger():
    assert notation().rows == LEDGER


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(ValueError, match=r"\\alpha_t"):
        notation(r"\alpah_t")
