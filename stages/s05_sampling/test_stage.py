"""Stage 05's promises: the tokens that may be drawn are transformers', the draws follow their probabilities, and a seed
gives the same text in any batch."""

from __future__ import annotations

import json
import math
import sys
import tomllib
from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from common.bench.results import ROOT
from common.errors import UserError
from common.loader import load_model
from common.terminal.command_line import run

# Through modules, so that each test fails by itself on an engine that lacks what it needs.
from . import bench, engine
from .engine import noise, sampler
from .lesson import distribution as shown
from .lesson import reference, work

CPU = torch.device("cpu")
INF = float("inf")


def params(**values):
    return engine.SamplingParams(**{"temperature": 1.0, "seed": 1, **values})


def logits_of(vocab, seed=0, spread=3.0):
    return spread * torch.randn(vocab, generator=torch.Generator().manual_seed(seed))


def chances(logits, one, tokens=(), prompt=0):
    """What the engine draws from, [vocab]."""
    return shown.distribution(logits, shown.draw_after(one, tokens, prompt))


def survivors(logits, one):
    """The ids that may be drawn."""
    return set(chances(logits, one).nonzero()[:, 0].tolist())


def draw(rows):
    """rows of (logits [vocab], params, tokens so far) as one batch -> a token each."""
    draws = [shown.draw_after(one, tokens, min(3, len(tokens))) for _, one, tokens in rows]
    logits = torch.stack([logits for logits, _, _ in rows])
    return engine.sample(logits, engine.Sampling.build(draws, CPU)).tokens.tolist()


def draws(logits, one, count):
    """`count` draws with the noise of one seed, one for each position: [count]."""
    request = shown.draw_after(one).request
    positions = [sampler.Draw(request, position) for position in range(count)]
    return engine.sample(logits.expand(count, -1), engine.Sampling.build(positions, CPU)).tokens


truncations = st.fixed_dictionaries(
    {
        "temperature": st.sampled_from([0.3, 0.7, 1.0, 1.7]),
        "top_k": st.sampled_from([0, 1, 2, 7, 40, 996, 997, 998, 5000]),
        "top_p": st.sampled_from([1e-9, 0.05, 0.5, 0.9, 0.99, 1.0]),
        "min_p": st.sampled_from([0.0, 0.001, 0.05, 0.5, 1.0]),
    }
)


# The tokens that may be drawn, and how likely each is


@settings(max_examples=100, deadline=None)
@given(
    values=truncations,
    seed=st.integers(0, 10**6),
    penalty=st.sampled_from([1.0, 0.8, 1.3]),
    biased=st.booleans(),
)
def test_every_parameter_leaves_what_transformers_processors_leave(values, seed, penalty, biased):
    logits, tokens = logits_of(997, seed), [seed % 997, 5, 5, 11]
    bias = {3: 5.0, 11: -2.5, 900: -100.0} if biased else {}
    one = params(**values, repetition_penalty=penalty, logit_bias=bias)
    assume(not on_the_edge(logits, one, tokens))
    ours, theirs = chances(logits, one, tokens), reference.Processors(one).probabilities(logits, tokens)
    assert torch.equal(ours > 0, theirs > 0)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)


def on_the_edge(logits, one, tokens):
    """Whether rounding alone decides which token is the last of top-p or of min-p."""
    before = chances(logits, replace(one, top_p=1.0, min_p=0.0), tokens).double().sort(descending=True).values
    near_p = (before.cumsum(-1) - one.top_p).abs().min() < 1e-5
    near_min = one.min_p > 0 and (before / before[0] - one.min_p)[1:].abs().min() < 1e-5 and one.min_p < 1
    return bool(near_p and one.top_p < 1) or bool(near_min)


@pytest.mark.parametrize("preset", [
    dict(temperature=0.7, top_k=30, top_p=0.9, min_p=0.05, repetition_penalty=1.4, logit_bias={7: 4.0, 8: -3.0}),
    dict(temperature=1.8, top_k=25, top_p=0.5, repetition_penalty=0.7), dict(temperature=1.5, top_p=0.8, min_p=0.2),
])  # fmt: skip
def test_the_steps_come_in_the_order_of_transformers_generate(random_gpt2, preset):
    from transformers import AutoModelForCausalLM

    theirs = AutoModelForCausalLM.from_pretrained(random_gpt2).eval()
    names = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": None, "repetition_penalty": 1.0}
    flags = names | {name: value for name, value in preset.items() if name != "logit_bias"}
    if bias := preset.get("logit_bias"):
        flags["sequence_bias"] = [[[token], value] for token, value in bias.items()]
    torch.manual_seed(3)
    prompt = [7, 8, 9, 7]
    out = theirs.generate(
        torch.tensor([prompt]), attention_mask=torch.ones(1, 4), do_sample=True, max_new_tokens=6, eos_token_id=399,
        pad_token_id=0, output_scores=True, output_logits=True, return_dict_in_generate=True, **flags,
    )  # fmt: skip
    tokens = out.sequences[0].tolist()
    for step, (raw, scores) in enumerate(zip(out.logits, out.scores, strict=True)):
        ours = chances(raw[0], params(**preset), tokens[: 4 + step], 4)
        torch.testing.assert_close(ours, scores[0].softmax(-1), atol=1e-6, rtol=1e-4)


def test_presence_and_frequency_penalties_are_openais_formula():
    logits, tokens = logits_of(50), [4, 4, 9, 7, 7, 7, 9]  # three of them the prompt
    one = params(presence_penalty=0.6, frequency_penalty=-0.25)
    count = Counter(tokens[3:])
    expected = [float(x) - count[j] * -0.25 - float(count[j] > 0) * 0.6 for j, x in enumerate(logits)]
    torch.testing.assert_close(chances(logits, one, tokens, 3), torch.tensor(expected).softmax(-1))


def test_repetition_penalty_counts_the_prompt_and_the_others_do_not():
    logits, prompt = logits_of(50), [4, 4, 9]
    plain = chances(logits, params(), prompt, 3)
    assert torch.equal(chances(logits, params(presence_penalty=2.0, frequency_penalty=2.0), prompt, 3), plain)
    assert not torch.equal(chances(logits, params(repetition_penalty=1.5), prompt, 3), plain)


@settings(max_examples=100, deadline=None)
@given(
    values=st.lists(st.sampled_from([-2.0, 0.0, -0.0, 1.0, 1.5]), min_size=1, max_size=60),
    k=st.integers(1, 80),
)
def test_exactly_k_survive_and_of_equal_ones_the_smaller_ids(values, k):
    """sorted() is stable too."""
    likeliest_first = sorted(range(len(values)), key=lambda i: -values[i])
    assert survivors(torch.tensor(values), params(top_k=k)) == set(likeliest_first[:k])


def test_transformers_top_k_keeps_every_token_that_equals_the_last_one():
    """The one difference between our truncation and theirs: with 16-bit logits it happens every day."""
    logits = torch.tensor([3.0, 2.0, 2.0, 2.0, 1.0])
    assert survivors(logits, params(top_k=2)) == {0, 1}
    assert reference.Processors(params(top_k=2)).probabilities(logits).nonzero()[:, 0].tolist() == [
        0,
        1,
        2,
        3,
    ]


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    p=st.floats(1e-6, 1, exclude_max=True),
    spread=st.sampled_from([0.0, 0.5, 3.0, 20.0]),
)
def test_top_p_keeps_the_smallest_set_that_reaches_p(seed, p, spread):
    logits = logits_of(300, seed, spread)
    left = survivors(logits, params(top_p=p))
    exact = logits.double().softmax(-1)
    mass = exact[sorted(left)].sum()
    smallest = min(exact[i] for i in left)
    assert mass >= p - 1e-6
    assert mass - smallest < p + 1e-6
    assert all(exact[i] <= smallest * (1 + 1e-6) for i in set(range(300)) - left)


def test_a_top_p_of_zero_leaves_the_likeliest_token():
    logits = logits_of(300)
    assert survivors(logits, params(top_p=0)) == {int(logits.argmax())}


@settings(max_examples=100, deadline=None)
@given(values=truncations, seed=st.integers(0, 10**6))
def test_the_likeliest_token_always_survives(values, seed):
    logits = logits_of(200, seed)
    assert int(logits.argmax()) in survivors(logits, params(**values))


@pytest.mark.parametrize("temperature", [0.0, 1e-300, 1e-40, 1e-6, 1e-3])
@pytest.mark.parametrize("more", [{}, {"top_p": 0.9}, {"top_k": 5}])
def test_a_temperature_towards_zero_gives_the_likeliest_token(temperature, more):
    logits = torch.stack([logits_of(500, seed, 100.0) for seed in range(40)])
    one = params(temperature=temperature, **more)
    assert draw([(row, one, [1] * i) for i, row in enumerate(logits)]) == logits.argmax(-1).tolist()


def test_entropy_rises_with_temperature_up_to_that_of_equally_likely_tokens():
    logits = logits_of(1000)
    entropies = [
        shown.entropy(chances(logits, params(temperature=t))) for t in (0.0, 0.1, 0.5, 1.0, 2.0, 10.0, 100.0)
    ]
    assert entropies == sorted(entropies)
    assert len(set(entropies)) == len(entropies)
    assert entropies[0] == 0
    assert entropies[-1] == pytest.approx(math.log(1000), abs=1e-2)
    assert shown.effective(math.log(8)) == pytest.approx(8)


# The draw


def chi_square(drawn, expected):
    """p-value of draws [n] against probabilities [vocab]; tokens with few expected draws are one."""
    count = len(drawn)
    seen = torch.bincount(drawn, minlength=len(expected)).double()
    often = expected * count >= 5
    pairs = [(seen[often], expected[often].double() * count)]
    if rare := float(expected[~often].double().sum()) * count:
        pairs.append((seen[~often].sum()[None], torch.tensor([rare], dtype=torch.float64)))
    observed, wanted = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    statistic = ((observed - wanted) ** 2 / wanted).sum()
    freedom = torch.tensor((len(observed) - 1) / 2, dtype=torch.float64)
    return float(torch.special.gammaincc(freedom, statistic / 2))


@pytest.mark.parametrize("values", [
    {}, {"temperature": 0.6}, {"temperature": 1.9}, {"top_k": 9}, {"top_p": 0.8}, {"min_p": 0.1},
    {"temperature": 0.8, "top_k": 30, "top_p": 0.9, "min_p": 0.02},
])  # fmt: skip
def test_draws_follow_their_probabilities(values):
    logits, one = logits_of(60, spread=1.5), params(seed=11, **values)
    expected = chances(logits, one)
    drawn = draws(logits, one, 6000)
    assert set(drawn.tolist()) <= set(expected.nonzero()[:, 0].tolist())
    assert chi_square(drawn, expected) > 1e-3
    wrong = chances(logits, replace(one, temperature=one.temperature * 1.4))
    assert chi_square(drawn, wrong) < 1e-6  # the test can tell


def test_draws_of_many_seeds_follow_them_too():
    logits = logits_of(60, spread=1.5)
    rows = [(logits, params(seed=seed, sample_index=seed % 3), [0]) for seed in range(6000)]
    assert chi_square(torch.tensor(draw(rows)), chances(logits, params())) > 1e-3


def test_noise_is_gumbels_and_never_infinite(monkeypatch):
    drawn = noise.gumbel(torch.tensor([[5, 5], [7, 8]]), torch.arange(400_000))
    assert drawn.mean() == pytest.approx(0.5772, abs=0.01)
    assert drawn.var() == pytest.approx(math.pi**2 / 6, abs=0.02)
    assert torch.corrcoef(drawn)[0, 1].abs() < 0.01
    assert torch.corrcoef(torch.stack([drawn[0, 1:], drawn[0, :-1]]))[0, 1].abs() < 0.01
    extremes = torch.tensor([0, -1, 1, 2**63 - 1, -(2**63), 2**62])
    monkeypatch.setattr(noise, "mix", lambda x: extremes[: x.shape[-1]].expand(x.shape).clone())
    assert noise.gumbel(torch.tensor([[5], [7]]), torch.arange(6)).isfinite().all()


def test_a_token_without_a_chance_is_not_drawn():
    """Noise with 24 digits would reach 17 at most, and once in 2**24 tokens infinity: too coarse for long tails."""
    logits = torch.full((50_000,), -40.0)
    logits[123] = 0.0
    assert set(draws(logits, params(), 500).tolist()) == {123}
    tail = torch.full((2**16,), -21.0)  # together 5e-5
    tail[5] = 0.0
    expected = 1 - float(tail.double().softmax(-1)[5])
    assert expected == pytest.approx(5e-5, rel=0.01)
    drawn = noise.gumbel(torch.stack([torch.full((64,), 3), torch.arange(64)]), torch.arange(2**16))
    assert (drawn > 12).double().mean() == pytest.approx(1 - math.exp(-math.exp(-12)), rel=0.25)


def test_the_hash_is_splitmix64():
    """The first numbers of seed 1234567, as implementations of the generator list them."""
    states = [(1234567 + i * noise.GOLDEN + 2**63) % 2**64 - 2**63 for i in range(3)]
    numbers = [int(noise.mix(torch.tensor(state))) % 2**64 for state in states]
    assert numbers == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_the_noise_of_a_seed_never_changes():
    """Recorded from the first edition: a seed that someone wrote down keeps its text, bit for bit."""
    keys = {(1, 0): 6791897765849424158, (1, 1): -8730512010378760701, (-7, 2**31): 2474092780085049441}
    keys |= {(2**63 - 1, 0): 7622863033291099422, (-(2**63), 1): -8722029520684660142}
    for (seed, index), key in keys.items():
        assert sampler.noise_key(params(seed=seed, sample_index=index)) == key
    at = torch.tensor([[keys[1, 0]] * 3, [0, 1023, 65535]])
    bits = noise.gumbel(at, torch.tensor([0, 1, 4095, 50256, 151935])).view(torch.int32)
    assert bits.tolist() == [
        [-1094418108, -1090663792, -1084043364, 1065380918, -1080081995],
        [1053658184, 1073049400, 1071465116, 1061786854, -1091619582],
        [-1108903087, -1088152472, -1091005912, -1104715068, -1096401144],
    ]


# In any batch

mixtures = st.lists(
    st.fixed_dictionaries(
        {
            "temperature": st.sampled_from([0.0, 0.5, 1.0, 2.0]),
            "top_k": st.sampled_from([0, 0, 3, 50, 2000]),
            "top_p": st.sampled_from([1.0, 0.5, 0.95]),
            "min_p": st.sampled_from([0.0, 0.0, 0.1]),
            "repetition_penalty": st.sampled_from([1.0, 1.3]),
            "frequency_penalty": st.sampled_from([0.0, 0.4]),
            "logit_bias": st.sampled_from([{}, {2: 3.0}]),
            "seed": st.integers(-5, 5),
            "sample_index": st.integers(0, 2),
        }
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=80, deadline=None)
@given(mixture=mixtures, seed=st.integers(0, 10**6), coarse=st.booleans())
def test_each_row_of_a_batch_draws_what_it_draws_alone(mixture, seed, coarse):
    rows = []
    for i, values in enumerate(mixture):
        logits = logits_of(3000, seed + i, (0.3, 3.0)[i % 2])
        logits = logits.bfloat16().float() if coarse else logits  # many equal ones, as 16 bits have them
        rows.append((logits, params(**values), [(seed + 7 * j) % 3000 for j in range(3 + i)]))
    together = draw(rows)
    assert together == [draw([row])[0] for row in rows]
    assert together == draw(rows[::-1])[::-1]


def test_logits_are_left_as_they_are():
    logits = logits_of(100)
    before = logits.clone()
    draw([(logits, params(logit_bias={1: 5.0}, repetition_penalty=1.5, top_p=0.5), [1, 2, 3, 4])])
    engine.sample(logits[None], engine.Sampling.build([shown.draw_after(params())], CPU))
    assert torch.equal(logits, before)


EXTREMES = pytest.mark.parametrize("more", [
    {}, {"top_k": 2}, {"top_p": 0}, {"top_p": 1e-300}, {"min_p": 1.0}, {"temperature": 0.0}, {"temperature": 1e-300},
    {"temperature": 100.0}, {"repetition_penalty": 0.01}, {"top_k": 2**31}, {"logit_bias": {0: -INF}},
])  # fmt: skip


@EXTREMES
@pytest.mark.parametrize("values", [[-INF, 1.0, -INF], [1e36, 1.0, -1e36], [1.0, 1.0, -INF], [0.0, -0.0]])
def test_a_token_of_the_vocabulary_is_drawn_whatever_the_parameters(values, more):
    (token,) = draw([(torch.tensor(values), params(**more), [0])])
    assert 0 <= token < len(values)
    assert values[token] > -INF


@EXTREMES
@pytest.mark.parametrize(
    "values", [[math.nan, 1.0, 2.0], [2.0, 1.0, math.nan], [math.nan] * 3, [-INF] * 3, [INF, 0.0, INF]]
)
def test_logits_that_are_not_a_distribution_give_no_token_and_harm_no_other_row(values, more):
    sound = torch.tensor([1.0, 2.0, 1.5])
    rows = [(sound, params(**more), [0]), (torch.tensor(values), params(**more), [0]), (sound, params(), [1])]
    before, broken, after = draw(rows)
    assert broken == -1
    assert [before, after] == draw([rows[0], rows[2]])


def test_a_row_whose_tokens_are_all_banned_gives_no_token():
    assert draw([(torch.tensor([1.0, 2.0]), params(logit_bias={0: -INF, 1: -INF}), [0])]) == [-1]


def test_a_step_without_draws_gives_no_tokens():
    assert engine.sample(torch.empty(0, 50), engine.Sampling.build([], CPU)).tokens.tolist() == []


# The work of a step


def penalised(context, row=0):
    tokens = [(37 * i + row) % 4001 for i in range(context)]
    more = {
        "repetition_penalty": 1.1,
        "presence_penalty": 0.2,
        "frequency_penalty": 0.1,
        "logit_bias": {3: 1.0},
    }
    return shown.draw_after(params(**more), tokens, 16)


def instructions(function):
    """How many Python instructions it executes, in all that it calls."""
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return count


def test_penalties_cost_no_python_that_grows_with_the_text():
    short, long = ([penalised(context, row) for row in range(256)] for context in (50, 1000))
    build = engine.Sampling.build
    per_row = instructions(lambda: build(short, CPU)) / 256
    assert instructions(lambda: build(long, CPU)) / 256 < per_row + 1
    for draw in (short[0], long[0]):
        assert instructions(lambda counts=draw.request.counts: counts.add(7)) < 200
    distinct = sum(len({*(37 * i + row for i in range(1000))}) for row in range(256))
    sampling = build(long, CPU)
    assert len(sampling.repetition[1]) == distinct
    assert [len(part) for part in sampling.bias] == [256] * 3


@pytest.mark.parametrize("context", [20, 1000])
def test_penalties_of_all_rows_are_a_few_operations(context):
    def operations(draws):
        logits = torch.zeros(len(draws), 4001)
        with work.Operations() as counted:
            engine.sample(logits, engine.Sampling.build(draws, CPU))
        return counted.count

    plain = shown.draw_after(params(), [1] * context, 16)
    one, many = operations([penalised(context)]), operations([penalised(context, row) for row in range(64)])
    assert many <= one + 2
    assert many - operations([plain] * 64) < 40


def test_a_request_without_penalties_keeps_and_builds_nothing(monkeypatch):
    plain = shown.draw_after(params(top_p=0.9), [1, 2, 3] * 300, 16)
    counts = plain.request.counts
    assert not any((counts.bias.ids, counts.repetition.ids, counts.penalty.ids))
    monkeypatch.setattr(sampler, "flatten", None)
    sampling = engine.Sampling.build([plain] * 8, CPU)
    assert sampling.bias is sampling.repetition is sampling.penalty is None


@settings(max_examples=60, deadline=None)
@given(
    prompt=st.lists(st.integers(0, 9), max_size=8),
    output=st.lists(st.integers(0, 9), max_size=30),
    presence=st.sampled_from([0.0, 0.5, -2.0]),
    frequency=st.sampled_from([0.0, 0.1, -0.3]),
    repetition=st.sampled_from([1.0, 1.2]),
)
def test_running_counts_are_those_of_the_whole_text(prompt, output, presence, frequency, repetition):
    one = params(presence_penalty=presence, frequency_penalty=frequency, repetition_penalty=repetition)
    counts = shown.draw_after(one, [*prompt, *output], len(prompt)).request.counts
    penalty = dict(zip(counts.penalty.ids, counts.penalty.values, strict=True))
    expected = {token: presence + frequency * n for token, n in Counter(output).items()}
    assert penalty == pytest.approx(expected if presence or frequency else {})
    seen = {*prompt, *output} if repetition != 1 else set()
    assert dict(zip(counts.repetition.ids, counts.repetition.values, strict=True)) == dict.fromkeys(
        seen, repetition
    )
    assert len(counts.repetition.ids) == len(seen)


def test_one_request_may_draw_at_several_positions_of_a_step():
    """As prompt log probabilities and speculation will: the position is the draw's, whatever the text's length."""
    logits, request = logits_of(4001, spread=1.0), penalised(40).request
    positions = [40, 41, 42, 7]
    draws = [sampler.Draw(request, position) for position in positions]
    together = engine.sample(logits.expand(4, -1), engine.Sampling.build(draws, CPU)).tokens.tolist()
    alone = [
        engine.sample(logits[None], engine.Sampling.build([one], CPU)).tokens.tolist()[0] for one in draws
    ]
    assert together == alone
    assert len(set(together)) > 1


# Texts


@pytest.fixture(scope="module")
def shipped():
    return engine.Engine.from_pretrained("storyteller-draft", engine.EngineConfig("cpu"))


def write(shipped, *asked, prompt="Once upon a time"):
    return [one.tokens for one in shipped.generate([prompt] * len(asked), list(asked))]


def test_the_same_seed_gives_the_same_text_and_a_different_one_a_different_text(shipped):
    one = params(max_tokens=12, top_p=0.95)
    first, again, other, sample = write(shipped, one, one, replace(one, seed=2), replace(one, sample_index=1))
    assert first == again
    assert len({tuple(first), tuple(other), tuple(sample)}) == 3


def test_without_a_seed_every_text_is_different(shipped):
    texts = write(shipped, *[params(max_tokens=12, seed=None, temperature=1.5)] * 4)
    assert len({tuple(text) for text in texts}) == 4


def test_no_temperature_is_greedy(shipped):
    greedy = load_tokens(shipped, 10)
    assert write(shipped, engine.SamplingParams(max_tokens=10))[0] == greedy
    assert write(shipped, params(max_tokens=10, temperature=0.0, top_k=5, seed=9))[0] == greedy


def load_tokens(shipped, count):
    """The bare loop's, without any parameters."""
    prompt = shipped.tokenizer.encode("Once upon a time")
    ends = shipped.model_config.eos_token_ids
    return [one.id for one in engine.generate(shipped.model, prompt, count, eos_ids=ends)]


@pytest.mark.parametrize("values", [{"temperature": 0.0}, {}, {"top_k": 5}, {"top_p": 0.9}])
def test_a_nan_in_the_logits_fails_the_request_and_not_the_next_one(shipped, monkeypatch, values):
    original = shipped.model.logits

    def poisoned(hidden):
        logits = original(hidden).clone()
        logits[:, 99] = math.nan
        return logits

    monkeypatch.setattr(shipped.model, "logits", poisoned)
    with pytest.raises(RuntimeError, match="NaN"):
        write(shipped, params(max_tokens=5, **values))
    monkeypatch.setattr(shipped.model, "logits", original)
    assert len(write(shipped, params(max_tokens=5, ignore_eos=True, **values))[0]) == 5


def test_bias_bans_and_forces(shipped):
    banned = load_tokens(shipped, 3)[0]
    assert banned not in write(shipped, params(max_tokens=8, temperature=0.0, logit_bias={banned: -INF}))[0]
    assert set(write(shipped, params(max_tokens=4, logit_bias={77: 100.0}))[0]) == {77}


def test_penalties_end_the_loop_of_greedy_decoding(shipped):
    def repeated(**values):
        (tokens,) = write(shipped, params(temperature=0.0, max_tokens=80, ignore_eos=True, **values))
        fours = list(zip(*(tokens[i:] for i in range(4)), strict=False))
        return 1 - len(set(fours)) / len(fours)

    assert repeated() > 0.3
    assert repeated(repetition_penalty=1.2, frequency_penalty=0.3) < 0.05


def test_n_over_http_is_the_samples_of_one_seed(shipped):
    from fastapi.testclient import TestClient

    from .engine.server.app import create_app

    body = {"model": "any", "prompt": "Once upon a time", "max_tokens": 6, "seed": 5, "n": 3}
    with TestClient(create_app(lambda: shipped, "any")) as client:
        while client.get("/health").status_code == 503:
            pass
        body["model"] = client.get("/v1/models").json()["data"][0]["id"]
        answer = client.post("/v1/completions", json=body)
    assert answer.status_code == 200, answer.text
    choices = answer.json()["choices"]
    alone = shipped.generate(
        ["Once upon a time"] * 3, [params(seed=5, max_tokens=6, sample_index=i) for i in range(3)]
    )
    assert [one["text"] for one in choices] == [one.text for one in alone]
    assert [one["index"] for one in choices] == [0, 1, 2]


NUMBERS = [
    "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty",
    "sample_index", "seed", "max_tokens",
]  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1), ("temperature", math.nan), ("temperature", INF), ("top_k", -1), ("top_k", 2.5), ("top_k", 10**400),
        ("top_p", -0.1), ("top_p", 1.01), ("min_p", -1), ("min_p", 2), ("repetition_penalty", 0), ("repetition_penalty", -1),
        ("presence_penalty", 2.5), ("frequency_penalty", math.nan), ("seed", 2**63), ("seed", 1.5), ("max_tokens", 0),
        ("max_tokens", 4.0), ("sample_index", -1), ("ignore_eos", 1), ("ignore_eos", None), ("ignore_eos", "yes"),
        ("stop", None), ("stop", 5), ("stop", True), ("stop", ""), ("stop", ["a", ""]), ("stop", [5]), ("stop", b"end"),
        ("logit_bias", None), ("logit_bias", [5]), ("logit_bias", 5), ("logit_bias", {5: math.nan}), ("logit_bias", {5: INF}),
        ("logit_bias", {"5": 1.0}), ("logit_bias", {5: "1"}), ("logit_bias", {5: None}), ("logit_bias", {True: 1.0}),
        ("logit_bias", {5: True}), ("logit_bias", {5.0: 1.0}),
        *((name, value) for name in NUMBERS for value in ("1", True, [1])),
        *((name, None) for name in NUMBERS if name not in ("seed", "max_tokens")),
    ],
)  # fmt: skip
def test_a_bad_value_is_refused_with_its_name_and_what_is_possible(field, value):
    with pytest.raises(UserError, match=f"^{field}( = .*)?: must ") as error:
        engine.SamplingParams(**{field: value})
    assert len(str(error.value)) < 150


def test_one_stop_string_is_one_stop():
    assert params(stop="king").stop == params(stop=["king"]).stop == ("king",)


def test_a_bias_for_a_token_that_does_not_exist_is_refused(shipped):
    with pytest.raises(UserError, match="logit_bias: token id 4096 "):
        write(shipped, params(logit_bias={4096: 1.0}))


# The demo, the benchmark, the picture


@pytest.fixture
def demo(random_gpt2):
    from . import __main__ as module

    return lambda *flags: run(module.main, ["--model", str(random_gpt2), "--device", "cpu", *flags])


def test_demo_shows_presets_widths_one_draw_and_seeds(demo, capsys):
    assert demo("--max-tokens", "5") == 0
    out = capsys.readouterr().out
    for part in ("no repeats", "effective", "top-k 10", "tokens left", "all 5 tokens are the same",
                 "3 samples, 3 different texts"):  # fmt: skip
        assert part in out, part
    assert "\x1b[" not in out


def test_demo_takes_your_own_parameters(demo, capsys):
    assert demo("--max-tokens", "3", "--preset", "plain", "--temperature", "0.5", "--top-k", "7") == 0
    out = capsys.readouterr().out
    assert "yours" in out
    assert "top-k 7" in out
    assert "greedy" not in out


@pytest.mark.wording
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--prompt", ""], "the prompt is empty"),
        (["--temperature", "-1"], "temperature = -1.0: must be between 0 and 100"),
        (["--top-p", "nan"], "top_p = nan"),
        (["--preset", "plane"], "did you mean 'plain'"),
        (["--max-tokens", "128"], "window is 128 tokens"),
    ],
)
def test_wrong_flags_are_answered_in_one_line(demo, capsys, flags, message):
    assert demo(*flags) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert err.count("\n") == 1
    assert out == ""


def test_the_experiment_counts_draws_that_follow_the_probabilities(capsys):
    from .lesson import race

    assert run(race.main, ["--draws", "20000"]) == 0
    rows = [
        line.split()
        for line in capsys.readouterr().out.splitlines()
        if line.split()[:1] in [[t] for t in race.TOKENS]
    ]
    assert [row[0] for row in rows] == list(race.TOKENS)
    for _, probability, drawn, alone in rows:
        assert float(drawn) == pytest.approx(float(probability), abs=0.02)
        assert float(alone) == pytest.approx(0.25, abs=0.02)


def test_sparkline_is_as_wide_as_asked():
    from .lesson.pictures import sparkline

    assert sparkline([0.0, 1.0, 2.0, 4.0], 4.0) == "▁▃▅█"
    assert len(sparkline([1.0] * 100, 1.0)) <= 40
    assert sparkline([0.0], 0.0) == "▁"


def test_the_articles_picture_shows_the_samplers_own_numbers():
    spec = tomllib.loads((ROOT / "articles/figures/05-one-draw.toml").read_text(encoding="utf-8"))
    cut, *seeds = [[row["cells"] for row in panel["row"]] for panel in spec["panel"]]
    model, tokenizer, _ = load_model("storyteller", "cpu", "float32")
    prompt = tokenizer.encode("Once upon a time there lived a")
    (step,) = engine.generate(model, prompt, 1)
    best = step.logits.topk(8).indices
    assert spec["panel"][0]["row"][0]["index"] == [
        tokenizer.decode([i]).replace(" ", "·") for i in best.tolist()
    ]
    for cells, more in zip(cut, ({}, {"top_k": 6}, {"top_k": 6, "top_p": 0.8}), strict=True):
        left = chances(step.logits, params(temperature=0.8, **more))[best]
        assert cells == [f"{100 * p:.1f}" if p else "" for p in left.tolist()]
    for seed, (gumbels, sums) in enumerate(seeds, start=1):
        key = sampler.noise_key(params(seed=seed))
        drawn = noise.gumbel(torch.tensor([[key], [len(prompt)]]), best[:3])[0]
        assert gumbels == [f"{x:.2f}" for x in drawn.tolist()]
        scores = left[:3].log() + drawn
        assert sums == [f"{x:.2f}" for x in scores.tolist()]
        (token,) = engine.generate(
            model, prompt, 1, params=params(temperature=0.8, top_k=6, top_p=0.8, seed=seed)
        )
        assert token.id == int(best[scores.argmax()])


@pytest.fixture
def small_bench(random_gpt2, monkeypatch):
    monkeypatch.setattr(bench, "VOCABULARIES", (300, 900))
    monkeypatch.setattr(bench, "QUICK_TEXT", 4)
    monkeypatch.setattr(bench, "MANY", (4, 50))
    monkeypatch.setattr(bench, "ROWS", (8,))
    monkeypatch.setattr(bench, "TOKENS", [i % 250 for i in range(40)])
    return lambda *flags: run(bench.main, ["--model", str(random_gpt2), "--device", "cpu", "--quick", *flags])


def test_benchmark_checks_then_times_and_records(small_bench, tmp_path, monkeypatch):
    from .lesson import figure

    assert small_bench("--results", str(tmp_path)) == 0
    (path,) = tmp_path.glob("s05-*.json")
    result = json.loads(path.read_text())
    values = {key: entry["value"] for key, entry in result["values"].items()}
    (slug,) = (key.removeprefix("step_") for key in values if key.startswith("step_"))
    for key in (
        "greedy_300",
        "full_900",
        "transformers_over_full_900",
        "part_sort_900",
        "full_per_row_of_8",
        "build_penalties_4",
        f"share_full_{slug}",
    ):
        assert values[key] > 0, key
    assert "the same tokens survive" in result["checked"]
    load = figure.load_result
    monkeypatch.setattr(figure, "load_result", lambda name, machine: load(name, machine, tmp_path))
    paths = figure.draw(path.stem, folder=tmp_path / "figures")
    assert paths[0].name == f"{path.stem}-cost.svg"
    assert all(path.read_text().startswith("<?xml") for path in paths)


def test_benchmark_refuses_to_time_other_draws(small_bench, tmp_path, monkeypatch, capsys):
    original = sampler.truncate

    def wrong(scores, top_k, top_p, min_p):
        return original(scores, top_k + 1, top_p, min_p)

    monkeypatch.setattr(sampler, "truncate", wrong)
    assert small_bench("--results", str(tmp_path)) == 1
    assert "nothing is recorded" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
