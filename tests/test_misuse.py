"""A call that does not fit is answered with the argument that was meant."""

import inspect

import pytest

import datastage
from datastage import api, cli
from datastage.errors import SpecError


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("batchsize", "batch_size"),
        ("bs", "batch_size"),
        ("image_size", "size"),
        ("transforms", "transform"),
        ("val_split", "val"),
        ("agument", "augment"),
    ],
)
def test_an_argument_that_is_misspelt_is_offered(written, meant):
    with pytest.raises(SpecError, match=f"loaders.. has no argument {written}=") as caught:
        datastage.loaders("cifar10", **{written: 32})

    assert caught.value.remedy[-1] == f"Next: write {meant}= in its place."


def test_an_argument_like_none_lists_those_that_there_are():
    with pytest.raises(SpecError) as caught:
        datastage.preview("x.zip", colour="red")

    assert caught.value.remedy[-1] == "Next: its arguments are data, n, labels, out."


def test_the_batch_size_may_stand_second():
    np = pytest.importorskip("numpy")
    pytest.importorskip("torch")
    arrays = (np.zeros((8, 4, 4, 3), np.uint8), np.arange(8))

    made = datastage.loaders(arrays, 4, device="cpu", progress=False)

    assert made.train.batch_size == 4


def test_a_batch_size_that_is_missing_is_asked_for():
    with pytest.raises(SpecError, match="loaders.. needs batch_size") as caught:
        datastage.loaders("cifar10")

    assert caught.value.remedy[-1] == "Next: add batch_size=64."


def test_more_arguments_than_have_no_name_say_that_the_others_are_named():
    with pytest.raises(SpecError, match="takes one argument without a name .spec., and 2 were given"):
        datastage.stage("./x.zip", "root")


def test_an_argument_that_is_given_twice_is_said():
    with pytest.raises(SpecError, match="got spec twice"):
        datastage.stage("./x.zip", spec="y")


def test_a_type_error_from_inside_stays_one():
    def verb(path):
        raise TypeError("mine")

    with pytest.raises(TypeError, match="mine"):
        api._answered(verb)("x")


def test_the_signatures_are_those_that_are_written():
    assert list(inspect.signature(datastage.loaders).parameters)[:2] == ["data", "batch_size"]
    assert datastage.stage.__doc__.startswith("Put a dataset")


# --- the command


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stag", "cifar10"], "Next: did you mean  datastage stage ?"),
        (["catalogue"], "Next: did you mean  datastage catalog ?"),
        (["frobnicate"], "Next: datastage --help lists what there is."),
        (["stage", "cifar10", "--rot", "x"], "Next: did you mean --root ?"),
        (["stage", "cifar10", "--zzzz"], "Next: datastage stage --help"),
    ],
)
def test_a_verb_or_an_option_that_is_misspelt_is_offered(words, said, capsys):
    assert cli.main(words) == SpecError.exit_code

    assert capsys.readouterr().err.splitlines()[-1].strip() == said


def test_the_command_alone_shows_its_help(capsys):
    assert cli.main([]) == SpecError.exit_code

    assert "datastage stage cifar10" in capsys.readouterr().err
