"""No file that somebody hands over is read in a way that could run it: what the three packages call is looked at."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
ROOMS = ("agcnn_clinic", "models/agcnn_models", "training/agcnn_training")
CALLS = {
    "torch.load": {"weights_only": True},
    "np.load": {"allow_pickle": False},
}
"""Calls that run code unless they are told not to, and what each one must be told."""
NEVER = {
    *("eval", "exec", "compile", "__import__"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "cPickle.loads", "dill.loads", "joblib.load", "shelve.open"),
    *("marshal.load", "marshal.loads", "yaml.load", "yaml.unsafe_load", "torch.jit.load", "torch.package"),
    *("pd.read_pickle", "pandas.read_pickle", "numpy.load", "os.system", "subprocess.getoutput"),
}


def calls(source: str) -> Iterator[tuple[str, dict[str, object]]]:
    """Each call of a module by its written name, with its keywords that are constants."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            constants = {word.arg: word.value.value for word in node.keywords if isinstance(word.value, ast.Constant)}
            yield ast.unparse(node.func), constants


def dangerous(source: str) -> list[str]:
    """The calls of a module that could run what they read."""
    return [
        name
        for name, keywords in calls(source)
        if name in NEVER or any(keywords.get(word) is not said for word, said in CALLS.get(name, {}).items())
    ]


@pytest.mark.parametrize("room", ROOMS)
def test_nothing_that_is_read_is_run(room):
    """Weights are tensors alone, arrays hold no objects, settings are TOML or JSON."""
    files = sorted((REPOSITORY / room).rglob("*.py"))
    assert len(files) > 5
    assert {str(file): found for file in files if (found := dangerous(file.read_text()))} == {}


def test_the_look_itself_sees_what_it_looks_for():
    """A loader without its guard, or with the guard off, is found."""
    assert dangerous("torch.load(path)") == ["torch.load"]
    assert dangerous("torch.load(path, weights_only=False)") == ["torch.load"]
    assert dangerous("torch.load(path, weights_only=True)") == []
    assert dangerous("x = pickle.loads(data)") == ["pickle.loads"]
    assert dangerous("model.eval()") == []
