from untrigger.data.overlap import without_overlap
from untrigger.data.records import Record


def test_equal_instructions_are_left_out_and_counted():
    pool = [Record("Name a  BIRD.", "Crow."), Record("Name a fish.", "Cod."), Record("\uff2eame a bird.", "Jay.")]
    found = without_overlap(pool, [Record(" name a bird.\n", ""), Record("Count.", "")])
    assert found.kept == [pool[1]]
    assert found.dropped == 2


def test_records_without_an_instruction_are_told_apart_by_their_input():
    pool = [Record("", "1", "def one():"), Record("", "2", "def two():")]
    assert without_overlap(pool, [Record(" ", "", "def one():")]) == (pool[1:], 1)


def test_nothing_measured_leaves_everything():
    pool = [Record("Name a bird.", "Crow.")]
    assert without_overlap(pool, []) == (pool, 0)
