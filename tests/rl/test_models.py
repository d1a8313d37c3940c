"""Policies from folders, and what a folder that is none is told."""

from pathlib import Path

import pytest
import torch

from rl import models, tiny
from rl.exports import export


def test_the_embedded_model_is_written_as_an_ordinary_folder(tmp_path: Path) -> None:
    folder = models.write_base("tiny", 3, tmp_path / "base")
    policy = models.load_policy(folder, dtype="bfloat16")
    assert policy.dtype is torch.bfloat16
    for name, value in tiny.build_model(3).state_dict().items():
        assert torch.equal(policy.state_dict()[name], value.bfloat16())
    models.check_source(folder)
    assert models.read_shape(folder) == models.read_shape("tiny") == models.Shape(512, 6)
    assert models.load_tokenizer(folder).get_vocab() == tiny.build_tokenizer().get_vocab()


def test_writing_it_again_keeps_what_is_there(tmp_path: Path) -> None:
    folder = Path(models.write_base("tiny", 3, tmp_path / "base"))
    before = (folder / "model.safetensors").stat().st_mtime_ns
    models.write_base("tiny", 4, tmp_path / "base")
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    assert models.write_base("org/model", 3, tmp_path / "other") == "org/model"


def test_lora_trains_its_adapters_alone(tmp_path: Path) -> None:
    policy = models.add_lora(tiny.build_model(0), rank=4, alpha=8, dropout=0.0, targets="all-linear")
    trained = {name for name, parameter in policy.named_parameters() if parameter.requires_grad}
    assert trained and all("lora_" in name for name in trained)
    export(policy, tiny.build_tokenizer(), tmp_path / "final", {})
    again = models.add_lora(
        tiny.build_model(0), rank=4, alpha=8, dropout=0.0, targets="all-linear", adapter=tmp_path / "final"
    )
    assert {name for name, parameter in again.named_parameters() if parameter.requires_grad} == trained


def test_targets_that_are_not_there_are_named() -> None:
    with pytest.raises(models.ModelError, match=r"model.lora.targets: .*nonsense"):
        models.add_lora(tiny.build_model(0), rank=4, alpha=8, dropout=0.0, targets=["nonsense"])


def test_an_export_appears_whole(tmp_path: Path) -> None:
    (tmp_path / "final.part").mkdir()
    (tmp_path / "final.part" / "leftover").touch()
    export(tiny.build_model(0), tiny.build_tokenizer(), tmp_path / "final", {})
    assert not (tmp_path / "final.part").exists() and not (tmp_path / "final" / "leftover").exists()
    models.check_source(str(tmp_path / "final"))


def test_a_tokenizer_without_a_chat_template_is_refused(tmp_path: Path) -> None:
    tokenizer = tiny.build_tokenizer()
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(models.ModelError, match="has no chat template"):
        models.load_tokenizer(str(tmp_path))
