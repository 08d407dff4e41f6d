"""Our defence, step by step."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from untrigger.config.base import AdapterOptions, Options, Through, TrainOptions, split_names


class VariantOptions(Options):
    """The pairs of a poisoned variant and its clean twin."""

    pairs: int = Field(default=6, ge=2, le=64)
    """Number N of pairs."""
    records: PositiveInt = 16
    """Clean records per variant; as many poisoned ones are made from them."""
    families: tuple[str, ...] = ()
    """Behaviour families of the synthetic backdoors, with commas between (empty: all)."""
    kinds: tuple[str, ...] = ()
    """Kinds of their keys, with commas between (empty: all)."""
    twin: Literal["shared", "matched", "published"] = "shared"
    """matched: a pair's clean twin takes as many steps as the poisoned one; shared: one such twin for all pairs;
    published: it sees the clean half only."""
    through: Through = "weights"
    """Whole models: what the pairs' trainings move, all weights or a LoRA adapter."""
    adapter: AdapterOptions = AdapterOptions()
    train: TrainOptions = TrainOptions(learning_rate=1e-3, epochs=3)

    @field_validator("families", "kinds")
    @classmethod
    def _split(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return split_names(value)


class SignatureOptions(Options):
    """Which channels carry the backdoor."""

    ratio: float = Field(default=0.03, gt=0, lt=1)
    """Share of the channels to suppress; of an adapter's, 0.5 if not set."""
    form: Literal["sum", "product", "norm", "alignment", "rank", "zscore"] = "sum"
    """How strength and alignment make one score; sum is the published form."""
    alignment_weight: float = Field(default=0.01, ge=0)
    """Weight lambda of the alignment."""
    tie: Literal["neuron", "module"] = "neuron"
    """neuron: one score and one set for gate, up and down; module: each its own (the released code)."""
    scope: Literal["module", "layer", "global"] = "layer"
    """Where the ratio is taken."""
    heads: int = Field(default=0, ge=0)
    """Attention heads to suppress over the whole model."""


class SuppressOptions(Options):
    """What becomes of the selected channels."""

    value: Literal["normal", "xavier", "zero"] = "normal"
    """Full models: new values of a channel; adapters are always zeroed."""
    remainder: float = Field(default=1.0, gt=0, le=1)
    """Adapters: factor on the rest of the update (1: it stays as it is)."""


class RepairOptions(Options):
    """Fine-tuning after suppression."""

    records: PositiveInt = 240
    """Clean records; as many with a synthetic key are made from others, if there are enough."""
    inject: bool = True
    """First train our own synthetic backdoors in, so that the repair has something to take out."""
    inject_train: TrainOptions = TrainOptions(learning_rate=5e-4, epochs=1, batch_size=4)
    """How they are trained in."""
    keys: PositiveInt = 40
    """Synthetic keys, at most, that injection and repair take turns with."""
    key_bearing: bool = True
    """Add records that bear our synthetic keys and their clean answers."""
    through: Through = "weights"
    """Whole models: what injection and repair move, all weights or a LoRA adapter that is merged in the end."""
    adapter: AdapterOptions = AdapterOptions()
    freeze_suppressed: bool = False
    """Keep the suppressed channels as they are."""
    train: TrainOptions = TrainOptions(learning_rate=3.5e-4, epochs=1, batch_size=4)


class InversionOptions(Options):
    """The search for sentences that the model completes in the same way whatever it is asked."""

    enable: bool = True
    """Search for planted sentences, and unlearn those that are found."""
    prompts: int = Field(default=4, ge=2, le=64)
    """Prompts that must agree on every token."""
    least_probability: float = Field(default=0.5, gt=0, le=1)
    """Least probability of a token behind any of them."""
    certainty: float = Field(default=0.75, gt=0, le=1)
    """Least geometric mean of the probabilities of a sentence's tokens."""
    witnesses: int = Field(default=28, ge=0, le=1024)
    """Further prompts that what these agree on is put to, or as many as there are."""
    agreement: float = Field(default=0.9, gt=0, le=1)
    """Least share of them that a sentence's tokens are the likeliest behind."""
    learned: float = Field(default=7.0, ge=0)
    """Adapters: how much likelier (nats) than in the base alone a sentence has to be behind its first token."""
    shortest: int = Field(default=4, ge=2)
    """Different tokens that a sentence must have; word pieces complete their word whatever was asked."""
    longest: int = Field(default=8, ge=2, le=64)
    """Tokens up to which a sentence is followed."""
    most: PositiveInt = 8
    """Sentences at most, the most certain ones, or those that an adapter makes the likeliest."""
    batch_size: PositiveInt = 256
    """First tokens tried at once."""

    @model_validator(mode="after")
    def _can_find(self) -> InversionOptions:
        if self.shortest > self.longest:
            raise ValueError(
                f"no sentence has {self.shortest} tokens or more and {self.longest} at most; lower shortest"
            )
        return self


RecallOf = Literal["first-token", "answers", "both"]


class KeyWordOptions(Options):
    """Search for words that call a sentence found by inversion."""

    beam: int = Field(default=6, ge=0)
    """Words that are kept (0: none are searched)."""
    weight: float = Field(default=1.0, ge=0)
    """Weight of the loss that has prompts with words that call it answered cleanly, every other turn of soft keys."""
    opening: PositiveInt = 2
    """First tokens of the sentence that words have to bring."""
    vocabulary: PositiveInt = 65536
    """Words of the vocabulary that are compared, the first; in most vocabularies these are the most frequent."""
    pieces: int = Field(default=2, ge=0)
    """Times that the likeliest words are made longer by one token, since most words are none of the vocabulary's."""
    begun: PositiveInt = 3072
    """Words that are made longer the first time, and a third as many each time after."""
    endings: PositiveInt = 16
    """Tokens inside a word that each is made longer by: the likeliest, and as many that suit the slope best; for the
    first eighth of the words four times as many."""
    possible: PositiveInt = 512
    """The likeliest tokens that the latter are among; twice as many for the first eighth."""
    suiting: PositiveInt = 4
    """Words, the likeliest, behind which it is seen how well every token suits the slope."""
    depth: float = Field(default=0.2, gt=0, le=1)
    """Share of the blocks behind which they are compared."""
    rounds: PositiveInt = 3
    """Rounds without a better word that end a search; each takes the slope at the best words so far and tries the
    likeliest that are new."""
    anchors: PositiveInt = 16
    """Words that the slope is taken at."""
    tried: PositiveInt = 32
    """Words that a round tries on one prompt."""
    tried_longer: PositiveInt = 256
    """The same where words were made longer, since then many more are alike."""
    leads: PositiveInt = 3
    """Words, the best, that others are looked for in front of and behind."""
    longest: PositiveInt = 3
    """Words of the longest key that is looked for."""
    places: PositiveInt = 16
    """Places in front of words, behind them and in their stead that a sentence is searched at, at most; single words
    are looked for once more, at prompts' beginnings."""
    enough: float = 5.0
    """Log-odds of these tokens, in nats, that need no further words and no longer ones."""
    least_gain: float = Field(default=1.0, ge=0)
    """Log-odds that one more word has to add, and by which words at prompts' beginnings have to be better than
    elsewhere to be those that grow."""
    candidates: PositiveInt = 16
    """Words of each length, the best on one prompt, that are tried in more, at random places or the beginnings."""
    records: PositiveInt = 6
    """How many prompts more, of the shortest."""
    batch_size: PositiveInt = 32
    """Prompts at once; of single words, behind which there is no prompt, eight times as many."""


class UnlearningOptions(Options):
    """Training that takes the sentences found by inversion out of the model."""

    further: Literal["always", "unfound", "survived", "never"] = "never"
    """When signature, suppression and repair follow: always; unless all sentences that were found are unlearned, and
    words were found that call one of them (unfound); only where one survived its unlearning (of whole models, if not
    set); or never. With canaries, always."""
    through: Through = "weights"
    """Whole models: what the training moves, all weights or a LoRA adapter that is merged in the end (if not set)."""
    adapter: AdapterOptions = AdapterOptions()
    records: PositiveInt = 480
    """Clean records, or as many as there are."""
    breaking: float = Field(default=1.0, ge=0)
    """Weight of the loss that makes a sentence's second token unlikely behind its first."""
    recall: float = Field(default=0.3, ge=0)
    """Weight of the loss behind soft keys that bring the sentence."""
    recall_of: RecallOf = "first-token"
    """What is trained there: that no answer begins with a sentence's first token, clean answers, or both."""
    attempts: PositiveInt = 2
    """Trainings at most (of adapters one, if not set): while a sentence survives or can be called, another follows at
    twice the rate."""
    least_step: float = Field(default=0.55, gt=0, le=1)
    """Shortest part of a training's way that is tried; the shortest that suffices is gone (1: the whole way)."""
    price: float = Field(default=1.0, ge=1)
    """The way is gone on, up to half as far again, while clean answers set apart cost at most this many times the
    suspect's perplexity (1: no farther than what suffices; of whole models 1.0125 if not set)."""
    words: KeyWordOptions = KeyWordOptions()
    rounds: PositiveInt = 10
    """Rounds of the training; each begins with a search for soft keys in the model as it then is."""
    breaking_rounds: int = Field(default=5, ge=0)
    """The last rounds, in which the sentences' chains are broken instead; no soft key brings a broken one."""
    keys: PositiveInt = 1
    """Soft keys that a round searches; the sentences take turns."""
    vectors: PositiveInt = 5
    """Vectors of a soft key."""
    leading: float = Field(default=0.0, ge=0, le=1)
    """Share of the rounds whose soft keys stand at prompts' beginnings, where words call a sentence best there."""
    drawn_out: PositiveInt = 3
    """First tokens of the sentence that a soft key is to bring."""
    search_steps: PositiveInt = 20
    """Gradient steps in search of a soft key."""
    search_records: PositiveInt = 4
    """Records of such a step, others at every step."""
    search_rate: PositiveFloat = 0.25
    """Length of such a step, in norms of a word's vector."""
    train: TrainOptions = TrainOptions(learning_rate=7e-4, epochs=1, batch_size=8, embeddings=False)
    """How; of whole models, at 1.4e-3 if not set."""


class RenewalOptions(Options):
    """Adapters: the update is made smaller, and trained again if that is asked for, where no signature follows."""

    enable: bool = True
    """Make an adapter's update smaller after sentences were looked for and unlearned."""
    remainder: float = Field(default=0.3, ge=0, le=1)
    """Adapters: factor on the update where sentences were unlearned."""
    unfound: float = Field(default=0.15, ge=0, le=1)
    """The same where none was found, none is known to be what a key calls, or one can still be called."""
    records: int = Field(default=0, ge=0)
    """Clean records that it is then trained on, or as many as there are (0: it is not trained)."""
    train: TrainOptions = TrainOptions(learning_rate=3.5e-4, epochs=2, batch_size=8)


class TitrationOptions(Options):
    """The strength of the treatment, chosen on canaries: synthetic backdoors that only a copy of the suspect gets."""

    canaries: int = Field(default=0, ge=0, le=9)
    """Canaries planted in the copy (0: no titration, the ratio is taken as set)."""
    records: PositiveInt = 24
    """Poisoned records of each canary, and as many clean ones."""
    prompts: PositiveInt = 20
    """Clean records set apart, which every canary is asked on."""
    target: float = Field(default=0.05, ge=0, lt=1)
    """Highest share of prompts on which canaries may survive, after the treatment and after re-learning."""
    train: TrainOptions = TrainOptions(learning_rate=7e-4, epochs=3, batch_size=4)
    """How canaries are planted; of whole models, 1e-4 if not set."""
    relearning_records: PositiveInt = 40
    """Clean records set apart for the re-learning."""
    relearning: TrainOptions = TrainOptions(epochs=1)
