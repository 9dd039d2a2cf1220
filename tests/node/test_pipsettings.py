from __future__ import annotations

from pathlib import Path

from homeport.node import pipsettings


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    """Nothing of this machine's user or XDG settings."""
    return {"HOME": str(tmp_path), "XDG_CONFIG_DIRS": str(tmp_path / "xdg"), **more}


def test_files_in_their_order_and_variables_above_all(tmp_path: Path) -> None:
    everywhere = tmp_path / "xdg/pip/pip.conf"
    everywhere.parent.mkdir(parents=True)
    everywhere.write_text("[global]\nindex-url = https://all.example/simple\ntimeout = 60\n")
    user = tmp_path / ".config/pip/pip.conf"
    user.parent.mkdir(parents=True)
    user.write_text(
        "[global]\nindex-url = https://user.example/simple\nextra-index-url = https://a.example/x\n\thttps://b.example/y\n"
        "[install]\nno-index = yes\n"
    )
    chosen = tmp_path / "chosen.conf"
    chosen.write_text("[global]\ntrusted-host = a.example b.example\n")
    env = environment(tmp_path, PIP_CONFIG_FILE=str(chosen), PIP_TIMEOUT="90")
    settings = pipsettings.read(env)
    assert settings.index_url == "https://user.example/simple"
    assert settings.extra_index_urls == ("https://a.example/x", "https://b.example/y")
    assert settings.no_index
    assert settings.trusted_hosts == ("a.example", "b.example")
    assert settings.timeout == 90
    changed = environment(tmp_path, PIP_INDEX_URL="https://env.example/simple")
    assert pipsettings.read(changed).index_url == "https://env.example/simple"


def test_only_the_variables_of_a_null_configuration(tmp_path: Path) -> None:
    user = tmp_path / ".config/pip/pip.conf"
    user.parent.mkdir(parents=True)
    user.write_text("[global]\nindex-url = https://user.example/simple\n")
    env = environment(tmp_path, PIP_CONFIG_FILE="/dev/null", PIP_EXTRA_INDEX_URL="https://a.example https://b.example")
    settings = pipsettings.read(env)
    assert settings.index_url == ""
    assert settings.extra_index_urls == ("https://a.example", "https://b.example")


def test_find_links_that_are_not_there_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels/torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl").touch()
    here, there = str(tmp_path / "wheels"), str(tmp_path / "nope")
    text = f"{there} {here} file://{here} https://x.example/links\n{here}"
    settings = pipsettings.from_values({"find-links": text})
    assert settings.find_links == (here, f"file://{here}", "https://x.example/links")
    assert list(settings.local_wheels()) == ["torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl"] * 2
    assert settings.uv_arguments().count("--find-links") == 3


def test_what_uv_is_told(tmp_path: Path) -> None:
    settings = pipsettings.from_values(
        {"index-url": "https://u:secret@i.example", "extra-index-url": "https://e.example", "cert": "/c.pem"}
    )
    environ = settings.uv_environment({})
    assert environ == {
        "UV_DEFAULT_INDEX": "https://u:secret@i.example",
        "UV_EXTRA_INDEX_URL": "https://e.example",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "SSL_CERT_FILE": "/c.pem",
    }
    assert "SSL_CERT_FILE" not in settings.uv_environment({"SSL_CERT_FILE": "/mine.pem"})
    assert not any("secret" in word for word in settings.uv_arguments())


def test_uvs_own_settings_stand(tmp_path: Path) -> None:
    pip = {"PIP_INDEX_URL": "https://pip.example", "PIP_CERT": "/c.pem"}
    told = pipsettings.read(environment(tmp_path, UV_DEFAULT_INDEX="https://uv.example", **pip))
    assert told.uv_environment({}) == {"SSL_CERT_FILE": "/c.pem"}
    config = tmp_path / ".config/uv/uv.toml"
    config.parent.mkdir(parents=True)
    config.write_text('[[index]]\nurl = "https://uv.example"\n')
    assert pipsettings.read(environment(tmp_path, **pip)).uv_environment({}) == {"SSL_CERT_FILE": "/c.pem"}


def test_a_changed_file_changes_the_stamp(tmp_path: Path) -> None:
    env = environment(tmp_path)
    before = pipsettings.stamp(env)
    user = tmp_path / ".config/pip/pip.conf"
    user.parent.mkdir(parents=True)
    user.write_text("[global]\nno-index = 1\n")
    assert pipsettings.stamp(env) != before


def test_a_broken_file_is_passed_over(tmp_path: Path) -> None:
    user = tmp_path / ".config/pip/pip.conf"
    user.parent.mkdir(parents=True)
    user.write_text("index-url = no section\n")
    assert pipsettings.read(environment(tmp_path, PIP_CERT="/c.pem")).cert == "/c.pem"
