import numpy as np
import pytest

from pictures import encoded, folder_of
from vaekit.data import open_data
from vaekit.data.tables import read_table
from vaekit.errors import DataError, UsageError


@pytest.fixture
def open_with(tmp_path):
    """Open a folder of six pictures with a table of the given text."""
    folder = folder_of(tmp_path / "x", 6)

    def opening(text, name="table.csv", **options):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return open_data(folder, attributes=tmp_path / name, cache=tmp_path / "cache", **options)

    return opening


def test_numbers_words_signs_and_unknown(open_with):
    data = open_with(
        "file,age,smile,glasses,tall\n000.png,31.5,yes,-1,1\n001.png,,No,1,0\n002,8,TRUE,-1,1\n003.png,nan,false,1,\n"
        "004.png,2,yes,1,1\n./005.png,3,no,-1,0\n"
    )
    assert data.attribute_names == ("age", "smile", "glasses", "tall")
    np.testing.assert_array_equal(data.attributes[:, 0], np.array([31.5, np.nan, 8, np.nan, 2, 3], np.float32))
    np.testing.assert_array_equal(data.attributes[:, 1], [1, 0, 1, 0, 1, 0])
    np.testing.assert_array_equal(data.attributes[:, 2], [0, 1, 0, 1, 1, 0])
    assert np.isnan(data.attributes[3, 3])
    assert not data.quarantine


@pytest.mark.parametrize(
    ("separator", "name"), [(",", "t.csv"), (";", "t.csv"), ("\t", "t.tsv"), (" ", "t.txt"), ("\t", "t.txt")]
)
def test_separators(open_with, separator, name):
    rows = [["name", "a", "b"], *([f"{i:03d}.png", str(i), str(i % 2)] for i in range(6))]
    data = open_with("\r\n".join(separator.join(row) for row in rows), name)
    assert data.attribute_names == ("a", "b")
    np.testing.assert_array_equal(data.attributes[:, 0], range(6))


def test_rows_and_images_that_do_not_meet_are_named(open_with):
    data = open_with("file,a\n000.png,1\n000.png,0\nnobody.png,1\n002.png,1\n003.png,1,7\n")
    assert data.quarantine.paths("row repeated") == ("000.png",)
    assert data.quarantine.paths("row without image") == ("nobody.png",)
    assert data.quarantine.paths("row malformed") == ("table.csv:6",)
    assert data.quarantine.paths("image without row") == ("001.png", "003.png", "004.png", "005.png")
    assert len(data) == 6
    np.testing.assert_array_equal(data.attributes[:, 0], [1, np.nan, 1, np.nan, np.nan, np.nan])


def test_texts_become_kinds_or_are_left_out_by_name(open_with):
    rows = [f"{i:03d}.png,{'red' if i % 2 else 'blue'},note {i}" for i in range(6)]
    data = open_with("file,hair,note\n" + "\n".join(rows))
    assert data.attribute_names[:2] == ("hair=blue", "hair=red")
    np.testing.assert_array_equal(data.attributes[:, 1], [0, 1, 0, 1, 0, 1])


def test_a_mistyped_number_is_told(open_with):
    """In a column of numbers, where most others are some; not in one of kinds."""
    smiles = ["1", "0", "O", "1", "0", ""]
    rows = [f"{i:03d}.png,{smile},{'red' if i % 2 else 'blue'},{'yes' if i % 3 else 'n'}" for i, smile in enumerate(smiles)]
    data = open_with("file,Smiling,hair,hat\n" + "\n".join(rows))
    assert data.attribute_names[:3] == ("Smiling=0", "Smiling=1", "Smiling=O")
    told = "4 values are numbers and 1 is not: 'O' of 002.png; it is read as kinds. Mend the cell"
    assert {path: (reason, detail.startswith(told)) for path, (reason, detail) in said_of(data).items()} == {
        "table.csv:Smiling": ("numbers beside texts", True),
        "table.csv:hat": ("numbers beside texts", False),
    }
    assert told in data.summary()
    assert not data.quarantine.lost


def test_a_malformed_row_is_counted_and_told(open_with):
    said = open_with("file,a\n000.png,1\n001.png\n002.png,0,7\n003.png,0\n").summary()
    assert "2 x row malformed (not used): table.csv:3 (1 cells, the header has 2), table.csv:4 (3 cells" in said


def test_mistyped_numbers_of_many_values_are_told(tmp_path):
    folder = folder_of(tmp_path / "x", 40, height=8, width=8)
    cells = [f"{i}" if i < 36 else f"{i} years" for i in range(40)]
    (tmp_path / "t.csv").write_text("file,a,age\n" + "\n".join(f"{i:03d}.png,1,{cell}" for i, cell in enumerate(cells)))
    data = open_data(folder, attributes=tmp_path / "t.csv", cache=tmp_path / "cache")
    reason, detail = said_of(data)["t.csv:age"]
    assert reason == "column left out"
    assert detail.startswith("36 values are numbers and 4 are not: '36 years' of 036.png, '37 years' of 037.png")


def test_many_texts_are_left_out(tmp_path):
    folder = folder_of(tmp_path / "x", 40, height=8, width=8)
    (tmp_path / "t.csv").write_text("file,a,note\n" + "\n".join(f"{i:03d}.png,1,note {i}" for i in range(40)))
    data = open_data(folder, attributes=tmp_path / "t.csv", cache=tmp_path / "cache")
    assert data.attribute_names == ("a",)
    assert data.quarantine.paths("column left out") == ("t.csv:note",)


def said_of(data):
    return {finding.path: (finding.reason, finding.detail) for finding in data.quarantine.findings}


def test_columns_that_no_attribute_can_be_made_of_are_named(open_with):
    rows = "".join(f"{i:03d}.png,{i},{10 * i},7,8,{i % 2}\n" for i in range(6))
    data = open_with("file,a,a,,__metadata__,b\n" + rows)
    assert data.attribute_names == ("a", "b")
    np.testing.assert_array_equal(data.attributes, [[i, i % 2] for i in range(6)])
    found = said_of(data)
    assert {reason for reason, _ in found.values()} == {"column left out"}
    assert found["table.csv:a"][1] == "column 3 has the name of column 2, which is used"
    assert found["table.csv:"][1] == "column 4 has no name"
    assert "reserved" in found["table.csv:__metadata__"][1]
    with pytest.raises(DataError, match="the columns are a, b"):
        open_with("file,a,a,,__metadata__,b\n" + rows, group="__metadata__")


def test_a_kind_whose_name_is_taken_is_named(open_with):
    rows = "".join(f"{i:03d}.png,{i},{'xy'[i % 2]}\n" for i in range(6))
    data = open_with("file,hair=x,hair\n" + rows)
    assert data.attribute_names == ("hair=x", "hair=y")
    np.testing.assert_array_equal(data.attributes[:, 0], range(6))
    assert data.quarantine.paths("column left out") == ("table.csv:hair=x",)


def test_values_that_are_not_finite_are_unknown_and_named(open_with):
    cells = [("1", "-1", "inf"), ("1e39", "1", "-Infinity"), ("inf", "-inf", "1e400"), ("-3.4e38", "1", "-nan"), ("2", "-1", "")]
    data = open_with("file,a,sign,none\n" + "".join(f"{i:03d}.png,{','.join(its)}\n" for i, its in enumerate(cells)))
    assert data.attribute_names == ("a", "sign")
    np.testing.assert_array_equal(data.attributes[:5, 0], np.array([1, np.nan, np.nan, -3.4e38, 2], np.float32))
    np.testing.assert_array_equal(data.attributes[:5, 1], [0, 1, np.nan, 1, 0])
    assert data.quarantine.paths("value not finite") == ("table.csv:a", "table.csv:sign", "table.csv:none")
    assert data.quarantine.paths("column left out") == ("table.csv:none",)
    details = [finding.detail for finding in data.quarantine.findings if finding.reason == "value not finite"]
    assert details[:2] == ["unknown there: 1e39, inf", "unknown there: -inf"]
    assert not data.quarantine.lost


def test_label_column(open_with):
    data = open_with("file,label,a\n" + "\n".join(f"{i:03d}.png,{10 if i % 2 else 2},{i}" for i in range(5)))
    assert data.label_names == ("2", "10")
    np.testing.assert_array_equal(data.labels, [0, 1, 0, 1, 0, -1])
    assert data.attribute_names == ("a",)


def test_groups_stay_together(tmp_path):
    folder = folder_of(tmp_path / "x", 60, height=8, width=8)
    (tmp_path / "t.csv").write_text("file,who,a\n" + "\n".join(f"{i:03d}.png,p{i // 4},1" for i in range(60)))
    data = open_data(folder, attributes=tmp_path / "t.csv", group="who", cache=tmp_path / "cache")
    sides = {side: {i // 4 for i in indices} for side, indices in data.splits.items()}
    assert not sides["train"] & sides["validation"]
    assert not sides["train"] & sides["test"]
    assert data.attribute_names == ("a",)
    with pytest.raises(DataError, match=r"'nobody'.*who, a"):
        open_data(folder, attributes=tmp_path / "t.csv", group="nobody", cache=tmp_path / "cache")
    with pytest.raises(DataError, match="no attribute table"):
        open_data(folder, group="who", cache=tmp_path / "cache")


def test_tables_that_cannot_be_used(open_with, tmp_path):
    for text, words in (
        ("file,a\nx.png,1\n", "No row"),
        ("", "0 rows"),
        ("file,a\n", "0 rows"),
        ("file\n000.png\n", "0 columns"),
    ):
        with pytest.raises(DataError, match=words):
            open_with(text)
    with pytest.raises(DataError, match="no attribute table"):
        open_data(tmp_path / "x", attributes=tmp_path / "missing.csv", cache=tmp_path / "cache")
    (tmp_path / "latin.csv").write_bytes(b"file,a\n\xe9,1\n")
    with pytest.raises(DataError, match="UTF-8"):
        open_data(tmp_path / "x", attributes=tmp_path / "latin.csv", cache=tmp_path / "cache")
    with pytest.raises(UsageError, match="array"):
        open_data("digits", attributes=tmp_path / "latin.csv")


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"file,a\n\xe9.png,1\n", "byte 0xe9 in line 2"), ("file,a\n0.png,1\n".encode("utf-16-be"), "a zero byte in line 1")],
)
def test_a_table_that_is_no_text_is_told_in_words(tmp_path, content, told):
    (tmp_path / "table.csv").write_bytes(content)
    with pytest.raises(DataError, match=f"is no text in UTF-8: there is {told}. Expected csv.* a spreadsheet as csv"):
        read_table(tmp_path / "table.csv")


def test_a_changed_table_is_read_again(open_with):
    before = open_with("file,a\n000.png,1\n")
    after = open_with("file,a\n000.png,0\n001.png,1\n")
    assert (before.attributes[0, 0], after.attributes[0, 0]) == (1, 0)
    assert before.digest != after.digest


@pytest.fixture
def faces(tmp_path):
    """A small folder in CelebA's layout: ten pictures, twelve rows, a first line that is wrong."""
    root = tmp_path / "celeba"
    (root / "img_align_celeba").mkdir(parents=True)
    for i in range(10):
        (root / "img_align_celeba" / f"{i + 1:06d}.jpg").write_bytes(encoded(i, "JPEG"))
    return root


def test_celeba_original_form(faces, tmp_path):
    rows = [f"{i + 1:06d}.jpg  {1 if i % 2 else -1} {-1 if i % 3 else 1}" for i in range(12)]
    (faces / "list_attr_celeba.txt").write_text("202599\nSmiling Male \n" + "\n".join(rows) + "\n")
    data = open_data(faces, cache=tmp_path / "cache")
    assert data.attribute_names == ("Smiling", "Male")
    np.testing.assert_array_equal(data.attributes[:, 0], [0, 1] * 5)
    assert data.files[0] == "img_align_celeba/000001.jpg"
    assert data.quarantine.counts == {"row without image": 2}
    assert data.labels is None


def test_celeba_csv_partition_and_identity(faces, tmp_path):
    rows = [f"{i + 1:06d}.jpg,{i % 2}" for i in range(10)]
    (faces / "list_attr_celeba.csv").write_text("image_id,Smiling\n" + "\n".join(rows))
    (faces / "identity_CelebA.txt").write_text("\n".join(f"{i + 1:06d}.jpg {i // 2}" for i in range(10)))
    data = open_data(faces, cache=tmp_path / "cache")
    side = {int(i): name for name, indices in data.splits.items() for i in indices}
    assert all(side[2 * i] == side[2 * i + 1] for i in range(5))
    (faces / "list_eval_partition.csv").write_text(
        "image_id,partition\n" + "\n".join(f"{i + 1:06d}.jpg,{max(0, i - 7)}" for i in range(10))
    )
    data = open_data(faces, cache=tmp_path / "cache")
    assert {name: indices.tolist() for name, indices in data.splits.items()} == {
        "train": list(range(8)),
        "validation": [8],
        "test": [9],
    }
    np.testing.assert_array_equal(data.attributes[:, 0], [0, 1] * 5)


def test_celeba_by_name(faces, tmp_path, monkeypatch):
    monkeypatch.delenv("VAEKIT_DATA", raising=False)
    with pytest.raises(DataError, match="img_align_celeba"):
        open_data("celeba", cache=tmp_path / "cache")
    (faces / "list_attr_celeba.txt").write_text("3\nSmiling\n" + "".join(f"{i + 1:06d}.jpg 1\n" for i in range(10)))
    monkeypatch.setenv("VAEKIT_DATA", str(tmp_path))
    data = open_data("celeba", cache=tmp_path / "cache")
    assert (len(data), data.name, data.description["source"]) == (10, "celeba", "celeba")


def test_a_broken_picture_takes_its_row_with_it(faces, tmp_path):
    (faces / "list_attr_celeba.txt").write_text(
        "10\nSmiling\n" + "".join(f"{i + 1:06d}.jpg {1 - 2 * (i > 4)}\n" for i in range(10))
    )
    (faces / "img_align_celeba" / "000003.jpg").write_bytes(b"")
    data = open_data(faces, cache=tmp_path / "cache")
    assert data.quarantine.counts == {"empty file": 1}
    np.testing.assert_array_equal(data.attributes[:, 0], [1, 1, 1, 1, 0, 0, 0, 0, 0])


def test_separators_at_line_ends_shift_nothing(open_with):
    rows = [f"{i:03d}.png,{i},{i % 2}" for i in range(6)]
    plain = open_with("file,Smiling,Hat\n" + "\n".join(rows))
    for head, end in (("file,Smiling,Hat", ","), ("file,Smiling,Hat,", ","), ("file,Smiling,Hat,,", ",,,")):
        data = open_with(head + "\n" + "\n".join(row + end for row in rows))
        assert data.attribute_names == ("Smiling", "Hat")
        np.testing.assert_array_equal(data.attributes, plain.attributes)
        assert not data.quarantine
    unknown = open_with("file,Smiling,Hat\n000.png,1,\n001.png,0,1,\n002.png,1,0,7\n")
    assert np.isnan(unknown.attributes[0, 1])
    np.testing.assert_array_equal(unknown.attributes[1], [0, 1])
    assert unknown.quarantine.paths("row malformed") == ("table.csv:4",)


@pytest.mark.parametrize("separator", [",", "\t", ";"])
def test_a_header_one_shorter_is_for_spaces_alone(open_with, separator):
    rows = [["Smiling", "Hat"], *([f"{i:03d}.png", "1", "0"] for i in range(6))]
    with pytest.raises(DataError, match=r"0 rows.*:2 has 3 cells, the header has 2"):
        open_with("\n".join(separator.join(row) for row in rows))
    spaced = open_with("\n".join(" ".join(row) for row in [*rows[:1], ["000.png", "1"], *rows[2:]]), "t.txt")
    assert spaced.attribute_names == ("Smiling", "Hat")
    assert spaced.quarantine.paths("row malformed") == ("t.txt:2",)


def test_of_twins_the_one_with_a_row_stays(tmp_path):
    folder = folder_of(tmp_path / "x", 6)
    for twin in ("100.png", "101.png"):
        (folder / twin).write_bytes((folder / "002.png").read_bytes())
    rows = {f"{i:03d}.png": i for i in (0, 1, 3, 4, 5)} | {"101.png": 7}
    (tmp_path / "t.csv").write_text("file,a\n" + "".join(f"{name},{value}\n" for name, value in rows.items()))
    data = open_data(folder, attributes=tmp_path / "t.csv", cache=tmp_path / "cache")
    assert data.files == ("000.png", "001.png", "101.png", "003.png", "004.png", "005.png")
    np.testing.assert_array_equal(data.attributes[:, 0], [0, 1, 7, 3, 4, 5])
    said = {finding.path: finding.detail for finding in data.quarantine.findings}
    assert said == {"002.png": "same bytes as 101.png", "100.png": "same bytes as 101.png"}
    plain = open_data(folder, cache=tmp_path / "cache")
    assert plain.files[2] == "002.png"
    assert plain.quarantine.paths("duplicate") == ("100.png", "101.png")
    np.testing.assert_array_equal(plain.pixels, data.pixels)


def test_an_unknown_group_is_none(tmp_path):
    folder = folder_of(tmp_path / "x", 60, height=8, width=8)
    words = ("na", "?", "", "NaN")
    (tmp_path / "t.csv").write_text(
        "file,who,none\n" + "".join(f"{i:03d}.png,{words[i % 4]},\n" for i in range(59)) + "059.png,p,?\n"
    )
    data = open_data(folder, attributes=tmp_path / "t.csv", group="who", cache=tmp_path / "cache")
    assert all(len(indices) > 1 for indices in data.splits.values())
    with pytest.raises(DataError, match="no picture has a value"):
        open_data(folder, attributes=tmp_path / "t.csv", group="none", cache=tmp_path / "cache")


def test_labels_alone_are_no_attributes(open_with):
    rows = "".join(f"{i:03d}.png,{'ab'[i % 2]},{i // 2}\n" for i in range(6))
    data = open_with("file,label,who\n" + rows, group="who")
    assert data.label_names == ("a", "b")
    assert (data.attributes, data.attribute_names) == (None, ())


def test_a_group_that_official_folders_part_is_refused(tmp_path):
    for side in ("train", "test"):
        for i in range(12):
            (tmp_path / "x" / side).mkdir(parents=True, exist_ok=True)
            (tmp_path / "x" / side / f"{side}{i}.png").write_bytes(encoded(i + 100 * (side == "test"), height=8, width=8))
    table = tmp_path / "t.csv"
    table.write_text(
        "file,who\n"
        + "".join(f"{side}{i}.png,{side if i % 2 else ''}{i // 2}\n" for side in ("train", "test") for i in range(12))
    )
    with pytest.raises(
        DataError, match=r"part 6 of its groups: of '0', test/test0.png is in test and train/train0.png is in train.*Leave"
    ):
        open_data(tmp_path / "x", attributes=table, group="who", cache=tmp_path / "cache")
    table.write_text("file,who\n" + "".join(f"{side}{i}.png,{side}{i // 2}\n" for side in ("train", "test") for i in range(12)))
    data = open_data(tmp_path / "x", attributes=table, group="who", cache=tmp_path / "cache")
    assert {data.files[i].split("/")[0] for i in data.splits["test"]} == {"test"}
    validation = {int(data.files[i][11:-4]) // 2 for i in data.splits["validation"]}
    assert validation
    assert not validation & {int(data.files[i][11:-4]) // 2 for i in data.splits["train"]}


def test_celeba_partition_wins_over_identities_and_says_so(faces, tmp_path):
    (faces / "list_attr_celeba.txt").write_text("10\nSmiling\n" + "".join(f"{i + 1:06d}.jpg 1\n" for i in range(10)))
    (faces / "identity_CelebA.txt").write_text("\n".join(f"{i + 1:06d}.jpg {i // 2}" for i in range(10)))
    (faces / "list_eval_partition.txt").write_text("\n".join(f"{i + 1:06d}.jpg {max(0, i - 7)}" for i in range(10)))
    data = open_data(faces, cache=tmp_path / "cache")
    assert (data.splits["validation"].tolist(), data.splits["test"].tolist()) == ([8], [9])
    (finding,) = data.quarantine.findings
    assert (finding.path, finding.reason) == ("group 4", "group parted")
    assert "000009.jpg is in validation" in finding.detail
    assert not data.quarantine.lost
    with pytest.raises(DataError, match=r"group='identity'.*of '4'"):
        open_data(faces, group="identity", cache=tmp_path / "cache")
