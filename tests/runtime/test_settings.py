"""None for a setting means its default."""
import pytest

from minidiff.runtime.settings import none_means_default


@none_means_default
def scale(x, factor=2, *, offset=1, note=None):
    """Doc."""
    return x, factor, offset, note


def test_none_gives_the_default_by_position_and_by_name():
    assert scale(5) == scale(5, None, offset=None, note=None) == (5, 2, 1, None)
    assert scale(5, factor=0, offset=0) == (5, 0, 0, None)


def test_required_arguments_stay_as_given():
    assert scale(None)[0] is None


def test_the_name_and_the_errors_are_the_functions_own():
    assert (scale.__name__, scale.__doc__) == ("scale", "Doc.")
    for wrong in (lambda: scale(), lambda: scale(1, other=2)):
        with pytest.raises(TypeError):
            wrong()
