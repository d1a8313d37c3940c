"""Bad input, through the command: a message with file, key or line and remedy, exit code 2, nothing written."""

import subprocess
import sys
from pathlib import Path

import pytest
from reference import models
from reference.command import rhythm

from rl import cli, tiny

LINE = '{"question": "1 + 1 = ?", "answer": "2", "completion": "<answer>2</answer>"}\n'


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.jsonl").write_text(LINE * 8, encoding="utf-8")
    (tmp_path / "empty.jsonl").write_text(LINE + "\n" + LINE, encoding="utf-8")
    (tmp_path / "torn.jsonl").write_text(LINE + LINE[:20] + "\n", encoding="utf-8")
    (tmp_path / "no-answer.jsonl").write_text(LINE + '{"question": "1 + 1 = ?"}\n', encoding="utf-8")
    (tmp_path / "long.jsonl").write_text(LINE + LINE.replace("1 + 1", "1 + " * 300 + "1"), encoding="utf-8")
    (tmp_path / "no-weights").mkdir()
    tiny.build_tokenizer().save_pretrained(tmp_path / "no-weights")
    tiny.build_model(0).config.save_pretrained(tmp_path / "no-weights")
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "cut").mkdir()
    tiny.build_model(0).save_pretrained(tmp_path / "cut")
    tiny.build_tokenizer().save_pretrained(tmp_path / "cut")
    (tmp_path / "cut" / "model.safetensors").write_bytes(b"\x00" * 100)
    hybrid = models.build("qwen3_next")
    hybrid.save_pretrained(tmp_path / "hybrid")
    tiny.build_tokenizer().save_pretrained(tmp_path / "hybrid")
    (tmp_path / "half.jsonl").write_text(LINE + LINE.replace("1 + 1", "\\ud800"), encoding="utf-8")
    (tmp_path / "loop.yaml").write_text("model: &a {lora: *a}\n", encoding="utf-8")
    (tmp_path / "date.yaml").write_text("seed: 2024-13-45\n", encoding="utf-8")
    (tmp_path / "nothing").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").touch()
    (tmp_path / "broken.yaml").write_text("model: {name: tiny\nseed: 1\n", encoding="utf-8")
    (tmp_path / "wrong.yaml").write_text("modle: {name: tiny}\nseed: one\ncredit: {kind: copled}\n", encoding="utf-8")
    return tmp_path


def jsonl(name: str) -> list[str]:
    return ["quickstart", "--set", f"stages.sft.data={{kind: jsonl, path: {name}, completion: completion}}"]


CASES = {
    "unknown command": (["trian"], "No such command 'trian'"),
    "unknown recipe": (
        ["train", "quikstart"],
        "quikstart: no recipe file and no shipped recipe of that name; did you mean",
    ),
    "missing recipe file": (["train", "mine.yaml"], "mine.yaml: no such recipe file"),
    "broken yaml": (["train", "broken.yaml"], "broken.yaml:2: not valid YAML"),
    "misspelt key": (["train", "wrong.yaml"], "wrong.yaml: modle: unknown key; did you mean model?"),
    "wrong type": (["train", "wrong.yaml"], "wrong.yaml: seed: should be a valid integer, not 'one'"),
    "unknown credit": (["train", "wrong.yaml"], "wrong.yaml: credit: unknown kind 'copled'; did you mean coupled?"),
    "checked too": (["check", "wrong.yaml"], "wrong.yaml: modle: unknown key"),
    "unknown reward": (
        ["check", "quickstart", "--set", "rewards.parts.answr.weight=1"],
        "unknown reward; did you mean answer?",
    ),
    "bad override": (["check", "quickstart", "--set", "seed"], "--set seed: should read key.of.the.recipe=value"),
    "no recipe": (["train"], "name a RECIPE"),
    "resume without a run": (["train", "--resume"], "--resume needs --run-dir"),
    "resume of nothing": (["train", "--resume", "--run-dir", "nowhere"], "nowhere: holds no run (no recipe.json)"),
    "report of nothing": (["report", "nothing"], "nothing: holds no run (no recipe.json)"),
    "occupied folder": (
        ["train", "quickstart", "--run-dir", "thesis"],
        "thesis: is there already and is never overwritten",
    ),
    "folder is a file": (
        ["train", "quickstart", "--run-dir", "file"],
        "file: is a file; give --run-dir another folder",
    ),
    "unwritable folder": (["train", "quickstart", "--run-dir", "file/run"], "file/run: cannot write a run there"),
    "missing data": (["train", *jsonl("nowhere.jsonl")], "nowhere.jsonl: no such file"),
    "empty line": (["train", *jsonl("empty.jsonl")], "empty.jsonl:2: the line is empty; delete it"),
    "torn line": (["train", *jsonl("torn.jsonl")], "torn.jsonl:2: not valid JSON at column"),
    "no answer": (["train", *jsonl("no-answer.jsonl")], "no-answer.jsonl:2: the task has no answer"),
    "long prompt": (["train", *jsonl("long.jsonl")], "long.jsonl:2: prompt of 611 tokens"),
    "few tasks": (
        ["train", "quickstart", "--set", "data.size=4"],
        "4 tasks are fewer than stages.grpo.trainer.prompts_per_step",
    ),
    "no weights": (["train", "quickstart", "--set", "model.name=./no-weights"], "has a config.json but no weights"),
    "cut weights": (
        ["train", "quickstart", "--set", "model.name=./cut"],
        "cut/model.safetensors is no whole safetensors file",
    ),
    "half a surrogate": (
        ["train", *jsonl("half.jsonl")],
        "half.jsonl:2: column 'question' holds half of a surrogate pair",
    ),
    "endless yaml": (["check", "loop.yaml"], "loop.yaml: is nested without end"),
    "no such date": (["check", "date.yaml"], "date.yaml: not valid YAML"),
    "infinite": (["check", "quickstart", "--set", "rewards.parts.answer.weight=.inf"], "should be a finite number"),
    "name of a folder": (["check", "quickstart", "--set", "name=../../up"], "name: "),
    "long folder": (["train", "quickstart", "--run-dir", "x" * 300], "give --run-dir another folder"),
    "no flash": (
        ["train", "quickstart", "--set", "model.attention=flash_attention_2"],
        "model.attention: flash_attention_2 is not",
    ),
    "no model": (["train", "quickstart", "--set", "model.name=./nothing"], "./nothing has no config.json"),
    "an adapter": (["train", "quickstart", "--set", "model.name=./adapter"], "holds a PEFT adapter alone; merge it"),
    "no folder": (
        ["train", "quickstart", "--set", "model.name=./absent"],
        "./absent is no folder; name a model folder",
    ),
    "absent hub model": (
        ["train", "quickstart", "--set", "model.name=no/such-model"],
        "cannot load a tokenizer from no/such-model",
    ),
    "lora targets": (
        ["train", "quickstart", "--set", "model.lora.targets=[nonsense]"],
        "model.lora.targets: ",
    ),
    "huge seed": (["check", "quickstart", "--set", "seed=99999999999"], "seed: should be less than 4294967296"),
    "no layers": (["check", "quickstart", "--set", "credit.layers=[]"], "credit.layers: "),
    "layer beyond": (
        ["train", "quickstart", "--set", "credit.layers=[9]"],
        "credit.layers: [9] are beyond the model's layers 0..5",
    ),
    "layer without attention": (
        ["train", "quickstart", "--set", "model.name=./hybrid", "--set", "credit.layers=[0, 1]"],
        "bypass the attention interface; of those that ran, layers [1] go through it; name layers",
    ),
    "empty horizon": (
        ["check", "quickstart", "--set", "credit.horizon=[50, 10]"],
        "credit: horizon: [50, 10] is empty",
    ),
    "horizon beyond a completion": (
        ["check", "quickstart", "--set", "credit.horizon=[70, 90]"],
        "credit.horizon: begins 70 tokens on, but completions have at most 64",
    ),
    "credit in an sft stage": (
        ["check", "quickstart", "--set", "stages.sft.credit={kind: anchor}"],
        "stages.sft.credit: has no effect in an sft stage",
    ),
    "floor above gain": (["check", "quickstart", "--set", "credit.floor=2"], "floor: 2 is above the gain 1.5"),
    "no gain": (["check", "quickstart", "--set", "credit.gain=0"], "credit.gain: should be greater than 0"),
    "layer twice": (["check", "quickstart", "--set", "credit.layers=[1, 1]"], "layers: [1, 1] names a layer twice"),
    "heads twice": (
        ["check", "quickstart", "--set", "credit.local_share=0.8"],
        "heads would be both, since they add up to 1.1",
    ),
    "alarm too late": (
        ["check", "quickstart", "--set", "alarms.length={below: 0.5, steps: 120}"],
        "alarms.length.steps: 120 steps of 120 leave none to compare",
    ),
    "unknown sign": (
        ["check", "quickstart", "--set", "credit.sign=plus"],
        "credit.sign: should be 'both', 'positive' or 'negative'",
    ),
    "option of another kind": (
        ["check", "quickstart", "--set", "credit={kind: random, window: 3}"],
        "credit.window: unknown key",
    ),
    "alarm without a share": (
        ["check", "quickstart", "--set", "alarms.entropy.steps=3"],
        "alarms.entropy.below: is missing",
    ),
    "alarm of the start": (
        ["check", "quickstart", "--set", "alarms.length.below=1.5"],
        "alarms.length.below: should be less than 1",
    ),
    "unknown alarm": (
        ["check", "quickstart", "--set", "alarms.lenght.below=0.5"],
        "alarms.lenght: unknown key; did you mean length?",
    ),
    "cispo's clip": (
        ["check", "quickstart", "--set", "stages.grpo.trainer.loss_type=cispo"],
        "stages.grpo.trainer.trl.epsilon_high: cispo clips the probability ratio itself at this, and 0.2",
    ),
    "trl type": (
        ["train", "quickstart", "--set", "stages.grpo.trainer.trl.top_p=x"],
        "stages.grpo.trainer.trl.top_p: should be",
    ),
    "trl value": (
        ["train", "quickstart", "--set", "stages.grpo.trainer.trl.optim=x"],
        "stages.grpo.trainer.trl: TRL refuses",
    ),
    "gym task": (
        ["train", "quickstart", "--set", "data.task=chain_sun"],
        "no data set 'chain_sun'; did you mean chain_sum?",
    ),
    "gym option": (["train", "quickstart", "--set", "data.options.min_trems=1"], "reasoning-gym's chain_sum refuses"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input(case: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    words, message = CASES[case]
    before = sorted(here.rglob("*"))
    monkeypatch.setattr(sys, "argv", ["rhythm", *words])
    with pytest.raises(SystemExit) as left:
        cli.main()
    out, err = capsys.readouterr()
    assert left.value.code == 2, out + err
    assert message in " ".join(err.split()) or message in err, err
    assert "Traceback" not in out + err
    assert sorted(here.rglob("*")) == before


def test_the_command_itself_prints_no_traceback(here: Path) -> None:
    done = rhythm("train", "wrong.yaml", cwd=here)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 3 and "Traceback" not in done.stderr


def test_an_existing_run_is_refused_and_untouched(here: Path) -> None:
    (here / "run").mkdir()
    (here / "run" / "recipe.json").write_text("{}", encoding="utf-8")
    done = rhythm("train", "quickstart", "--run-dir", "run", cwd=here)
    assert done.returncode == 2 and "--resume goes on with it" in done.stderr
    assert (here / "run" / "recipe.json").read_text(encoding="utf-8") == "{}"


def test_help_and_check_are_quick_to_say_what_they_say(here: Path) -> None:
    for words in (["--help"], ["train", "--help"], ["check", "quickstart"], ["--version"], ["recipes"]):
        done = rhythm(*words, cwd=here)
        assert done.returncode == 0 and done.stdout.strip(), done.stderr
    code = "import sys; from rl import cli; assert not {'torch', 'transformers', 'trl', 'pydantic'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True)
