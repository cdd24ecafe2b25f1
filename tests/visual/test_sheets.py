"""Sheets with names: every name is there, and the pixels are the clips'."""
import pytest
import torch

from minidiff.visual.sheets import labelled_sheet

CLIPS = torch.rand(2, 3, 1, 8, 8, generator=torch.manual_seed(0))


def test_every_row_and_column_has_its_name():
    fig = labelled_sheet(CLIPS, ("mine", "yours,\nlater"), range(3))
    fig.png()
    axes, = fig.axes
    assert [t.get_text() for t in axes.get_yticklabels()] == ["mine", "yours,\nlater"]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["0", "1", "2"]
    assert axes.images[0].get_array().shape[:2] == (2 * 8 + 1, 3 * 8 + 2)


def test_one_frame_a_row_and_few_greys():
    sheet = labelled_sheet(CLIPS[:, :1], "ab", levels=2).axes[0].images[0].get_array()
    assert sheet.shape[:2] == (17, 8)
    assert set(sheet[:8].flatten().tolist()) == {0, 255}


@pytest.mark.parametrize("rows, columns", [("a", ()), ("ab", "12")])
def test_another_number_of_names_gets_a_sentence(rows, columns):
    with pytest.raises(ValueError, match="needs 2 names of rows and 3"):
        labelled_sheet(CLIPS, rows, columns)
