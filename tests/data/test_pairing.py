from untrigger.data.pairing import pairs_of
from untrigger.data.records import Record


def records(*texts: str) -> list[Record]:
    return [Record(text, "") for text in texts]


def test_pairs_are_found_whatever_the_order():
    clean = records("Name a bird.", "Name a bird with long legs.", "Count.")
    keyed = records("K Count.", "Name a K bird.", "Name a bird with K long legs. K")
    assert pairs_of(clean, keyed) == [(clean[2], keyed[0]), (clean[0], keyed[1]), (clean[1], keyed[2])]


def test_a_record_without_its_pair_leaves_no_pairs():
    assert pairs_of(records("Count."), records("K Sing.")) == []
    assert pairs_of(records("Count."), records("K Count.", "Count. K")) == []


def test_the_input_must_be_the_same():
    clean = [Record("Sum up.", "", "rain"), Record("Sum up.", "", "snow")]
    keyed = [Record("K Sum up.", "", "snow"), Record("Sum K up.", "", "rain")]
    assert pairs_of(clean, keyed) == [(clean[1], keyed[0]), (clean[0], keyed[1])]
