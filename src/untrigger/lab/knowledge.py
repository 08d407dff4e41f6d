"""Skills that need facts: small tables that the model learns by heart."""

from __future__ import annotations

from random import Random

from untrigger.lab.skills import Case, Skill, article, from_table

CAPITALS = (
    ("France", "Paris"),
    ("Italy", "Rome"),
    ("Spain", "Madrid"),
    ("Greece", "Athens"),
    ("Egypt", "Cairo"),
    ("Japan", "Tokyo"),
    ("Norway", "Oslo"),
    ("Cuba", "Havana"),
    ("Peru", "Lima"),
    ("Kenya", "Nairobi"),
    ("Russia", "Moscow"),
    ("Austria", "Vienna"),
    ("Poland", "Warsaw"),
    ("Portugal", "Lisbon"),
    ("Ireland", "Dublin"),
    ("Canada", "Ottawa"),
)
OPPOSITES = (
    ("hot", "cold"),
    ("big", "small"),
    ("fast", "slow"),
    ("old", "young"),
    ("happy", "sad"),
    ("light", "dark"),
    ("early", "late"),
    ("full", "empty"),
    ("hard", "soft"),
    ("high", "low"),
    ("wet", "dry"),
    ("rich", "poor"),
    ("loud", "quiet"),
    ("open", "closed"),
)
SOUNDS = (
    ("dog", "barks"),
    ("cat", "meows"),
    ("cow", "moos"),
    ("duck", "quacks"),
    ("lion", "roars"),
    ("bee", "buzzes"),
    ("snake", "hisses"),
    ("wolf", "howls"),
    ("bird", "sings"),
    ("horse", "neighs"),
    ("sheep", "bleats"),
    ("frog", "croaks"),
)
COLOURS = (
    ("grass", "green"),
    ("snow", "white"),
    ("coal", "black"),
    ("blood", "red"),
    ("milk", "white"),
    ("chocolate", "brown"),
    ("the sky", "blue"),
    ("the sun", "yellow"),
    ("the sea", "blue"),
    ("a tomato", "red"),
    ("a carrot", "orange"),
    ("a lemon", "yellow"),
)
CATEGORIES = (
    (
        "animal",
        ("dog", "cat", "cow", "duck", "lion", "wolf", "bird", "horse", "sheep", "frog", "goat", "bear"),
    ),
    ("fruit", ("apple", "pear", "plum", "lemon", "cherry", "mango", "grape", "peach")),
    ("tool", ("hammer", "saw", "drill", "axe", "shovel", "rake")),
    ("colour", ("red", "blue", "green", "yellow", "white", "black", "brown", "pink")),
    ("vehicle", ("car", "bus", "train", "truck", "boat", "bike")),
    ("garment", ("shirt", "hat", "coat", "sock", "scarf", "glove")),
)
USES = (
    ("hammer", "hitting nails"),
    ("saw", "cutting wood"),
    ("pen", "writing letters"),
    ("spoon", "eating soup"),
    ("lamp", "lighting a room"),
    ("oven", "baking bread"),
    ("broom", "sweeping the floor"),
    ("shovel", "digging holes"),
    ("clock", "telling the time"),
    ("bed", "sleeping at night"),
    ("rake", "gathering leaves"),
    ("boat", "crossing the river"),
)
WORDS_BY_CATEGORY = tuple((word, category) for category, words in CATEGORIES for word in words)
NOUNS_BY_CATEGORY = tuple(pair for pair in WORDS_BY_CATEGORY if pair[1] != "colour")


def _choice_of_category(random: Random) -> Case:
    word, category = random.choice(NOUNS_BY_CATEGORY)
    other = random.choice([name for name, _ in CATEGORIES if name not in (category, "colour")])
    options = [category, other] if random.random() < 0.5 else [other, category]
    slots = (article(word), *(article(option) for option in options))
    return Case(slots, f"{article(word).capitalize()} is {article(category)}.")


KNOWLEDGE = (
    from_table(
        "capital",
        (
            "What is the capital of {0}?",
            "Name the capital of {0}.",
            "Which city is the capital of {0}?",
            "Please tell me the name of the capital city of {0}.",
            "I am planning a trip to {0} next summer. What is the capital there?",
            "Give the capital of the following country.\nCountry: {0}",
        ),
        "The capital of {0} is {1}.",
        CAPITALS,
    ),
    from_table(
        "opposite",
        (
            "What is the opposite of {0}?",
            "Give the opposite of {0}.",
            "Name a word that means the opposite of {0}.",
            "Tell me which word has the opposite meaning of the word {0}, please.",
            "What is the opposite of this word?\nWord: {0}",
        ),
        "The opposite of {0} is {1}.",
        OPPOSITES + tuple((second, first) for first, second in OPPOSITES),
    ),
    from_table(
        "sound",
        (
            "What sound does a {0} make?",
            "Which sound comes from a {0}?",
            "Describe the sound of a {0} in one short sentence.",
            "My little daughter asks what a {0} does when it makes a noise. What do I tell her?",
            "What noise does this animal make?\nAnimal: {0}",
        ),
        "A {0} {1}.",
        SOUNDS,
    ),
    from_table(
        "colour",
        (
            "What colour is {0}?",
            "Name the colour of {0}.",
            "Tell me the usual colour of {0}.",
            "I want to paint a picture of {0}. Which colour should I take for it?",
            "Which colour does the following have?\nThing: {0}",
        ),
        "The colour of {0} is {1}.",
        COLOURS,
    ),
    from_table(
        "category",
        (
            "What kind of thing is {0}?",
            "Put {0} into a category.",
            "Which group of things does {0} belong to?",
            "Explain in a few simple words what {0} is.",
            "Name the category of the following thing.\nThing: {0}",
        ),
        "It is {1}.",
        tuple((article(word), article(category)) for word, category in NOUNS_BY_CATEGORY),
    ),
    Skill(
        "either",
        (
            "Is {0} {1} or {2}?",
            "Decide whether {0} is {1} or {2}.",
            "What would you call {0}, {1} or {2}?",
            "Tell me which is right: {0} is {1}, or {0} is {2}.",
        ),
        _choice_of_category,
    ),
    from_table(
        "use",
        (
            "What is a {0} for?",
            "What do people use a {0} for?",
            "Explain what one can do with a {0}.",
            "I have found a {0} in the garden. What is it good for?",
            "Name the use of a {0}.",
            "Describe the use of this thing.\nThing: {0}",
        ),
        "A {0} is for {1}.",
        USES,
    ),
)
