from __future__ import annotations

import numpy as np
import pytest

from lissom.errors import TaskError
from lissom.sources.text_files import read_pairs, read_texts


@pytest.fixture
def written(tmp_path):
    def write(content):
        path = tmp_path / "data.tsv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def test_one_text_per_line_and_blank_lines_are_none(written):
    texts, labels = read_texts(written("\ufeffone\r\n\r\ntwo\u2028still two\n\n"))
    assert texts == ["one", "two\u2028still two"]
    assert labels is None


def test_labels_are_integers_or_floats(written):
    texts, labels = read_texts(written("label\tsentence\n1\ta\n0\tb\n"))
    assert texts == ["a", "b"]
    np.testing.assert_array_equal(labels, np.array([1, 0]))
    assert labels.dtype == np.int64
    _, labels = read_texts(written("sentence\tlabel\na\t1\nb\t0.5\n"))
    assert labels.dtype == np.float64


def test_quotes_are_text_and_other_columns_are_left_out(written):
    first, second, scores = read_pairs(
        written('genre\tscore\tsentence1\tsentence2\nnews\t4.5\t"quoted\t it\'s "so"\n')
    )
    assert (first, second) == (['"quoted'], [' it\'s "so"'])
    np.testing.assert_array_equal(scores, [4.5])


@pytest.mark.parametrize(
    ("content", "says", "where"),
    [
        ("", "no text", "data.tsv"),
        ("\n \n", "no text", "data.tsv"),
        ("score\tsentence1\tsentence2\n", "no text below its header", "data.tsv"),
        ("5\tone\ttwo\n", "lacks the column 'score'", "line 1"),
        ("score\ts1\tsentence2\n", "lacks the column 'sentence1'; it has: score, s1", "line 1"),
        ("score,sentence1,sentence2\n1,a,b\n", "lacks the column 'score'", "line 1"),
        ("score\tsentence1\tsentence2\n1\ta\tb\n2\ta\n", "2 columns, the header 3", "line 3"),
        ("score\tsentence1\tsentence2\n1\ta\tb\nx\ta\tb\n", "score 'x' is not a", "line 3"),
        ("score\tsentence1\tsentence2\nnan\ta\tb\n", "score 'nan' is not a number", "line 2"),
        (b"score\tsentence1\tsentence2\n1\tcaf\xe9\tb\n", "line 2 is not UTF-8", "data.tsv"),
    ],
)
def test_a_wrong_table_of_pairs_is_refused_with_its_line(written, content, says, where):
    with pytest.raises(TaskError, match=says) as error:
        read_pairs(written(content))
    assert error.value.where.endswith(where)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "no text"),
        ("text\tlabel\na\t1\n", "lacks the column 'sentence'"),
        ("sentence\na\n", "lacks the column 'label'"),
        ("sentence\tlabel\na\tpositive\n", "label 'positive' is not a number"),
        ("sentence\tlabel\na\t99999999999999999999\n", "too large"),
    ],
)
def test_a_wrong_table_of_texts_is_refused(written, content, says):
    with pytest.raises(TaskError, match=says):
        read_texts(written(content))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(TaskError, match="No such file") as error:
        read_texts(tmp_path / "none.txt")
    assert error.value.where.endswith("none.txt")


def test_a_label_of_thousands_of_digits_is_no_class(tmp_path):
    (tmp_path / "t.tsv").write_text(f"sentence\tlabel\na\t{'9' * 5000}\n")
    with pytest.raises(TaskError, match="too large to be a class"):
        read_texts(tmp_path / "t.tsv")
