"""Settings: keywords over environment over file; an unknown name stops the start."""

from pathlib import Path

import msgspec
import pytest

import palimp
from palimp.errors import Invalid
from palimp.node.settings import SETTINGS, Settings, load_settings


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    path = tmp_path / "palimp.toml"
    path.write_text('source = "file"\ndata_dir = "from-file"\nhot_cap = 7\n')
    return path


def test_nothing_set_gives_the_defaults() -> None:
    assert load_settings({}, {}) == Settings()
    assert Settings().data_dir == "./memory"


def test_keywords_win_over_the_environment_and_that_over_the_file(toml: Path) -> None:
    environment = {
        "PALIMP_CONFIG": str(toml),
        "PALIMP_SOURCE": "environment",
        "PALIMP_DATA_DIR": "from-environment",
        "HOME": "/nowhere",
    }
    settings = load_settings({"data_dir": "from-keyword"}, environment)
    assert settings.data_dir == "from-keyword"
    assert settings.source == "environment"
    assert settings.hot_cap == 7


def test_the_environment_of_the_process_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PALIMP_SOURCE", "shell")
    assert load_settings().source == "shell"


def test_a_number_in_the_environment_is_text() -> None:
    assert load_settings({}, {"PALIMP_HOT_CAP": "12"}).hot_cap == 12


def test_an_empty_variable_is_not_set() -> None:
    assert load_settings({}, {"PALIMP_SOURCE": "", "PALIMP_HOT_CAP": ""}) == Settings()


def test_a_path_may_be_a_path(tmp_path: Path) -> None:
    assert load_settings({"data_dir": tmp_path}, {}).data_dir == str(tmp_path)


@pytest.mark.parametrize(
    ("keywords", "environment", "named"),
    [
        ({"data_dri": "x"}, {}, "data_dir"),
        ({}, {"PALIMP_DATA_DRI": "x"}, "PALIMP_DATA_DIR"),
        ({}, {"PALIMP_SOURCES": ""}, "PALIMP_SOURCE"),
    ],
)
def test_an_unknown_setting_stops_the_start_and_names_the_nearest(
    keywords: dict[str, str], environment: dict[str, str], named: str
) -> None:
    with pytest.raises(Invalid, match=f"unknown setting .* \\(did you mean '{named}'\\?\\)"):
        load_settings(keywords, environment)


def test_an_unknown_setting_in_the_file_names_the_file(toml: Path) -> None:
    toml.write_text('sauce = "x"\n')
    with pytest.raises(Invalid, match=r"palimp\.toml: sauce \(did you mean 'source'\?\)"):
        load_settings({}, {"PALIMP_CONFIG": str(toml)})


@pytest.mark.parametrize(
    ("keywords", "environment", "shown"),
    [
        ({"hot_cap": "many"}, {}, "setting hot_cap is 'many'"),
        ({"hot_cap": 0}, {}, "setting hot_cap is 0; give 1 to"),
        ({"data_dir": 5}, {}, "setting data_dir is 5"),
        ({}, {"PALIMP_HOT_CAP": "0.5"}, "PALIMP_HOT_CAP is '0.5'"),
        ({}, {"PALIMP_EMBED_PROVIDER": "magic"}, "PALIMP_EMBED_PROVIDER is 'magic'"),
    ],
)
def test_a_value_that_does_not_fit_names_where_it_came_from(
    keywords: dict[str, object], environment: dict[str, str], shown: str
) -> None:
    with pytest.raises(Invalid) as caught:
        load_settings(keywords, environment)
    assert shown in str(caught.value)


@pytest.mark.parametrize("content", [b"source = ", b"\xff\xfe", None])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "broken.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Invalid, match=r"PALIMP_CONFIG: .*broken\.toml"):
        load_settings({}, {"PALIMP_CONFIG": str(path)})


def test_every_setting_says_what_it_means() -> None:
    assert set(SETTINGS) == {field.name for field in msgspec.structs.fields(Settings)}
    assert all(meaning.endswith(".") for meaning in SETTINGS.values())


def test_open_takes_settings_and_refuses_unknown_ones(tmp_path: Path) -> None:
    with palimp.open(tmp_path / "m", source="agent-7") as mem:
        assert mem.source == "agent-7"
    with pytest.raises(Invalid, match="did you mean 'source'"):
        palimp.open(tmp_path / "n", sourc="x")
    assert not (tmp_path / "n").exists()


def test_open_without_a_path_uses_the_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PALIMP_DATA_DIR", str(tmp_path / "set"))
    with palimp.open():
        assert (tmp_path / "set").is_dir()


@pytest.mark.parametrize(
    ("given", "meant"),
    [("1000,60", (1_000, 60)), ("0,1", (0, 1)), ("100000,86400", (100_000, 86_400))],
)
def test_the_rate_of_a_key_is_requests_and_seconds(given: str, meant: tuple[int, int]) -> None:
    assert load_settings({}, {"PALIMP_KEY_RATE_LIMIT": given}).key_rate == meant


@pytest.mark.parametrize(
    "given", ["1000", "1000,60,1", "1000, 60", "-1,60", "100001,60", "5,0", "5,86401", "5,", "a,b"]
)
def test_another_rate_is_refused_and_told_what_fits(given: str) -> None:
    with pytest.raises(Invalid, match=r"PALIMP_KEY_RATE_LIMIT is .*; give requests and seconds"):
        load_settings({}, {"PALIMP_KEY_RATE_LIMIT": given})


def test_the_secret_of_keys_is_long_and_not_shown() -> None:
    with pytest.raises(Invalid, match="PALIMP_API_KEY_SECRET has fewer than 16 characters"):
        load_settings({}, {"PALIMP_API_KEY_SECRET": "short"})
    assert "long enough" not in repr(load_settings({"api_key_secret": "long enough to be one"}))
