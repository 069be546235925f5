"""The shipped checkpoints are what their card says, and the scripts that made them do what they claim."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
import torch

from common.checkpoints.training import dialogues, evaluate, scores, text
from common.checkpoints.training.batched import BatchAttend, generate, run
from common.checkpoints.training.optimise import Phase, new_model, next_token_loss, optimise
from common.checkpoints.training.phrases import SUBJECTS
from common.checkpoints.training.shapes import ASSISTANT, CONTEXT, END, END_OF_TEXT, RECIPES, SPECIAL, tiny
from common.checkpoints.training.train import main as train
from common.errors import UserError
from common.loader import CHECKPOINTS, SHIPPED, load_model, save_model
from common.tokenizer import Tokenizer

FAMILIES = [r for r in RECIPES if r.name != "storyteller-draft"]
SMALL = [name for name in SHIPPED if name != "storyteller"]
FOX = (
    "Once there was a fox who lived by a river. The fox was hungry, and he looked at the geese on the other side. "
    '"Come over," said he. "I cannot swim." But the geese had heard of foxes. They stayed where they were.\n\n'
) * 12


@pytest.fixture(scope="module")
def tokenizer():
    return text.train_tokenizer(text.read_documents([evaluate.HELD_OUT]), size=600)


# What ships


def test_shipped_files_are_the_frozen_ones():
    sums = [line.split("  ") for line in (CHECKPOINTS / "SHA256SUMS").read_text().splitlines()]
    assert {name.split("/")[0] for _, name in sums} == set(SHIPPED)
    for expected, name in sums:
        assert hashlib.sha256((CHECKPOINTS / name).read_bytes()).hexdigest() == expected, name


def test_all_checkpoints_together_stay_under_45_mb():
    folders = [CHECKPOINTS / name for name in SHIPPED]
    assert sum(f.stat().st_size for folder in folders for f in folder.iterdir()) < 45e6


@pytest.mark.parametrize("name", SMALL)
def test_perplexity_in_the_card_can_be_measured_again(name):
    recorded = json.loads((CHECKPOINTS / "metrics.json").read_text())["evaluation"][name]
    tales = text.read_documents([evaluate.HELD_OUT])
    found = evaluate.measure(CHECKPOINTS / name, tales, "cpu")
    assert found["tokens"] == recorded["tokens"]
    assert found["perplexity"] == pytest.approx(recorded["perplexity"], rel=1e-3)
    card = (CHECKPOINTS / "README.md").read_text()
    assert f"| {recorded['perplexity']:.2f} |" in card


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_checkpoint_can_chat_and_ends_its_answers(name):
    _, tokenizer, config = load_model(name, "cpu")
    assert config.max_positions == CONTEXT and set(config.eos_token_ids) == {END_OF_TEXT, END}
    ids = tokenizer.encode_chat([{"role": "user", "content": "Hello!"}])
    assert tokenizer.decode(ids, skip_special=False) == "<|user|>\nHello!<|end|>\n<|assistant|>\n"


def test_card_says_what_was_measured_and_where_the_tales_come_from():
    card = (CHECKPOINTS / "README.md").read_text()
    metrics = json.loads((CHECKPOINTS / "metrics.json").read_text())
    for name in SHIPPED:
        assert f"`{name}`" in card and f"{metrics['checkpoints'][name]['loss']:.3f}" in card
    assert "Grimms' Fairy Tales (The Brothers Grimm), 2591" in card
    assert f"{metrics['evaluation']['storyteller-draft']['acceptance']['rate']:.2f}" in card


# How they are written


@pytest.mark.parametrize("recipe", FAMILIES, ids=lambda r: r.name)
def test_a_written_checkpoint_is_the_same_model_in_transformers(recipe, tokenizer, tmp_path):
    transformers = pytest.importorskip("transformers")
    model = new_model(recipe, torch.device("cpu"), seed=0)
    save_model(model, tmp_path, torch.float32)
    text.write_tokenizer(tokenizer, tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    ids = torch.arange(5, 205)[None] % 600  # longer than the window
    with torch.no_grad():
        ours = model.logits(run(model, ids)[0])
        assert (ours - theirs(ids).logits[0]).abs().max() < 1e-3
    assert theirs.generation_config.eos_token_id == [END_OF_TEXT, END]
    auto = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ours_again = Tokenizer.from_folder(tmp_path)
    talk = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": " A fox? "}]
    assert auto.apply_chat_template(
        talk, tokenize=False, add_generation_prompt=True
    ) == ours_again.render_chat(talk)
    assert auto("Once, <|end|> twice")["input_ids"] == ours_again.encode("Once, <|end|> twice")


def test_chat_tokens_come_first_and_every_text_round_trips(tokenizer):
    assert [tokenizer.token_to_id(token) for token in SPECIAL] == [0, 1, 2, 3, 4]
    hard = "Straße 🦊\n\n  two  spaces\ttab"
    assert tokenizer.decode(tokenizer.encode(hard)) == hard


def test_unknown_roles_are_refused_by_the_template(tokenizer):
    with pytest.raises(UserError, match="not tool"):
        tokenizer.render_chat([{"role": "tool", "content": "x"}])


# Generation and measuring


@pytest.mark.parametrize("recipe", FAMILIES, ids=lambda r: r.name)
def test_generation_in_company_equals_generation_alone_without_a_cache(recipe):
    config = tiny(recipe).config
    if "sliding_window" in config:
        config |= {"sliding_window": 6}
    model = new_model(replace(recipe, config=config), torch.device("cpu"), 0)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(3.0)  # far from ties
    prompts = [[7, 8, 9], list(range(20, 31)), [5] * 7]
    together = generate(model, prompts, 10)
    for prompt, said in zip(prompts, together, strict=True):
        ids = list(prompt)
        for _ in range(10):
            ids.append(int(model.logits(run(model, torch.tensor([ids]))[:, -1]).argmax()))
        assert said == ids[len(prompt) :]


def test_filling_on_the_left_sees_and_shows_nothing():
    attend = BatchAttend(2, first=torch.tensor([0, 2]))
    mask = attend.mask(None, 3, 3, torch.device("cpu"))
    assert mask is not None
    assert mask[0, 0].tolist() == [[True, False, False], [True, True, False], [True, True, True]]
    assert mask[1, 0].tolist() == [[True, False, False], [False, True, False], [False, False, True]]


def test_acceptance_counts_what_stepwise_speculation_would_accept():
    target, draft = (new_model(tiny(RECIPES[i]), torch.device("cpu"), seed=i) for i in (0, 1))
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():  # related, yet different
        for a, b in zip(target.parameters(), draft.parameters(), strict=True):
            if a.dim() > 1:
                a.mul_(3.0)
                b.copy_(a + 0.3 * a.std() * torch.randn(a.shape, generator=noise))
    prompts = [[5, 6, 7], [9, 10, 11]]
    accepted = steps = 0
    for prompt in prompts:
        truth = generate(target, [prompt], 24, eos=(END_OF_TEXT, END))[0]
        at = 0
        while at + 4 <= len(truth):
            proposal = generate(draft, [prompt + truth[:at]], 4)[0]
            n = next((i for i in range(4) if proposal[i] != truth[at + i]), 4)
            accepted, steps, at = accepted + n, steps + 1, at + n + 1
    found = scores.acceptance(target, draft, prompts, 24)
    assert 0 < accepted < 4 * steps, "a case that can tell right from wrong"
    assert found["rate"] == accepted / (4 * steps)


def test_loss_of_a_text_is_that_of_its_tokens_alone():
    model = new_model(tiny(RECIPES[0]), torch.device("cpu"), 0)
    inputs, targets = torch.randint(5, 600, (3, 12)), torch.randint(5, 600, (3, 12))
    targets[0, 4:] = text.IGNORE
    with torch.no_grad():
        log_p = model.logits(run(model, inputs).flatten(0, 1)).view(3, 12, -1).log_softmax(-1)
    kept = [-float(log_p[r, t, targets[r, t]]) for r in range(3) for t in range(12) if targets[r, t] >= 0]
    assert scores.loss_on(model, inputs, targets, rows=2) == pytest.approx(sum(kept) / len(kept), rel=1e-5)


# Data


def test_conversations_tell_the_tale_in_order_and_about_what_was_asked():
    writer = dialogues.Writer([FOX], seed=1)
    talks = list(writer.write(40))
    told = [talk for talk in talks if any("river" in m["content"] for m in talk)]
    assert len(told) >= 20
    for talk in told:
        told_text = [m["content"] for m in talk if m["role"] == "assistant" and m["content"] in FOX]
        assert FOX.startswith(told_text[0])
        for piece in told_text:
            assert piece[-1] in '.!?"', "answers end where a sentence ends"
        asked = next(m["content"] for m in talk if m["role"] == "user").lower()
        for noun in SUBJECTS:
            if f"about a {noun}" in asked:
                assert noun in FOX[:300].lower()


def test_sentences_end_outside_of_speech_and_not_at_mr():
    ends = list(dialogues.sentence_ends("Mr. Fox said, \"Stop. Go.\" Then he went. 'Oh! No,' she said."))
    assert [x for x in ends if x <= 25] == [25]
    assert len(ends) == 3
    assert list(dialogues.sentence_ends('"Go!" said he. And she went.')) == [14, 28], "he is still speaking"


def test_only_the_assistants_words_are_learned(tokenizer):
    talk = [
        dialogues.message("user", "A fox?"),
        dialogues.message("assistant", "Yes."),
        dialogues.message("user", "Go on"),
        dialogues.message("assistant", "No."),
    ]
    [(ids, targets)] = dialogues.encode(tokenizer, [talk])
    learned = [token for token in targets if token != text.IGNORE]
    assert tokenizer.decode(learned, skip_special=False) == "Yes.<|end|>No.<|end|>"
    for at, token in enumerate(targets):
        assert token in (text.IGNORE, ids[at + 1] if at + 1 < len(ids) else None)
    first = ids.index(ASSISTANT)
    assert targets[first + 1] != text.IGNORE, "the first word of an answer is predicted behind the newline"


def test_held_out_documents_are_one_in_a_hundred_and_always_the_same():
    documents = [f"tale {i}" for i in range(1000)]
    train_part, held_out = text.hold_out(documents)
    assert len(held_out) == 10 and not set(train_part) & set(held_out)
    assert text.hold_out(documents) == (train_part, held_out)


def test_packed_rows_begin_where_a_sequence_begins():
    sequences = [([i] * n, [i] * n) for i, n in enumerate((5, 9, 3, 3, 8), start=10)]
    inputs, targets = text.pack(sequences, 8)
    assert inputs.tolist() == [[10] * 5 + [11] * 3, [12, 12, 12, 13, 13, 13, 14, 14]]
    assert torch.equal(inputs, targets)


def test_texts_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(UserError, match="missing.txt"):
        text.read_documents([tmp_path / "missing.txt"])


# Training


@pytest.mark.parametrize("recipe", FAMILIES, ids=lambda r: r.name)
def test_training_learns_a_small_text_by_heart(recipe):
    torch.manual_seed(0)
    model = new_model(tiny(recipe), torch.device("cpu"), 0)
    ids = torch.randint(5, 4000, (1, 33))

    class Always:
        def take(self, rows):
            return ids[:, :-1], ids[:, 1:]

    phase = Phase(name="test", lr=1e-2, rows=1, steps=60, until=float("inf"))
    assert optimise(model, Always(), next_token_loss, phase) == 60
    assert scores.loss_on(model, ids[:, :-1], ids[:, 1:]) < 0.5


def test_one_command_writes_all_five_and_their_card(tmp_path, capsys):
    tales = tmp_path / "tales.txt"
    tales.write_text(("\n<|endoftext|>\n").join(text.read_documents([evaluate.HELD_OUT]) * 3))
    out = tmp_path / "out"
    assert train([str(tales), "--out", str(out), "--tiny", "--steps", "1", "--device", "cpu"]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert set(metrics["checkpoints"]) == set(SHIPPED)
    assert "acceptance" in metrics["checkpoints"]["storyteller-draft"]
    for name in SHIPPED:
        model, tokenizer, _ = load_model(out / name, "cpu")
        assert tokenizer.has_chat_template
        stored = json.loads((out / name / "config.json").read_text())
        assert stored["dtype"] == "bfloat16" and model.config.vocab_size == 4096
