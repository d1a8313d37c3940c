"""Heads are measured as their definitions say, without training being any different for it."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from reference import dense, grpo, models

from rl import tiny
from rl.attention import head_scores, readable_layers, repeated
from rl.emergence import spread
from rl.rollouts import completion_dataset, evenly, tokens_of
from rl.sentences import spans_of_ids
from rl.telemetry.head_tracker import HeadTracker, Snapshot, Tracking
from rl.telemetry.heads import Turnover, read_scores, snapshot_rows
from rl.telemetry.probe_set import ProbeSet, Text
from rl.telemetry.record import RunError

TRACKING = Tracking(every=2, sequences=6, micro_batch=4, layers=None, local_share=0.3, global_share=0.3)


def tracker(folder: Path, said: list[Snapshot] | None, texts: list[Text] | None = None, **changes: Any) -> HeadTracker:
    return HeadTracker(
        Tracking(**{**vars(TRACKING), **changes}),
        stage="grpo",
        folder=folder,
        tokenizer=tiny.build_tokenizer(),
        texts=texts,
        saw=None if said is None else said.append,
        say=lambda _: None,
    )


def trained(folder: Path, watcher: HeadTracker | None, dropout: float = 0.0) -> Any:
    torch.manual_seed(0)
    model = tiny.build_model(0)
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = dropout
    made = grpo.trainer(folder, grpo.CREDIT, model=model, max_steps=4)
    made.watcher = watcher
    if watcher is not None:
        made.add_callback(watcher)
    made.train()
    return made


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Snapshot], Any]:
    folder, said = tmp_path_factory.mktemp("run"), []
    return folder, said, trained(folder, tracker(folder, said))


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_training_is_the_same_to_the_bit(run: tuple, tmp_path: Path, dropout: float) -> None:
    """With dropout too: what is measured draws nothing from the random state that training draws from."""
    followed = trained(tmp_path / "a", tracker(tmp_path, []), dropout) if dropout else run[2]
    assert grpo.same(grpo.weights_of(followed), grpo.weights_of(trained(tmp_path / "b", None, dropout)))


def test_snapshots_are_of_the_base_and_then_every_so_often(run: tuple) -> None:
    told = [(snapshot.step, snapshot.source) for snapshot in run[1]]
    assert told == [(0, "probe"), (2, "probe"), (2, "rollouts"), (4, "probe"), (4, "rollouts")]
    assert all(snapshot.seconds > 0 for snapshot in run[1])
    heads = {(layer, len(row)) for layer, row in run[1][-1].scores["distance"].items()}
    assert heads == {(layer, 4) for layer in range(tiny.NUM_LAYERS)}


def test_scores_of_the_probe_set_are_those_of_the_policy_then(run: tuple) -> None:
    """Text by text and unpadded, by the public call: the last snapshot is of the weights that training ended with."""
    folder, said, done = run
    probe = ProbeSet.load(folder / "probe.json")
    assert len(probe.texts) == TRACKING.sequences and (probe.stage, probe.step) == ("grpo", 0)
    sums = {name: torch.zeros(tiny.NUM_LAYERS, 4) for name in ("distance", "entropy", "sink")}
    copied, tokens = [], 0
    for text in probe.texts:
        ids = torch.tensor([[*text.prompt, *text.completion]])
        response = torch.zeros_like(ids)
        response[0, len(text.prompt) :] = 1
        found = head_scores(done.model.eval(), ids, torch.ones_like(ids), response, layers=range(tiny.NUM_LAYERS))
        tokens += len(text.completion)
        for layer, scores in found.items():
            for name, total in sums.items():
                total[layer] += getattr(scores, name) * len(text.completion)
        if set(text.prompt) & set(text.completion):
            copied.append(torch.tensor(shares_copied(done.model, ids, response)))
    last = said[-2].scores
    for name, total in sums.items():
        got = torch.tensor([last[name][layer] for layer in range(tiny.NUM_LAYERS)])
        torch.testing.assert_close(got, total / tokens, atol=1e-4, rtol=1e-4)
    got = torch.tensor([last["retrieval"][layer] for layer in range(tiny.NUM_LAYERS)])
    torch.testing.assert_close(got, torch.stack(copied).mean(0))


def shares_copied(model: Any, ids: torch.Tensor, response: torch.Tensor) -> list[list[float]]:
    """Of the prompt's tokens that the response writes again, the share that heads looked at then, on dense maps."""
    model.set_attn_implementation("eager")
    with torch.no_grad():
        maps = model(input_ids=ids, output_attentions=True).attentions
    model.set_attn_implementation("sdpa")
    row, own = ids[0].tolist(), response[0].bool().tolist()
    needle = set(ids[0][response[0] == 0].tolist()) & set(ids[0][response[0] > 0].tolist())
    found = []
    for layer in maps:
        shares = []
        for head in layer[0]:
            peaks = head.argmax(-1).tolist()
            writes = [place for place in range(len(row) - 1) if own[place + 1]]
            hits = {row[place + 1] for place in writes if row[peaks[place]] == row[place + 1] and not own[peaks[place]]}
            shares.append(len(hits & needle) / len(needle))
        found.append(shares)
    return found


def test_the_needle_of_a_text_is_what_its_response_writes_again() -> None:
    ids = torch.tensor([[0, 5, 6, 7, 5, 8, 6, 6], [9, 9, 3, 4, 2, 2, 0, 0]])
    mask = torch.tensor([[0, 1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 0, 0]])
    response = torch.tensor([[0, 0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 1, 1, 0, 0]]).bool()
    """Tokens 5, at places 1 and 4, 6 and 8: the response says 8, 6 and 6; the prompt has 6 at place 2 alone."""
    assert repeated(ids, mask, response).tolist() == [[-1, -1, 2, -1, -1, -1, -1, -1], [-1] * 8]
    response[0, 4] = True  # now it says 5 too, which place 1 has first
    assert repeated(ids, mask, response)[0].tolist() == [-1, 1, 2, -1, -1, -1, -1, -1]
    twice = torch.tensor([[5, 6, 5, 7, 5]])
    own = torch.tensor([[0, 0, 0, 0, 1]]).bool()
    assert repeated(twice, torch.ones_like(twice), own).tolist() == [[0, -1, 0, -1, -1]]


def test_drift_is_nought_at_the_base_and_more_behind_it(run: tuple) -> None:
    first, last = run[1][0].scores["drift"], run[1][-2].scores["drift"]
    assert all(value == 0 for row in first.values() for value in row)
    assert all(value > 0 for row in last.values() for value in row)


def test_credit_is_the_share_of_attention_that_credited_tokens_get(tmp_path: Path) -> None:
    """Against dense maps; where credit looks at nothing, no head has any."""
    model = models.build("qwen3")
    ids = torch.randint(3, 60, (2, 40), generator=torch.Generator().manual_seed(3))
    response, credited = torch.zeros(2, 40, dtype=torch.bool), torch.zeros(2, 40, dtype=torch.bool)
    response[:, 15:], credited[:, 20:40:3] = True, True
    one = tracker(tmp_path, [])
    one._layers, one._chosen = (0, 1, 2), (1,)
    found = one._scores([one._read(model, ids, torch.ones_like(ids), response, credited)])
    assert "credit" not in one._scores([one._read(model, ids, torch.ones_like(ids), response)])
    model.set_attn_implementation("eager")
    with torch.no_grad():
        maps = model(input_ids=ids, output_attentions=True).attentions
    for layer, a in enumerate(maps):
        rows = a * response[:, None, :, None]
        share = (rows * credited[:, None, None]).sum((0, 2, 3)) / (rows * response[:, None, None]).sum((0, 2, 3))
        torch.testing.assert_close(torch.tensor(found["credit"][layer]), share, atol=1e-5, rtol=1e-4)


def test_sentences_are_those_of_the_response(tmp_path: Path) -> None:
    """The receiver score is SciPy's kurtosis of what the response's sentences receive on a dense map."""
    from scipy.stats import kurtosis

    tokenizer, model = tiny.build_tokenizer(), tiny.build_model(0)
    prompt = tokenizer("Add. Now. ", add_special_tokens=False)["input_ids"]
    said = "First 1 + 2 = 3. Then 3 - 4 = -1. No. So it is 1. We get 1. That is wrong. Hmm: 1. Wait. So 1. This is 1."
    completion = tokenizer(said, add_special_tokens=False)["input_ids"]
    one = tracker(tmp_path, [])
    one._layers, one._chosen = tuple(range(tiny.NUM_LAYERS)), (2,)
    found = one._scores([one._read(model, *one._batch([Text(prompt, completion)], model))])
    spans = [(len(prompt) + a, len(prompt) + b) for a, b in spans_of_ids(tokenizer, completion)]
    assert len(spans) == 9  # "No." may be an abbreviation
    model.set_attn_implementation("eager")
    with torch.no_grad():
        maps = model(input_ids=torch.tensor([[*prompt, *completion]]), output_attentions=True).attentions
    for layer, a in enumerate(maps):
        expected = [kurtosis(dense.received(head.double(), spans, 4)) for head in a[0]]
        assert found["receiver"][layer] == pytest.approx(expected, rel=1e-3)


def test_a_probe_set_survives_its_file_and_a_damaged_one_is_named(run: tuple, tmp_path: Path) -> None:
    folder, said, _ = run
    probe = ProbeSet.load(folder / "probe.json")
    for layer, row in said[0].scores["distance"].items():
        assert probe.base["distance"][layer] == pytest.approx(row, rel=1e-5)
    assert all(math.isnan(value) for row in probe.base["receiver"].values() for value in row)
    for text in ("", "[]", '{"stage": "sft"}', '{"stage": "x", "step": 0, "texts": [{}], "base": {}, "spread": {}}'):
        (tmp_path / "probe.json").write_text(text)
        with pytest.raises(RunError, match=r"probe.json: cannot be read .* remove it and resume"):
            ProbeSet.load(tmp_path / "probe.json")


def test_a_later_stage_takes_up_the_probe_set_that_is_there(run: tuple, tmp_path: Path) -> None:
    (tmp_path / "probe.json").write_bytes((run[0] / "probe.json").read_bytes())
    said: list[Snapshot] = []
    trained(tmp_path, tracker(tmp_path, said, every=3))
    assert [(snapshot.step, snapshot.source) for snapshot in said] == [
        (3, "probe"),
        (3, "rollouts"),
        (4, "probe"),
        (4, "rollouts"),
    ]
    assert (tmp_path / "probe.json").read_bytes() == (run[0] / "probe.json").read_bytes()


def test_who_is_not_asked_measures_nothing(tmp_path: Path) -> None:
    silent = tracker(tmp_path, None)
    trained(tmp_path, silent)
    assert silent.probe is None and not (tmp_path / "probe.json").exists()


def test_texts_of_a_stage_that_is_fine_tuned_are_its_own_tasks() -> None:
    tasks = evenly([*grpo.TASKS], 4)
    assert [task.question for task in tasks] == [grpo.TASKS[place].question for place in (0, 8, 16, 24)]
    worked = [type(task)(**{**vars_of(task), "completion": "So it is 1."}) for task in tasks[:1]]
    tokenizer = tiny.build_tokenizer()
    row = completion_dataset(worked, None, tokenizer)[0]
    prompt, completion = tokens_of(row, tokenizer)
    assert tokenizer.decode(prompt).endswith("<|im_start|>assistant\n")
    assert tokenizer.decode(completion).startswith("So it is 1.<|im_end|>")


def vars_of(task: Any) -> dict[str, Any]:
    return {name: getattr(task, name) for name in task.__dataclass_fields__}


def test_turnover_goes_on_where_rows_left_off(run: tuple) -> None:
    """Metrics of a snapshot are the same for who saw all of them and for who read the ones before."""
    snapshots = [snapshot for snapshot in run[1] if snapshot.source == "probe"]
    rows = [{"stage": "grpo", **row} for snapshot in snapshots for row in snapshot_rows(snapshot)]
    rows = json.loads(json.dumps(rows))
    whole = Turnover([], [])
    told = [whole.saw_snapshot(scores) for _, _, scores in read_scores(rows)]
    assert told[0] == {}
    cut = [row for row in rows if row["step"] < 4]
    assert Turnover(cut, []).saw_snapshot(read_scores(rows)[-1][2]) == told[-1]
    assert told[-1]["heads/appeared/count"] >= 0 and told[-1]["heads/drift/mean"] > 0


def test_cohorts_are_of_snapshots_by_powers_of_two() -> None:
    """Snapshot n first has head n as a sink, and all keep it: of 9 snapshots 1 is the base's, then 1, 2, 4 and 1."""
    followed = Turnover([], [])
    for last in range(9):
        metrics = followed.saw_snapshot({"sink": {0: [float(head <= last) for head in range(9)]}})
    names = ("base", "1", "2-3", "4-7", "8-15")
    counts = {f"heads/cohort@{name}/count": float(count) for name, count in zip(names, (1, 1, 2, 4, 1), strict=True)}
    assert {key: value for key, value in metrics.items() if "cohort" in key} == counts
    gone = followed.saw_snapshot({"sink": {0: [1.0] + [0.0] * 8}})
    assert [gone[key] for key in counts] == [1, 0, 0, 0, 0]


def test_the_reward_of_a_snapshot_is_the_mean_since_the_one_before() -> None:
    """Turnovers .1 .2 .3 .4 beside mean rewards 1, 3, 2, 4: Spearman 0.8, and nothing before the fourth."""
    followed = Turnover([], [])
    found = []
    for turnover, rewards in ((0.1, (0.5, 1.5)), (0.2, (3.0,)), (0.3, (1.0, 3.0)), (0.4, (4.0, 4.0))):
        for reward in rewards[:-1]:
            assert followed.saw_step({"reward/total/mean": reward}) is None
        found.append(followed.saw_step({"reward/total/mean": rewards[-1], "heads/turnover/share": turnover}))
    assert found == [None, None, None, pytest.approx(0.8)]


def test_layers_without_attention_are_left_out() -> None:
    assert readable_layers(models.build("qwen3_next")) == (1,)
    assert readable_layers(models.build("llama")) == (0, 1, 2)


def test_the_gaze_is_where_heads_look_in_the_first_text(run: tuple) -> None:
    """The key of the largest attention on dense maps, for every row that the response's scores are of."""
    folder, said, done = run
    text, gaze = ProbeSet.load(folder / "probe.json").texts[0], said[-2].gaze
    assert gaze is not None and said[-1].gaze is None
    ids = torch.tensor([[*text.prompt, *text.completion]])
    assert "".join(gaze.tokens) == tiny.build_tokenizer().decode(ids[0])
    done.model.set_attn_implementation("eager")
    with torch.no_grad():
        maps = done.model.eval()(input_ids=ids, output_attentions=True).attentions
    done.model.set_attn_implementation("sdpa")
    for layer, a in enumerate(maps):
        rows = a[0, :, gaze.first : gaze.first + len(gaze.peaks[layer][0])]
        got = rows.gather(-1, torch.tensor(gaze.peaks[layer]).unsqueeze(-1)).squeeze(-1)
        torch.testing.assert_close(got, rows.amax(-1), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(torch.tensor(gaze.tops[layer]), rows.amax(-1), atol=1e-5, rtol=1e-4)
    assert gaze.first <= len(text.prompt) and gaze.first + len(gaze.peaks[0][0]) == len(gaze.tokens)


def test_the_spread_is_of_four_blocks_of_neighbours(run: tuple) -> None:
    """Six texts: blocks of 1, 2, 1 and 2, measured one by one under the weights that training began with."""
    probe, base = ProbeSet.load(run[0] / "probe.json"), tiny.build_model(0)
    one = tracker(run[0], [])
    one._layers = one._chosen = tuple(range(tiny.NUM_LAYERS))
    draws = [probe.texts[low:high] for low, high in ((0, 1), (1, 3), (3, 4), (4, 6))]
    found = spread([one._scores([one._read(base, *one._batch(draw, base))]) for draw in draws])
    for name in ("distance", "entropy", "sink"):
        for layer, row in found[name].items():
            assert probe.spread[name][layer] == pytest.approx(row, rel=1e-3)


def test_no_more_rollouts_are_measured_than_asked_for(tmp_path: Path) -> None:
    one = tracker(tmp_path, [], every=1)
    one._layers = (0,)
    ids = torch.arange(40).view(4, 10)
    for _ in range(3):
        one.saw_micro_batch(1, ids, torch.ones_like(ids), ids > 5, ids > 7)
    kept = [tuple(part[0].shape) for part in one._rollouts.parts]
    assert kept == [(4, 10), (2, 10)] and all(len(part[3]) == len(part[0]) for part in one._rollouts.parts)


def test_kinds_are_of_the_shares_that_credit_has(tmp_path: Path) -> None:
    """Of 24 heads a quarter is 6 and an eighth 3: the nearest are local, the farthest global."""
    model = tiny.build_model(0)
    one = tracker(tmp_path, [], local_share=0.25, global_share=0.125)
    one._layers = one._chosen = tuple(range(tiny.NUM_LAYERS))
    ids = torch.randint(10, 500, (2, 60), generator=torch.Generator().manual_seed(0))
    found = one._scores([one._read(model, ids, torch.ones_like(ids), torch.ones_like(ids).bool())])
    ranked = sorted((value, layer, head) for layer, row in found["distance"].items() for head, value in enumerate(row))
    for kind, chosen in (("local", ranked[:6]), ("global", ranked[-3:])):
        marked = {(layer, head) for layer, row in found[kind].items() for head, value in enumerate(row) if value}
        assert marked == {(layer, head) for _, layer, head in chosen}


def test_attention_that_turns_out_unreadable_is_said_and_training_goes_on(tmp_path: Path) -> None:
    said, heard = [], []
    one = HeadTracker(
        TRACKING, stage="grpo", folder=tmp_path, tokenizer=tiny.build_tokenizer(), texts=None, saw=heard.append,
        say=said.append,
    )  # fmt: skip
    one._layers = one._chosen = (0, 1)
    model = tiny.build_model(0)
    torch.nn.init.constant_(model.model.layers[1].self_attn.q_proj.weight, float("nan"))
    ids = torch.randint(10, 500, (4, 30), generator=torch.Generator().manual_seed(0))
    one.saw_generation(1, model, ids, torch.ones_like(ids), torch.ones_like(ids).bool())
    assert not one.measures and heard == []
    assert said == [
        "heads are not followed any more: layer 1 gives attention that is no finite number: its weights are damaged"
    ]


def test_metrics_of_a_snapshot_by_hand() -> None:
    """Sinks 0, 1 and 2 at the base; then 1, 2 and 3; then 2, 3 and 0: one of three in and out each time."""
    followed = Turnover([], [])
    for sinks in ((0, 1, 2), (1, 2, 3), (2, 3, 0)):
        scores = {"sink": {0: [float(head in sinks) for head in range(4)]}, "drift": {0: [0.0, 1.0, 2.0, 3.0]}}
        metrics = followed.saw_snapshot(scores)
    assert {key: value for key, value in metrics.items() if "cohort" not in key} == {
        "heads/turnover/share": 0.5,
        "heads/appeared/count": 1.0,
        "heads/stayed/count": 2.0,
        "heads/vanished/count": 1.0,
        "heads/emerged/count": 1.0,
        "heads/retained/share": pytest.approx(2 / 3),
        "heads/drift/mean": 1.5,
        "heads/drifted/share": 0.25,
    }


def test_what_is_read_back_says_the_same_as_what_was_seen(run: tuple) -> None:
    """A resumed run has its members from heads.jsonl, to the digit."""
    snapshots = [snapshot for snapshot in run[1] if snapshot.source == "probe"]
    rows = [json.loads(json.dumps({"stage": "grpo", **row})) for one in snapshots for row in snapshot_rows(one)]
    for snapshot, (_, _, scores) in zip(snapshots, read_scores(rows), strict=True):
        for name in set(scores) - {"drift"}:
            for layer, row in snapshot.scores[name].items():
                assert scores[name][layer] == pytest.approx(row, rel=0, abs=0, nan_ok=True)
