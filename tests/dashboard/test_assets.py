"""Static files and compressed pages: what is sent, how long it is kept, what it gives away."""

from __future__ import annotations

import asyncio
import gzip
import re
import subprocess
import sys
from collections.abc import Mapping
from configparser import ConfigParser
from hashlib import sha256
from pathlib import Path
from shutil import copytree

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from kurolproxy.dashboard import answers
from kurolproxy.dashboard.assets import PREFIX, Assets
from kurolproxy.dashboard.guard import check_csrf, csrf_of, padded
from tests.conftest import Running
from tests.dashboard.conftest import LogIn

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "kurolproxy" / "dashboard"
STATIC = sorted(
    each.relative_to(FOLDER / "static").as_posix()
    for each in (FOLDER / "static").rglob("*")
    if each.suffix in {".css", ".js", ".svg", ".txt"}
)
VENDORED = [FOLDER / "static" / "vendor", ROOT / "tests" / "browser" / "vendor"]


async def fetch(
    running: Running, path: str, method: str = "GET", accept: str = "identity"
) -> tuple[int, bytes, Mapping[str, str]]:
    """Return status, body as it was sent, and headers."""
    async with (
        aiohttp.ClientSession(auto_decompress=False) as http,
        http.request(
            method, running.base_url + path, headers={"accept-encoding": accept}
        ) as answer,
    ):
        low = {name.lower(): value for name, value in answer.headers.items()}
        return answer.status, await answer.read(), low


@pytest.mark.parametrize("name", STATIC)
def test_name_of_a_file_follows_from_what_it_holds(name: str) -> None:
    data = (FOLDER / "static" / name).read_bytes()
    assert Assets().url(name) == f"{PREFIX}{sha256(data).hexdigest()[:12]}/{name}"


async def test_file_is_kept_for_ever_and_comes_compressed_to_whoever_wants_that(
    gateway: Running,
) -> None:
    path = Assets().url("kurol.css")
    plain = (FOLDER / "static" / "kurol.css").read_bytes()
    status, body, headers = await fetch(gateway, path)
    assert (status, body) == (200, plain)
    assert headers["cache-control"] == "public, max-age=31536000, immutable"
    assert headers["content-type"] == "text/css; charset=utf-8"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["vary"] == "accept-encoding"
    status, packed, headers = await fetch(gateway, path, accept="br, gzip")
    assert (status, headers["content-encoding"]) == (200, "gzip")
    assert gzip.decompress(packed) == plain
    status, none, head = await fetch(gateway, path, "HEAD", accept="gzip")
    assert (status, none, head["content-length"]) == (200, b"", str(len(packed)))


@pytest.mark.parametrize(
    "path",
    [
        "",
        "kurol.css",
        "000000000000/kurol.css",
        "{hash}/../kurol.css",
        "{hash}/vendor/../kurol.css",
        "{hash}/%2e%2e/assets.py",
        "{hash}/kurol.css/",
        "{hash}//kurol.css",
        "{hash}/vendor/refresh.sh",
        "{hash}/vendor",
    ],
)
async def test_nothing_else_is_a_file(gateway: Running, path: str) -> None:
    known = Assets().url("kurol.css").removeprefix(PREFIX).partition("/")[0]
    # By hand: a client of HTTP would tidy up the path.
    host, port = gateway.gateway.addresses[0]
    status = await raw_status(host, port, PREFIX + path.format(hash=known))
    assert status == 404


async def raw_status(host: str, port: int, path: str) -> int:
    """Return the status of a GET whose path is sent as it is."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    line = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return int(line.split()[1])


async def test_file_takes_no_post(gateway: Running) -> None:
    status, _, _ = await fetch(gateway, Assets().url("kurol.css"), "POST")
    assert status == 405


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("gzip; q=1.0", True),
        ("gzip;q=0", False),
        ("gzip;q=0.000", False),
        ("br", False),
        ("x-gzip", False),
        ("", False),
    ],
)
def test_client_says_whether_it_takes_gzip(header: str, taken: bool) -> None:
    request = make_mocked_request("GET", "/", headers={"accept-encoding": header})
    assert answers.takes_gzip(request) is taken


@pytest.mark.parametrize(
    ("method", "kind", "length", "packed"),
    [
        ("GET", "text/html", 2_000, True),
        ("GET", "application/json", 2_000, True),
        ("GET", "text/html", 1_000, False),
        ("GET", "image/png", 2_000, False),
        # A key that is shown once stands in the answer to a POST.
        ("POST", "text/html", 2_000, False),
    ],
)
def test_page_is_compressed_when_that_gives_nothing_away(
    method: str, kind: str, length: int, packed: bool
) -> None:
    request = make_mocked_request(method, "/", headers={"accept-encoding": "gzip"})
    response = web.Response(body=b"x" * length, content_type=kind)
    answers.pack(request, response)
    assert ("content-encoding" in response.headers) is packed
    body = response.body
    assert isinstance(body, bytes)
    assert (gzip.decompress(body) if packed else body) == b"x" * length


async def test_page_comes_compressed_and_its_token_looks_different_each_time(
    gateway: Running, log_in: LogIn
) -> None:
    browser = await log_in(gateway)
    tokens = set()
    for _ in range(3):
        page = await browser.get("/dashboard/keys", **{"accept-encoding": "gzip"})
        assert (page.status, page.headers["content-encoding"]) == (200, "gzip")
        assert csrf_of(browser.token) not in page.text
        tokens |= set(re.findall(r'name="csrf" value="(\w+)"', page.text))
    assert len(tokens) == 3
    for each in tokens:
        check_csrf(browser.token, each)


@pytest.mark.parametrize(
    "given",
    ["", "0", "zz" * 64, "é" * 128, padded(csrf_of("another")), padded(csrf_of("mine"))[:-2]],
)
def test_wrong_token_is_refused_with_any_pad(given: str) -> None:
    with pytest.raises(answers.PageError, match="csrf"):
        check_csrf("mine", given)


@pytest.mark.parametrize("folder", VENDORED, ids=["static", "tests"])
def test_vendored_files_are_what_was_fetched(folder: Path) -> None:
    sums = dict(
        reversed(line.split("  ")) for line in (folder / "SHA256SUMS").read_text().splitlines()
    )
    about = {"SHA256SUMS", "VERSIONS.txt", "refresh.sh"}
    actual = {
        each.name: sha256(each.read_bytes()).hexdigest()
        for each in folder.iterdir()
        if each.name not in about
    }
    assert actual == sums
    versions = (folder / "VERSIONS.txt").read_text()
    named = re.findall(r"^ +\S+ (\S+)$", versions, re.MULTILINE)
    assert sorted(named) == sorted(sums)
    assert sum(name.endswith("LICENSE.txt") for name in named) == len(
        re.findall(r"^[a-z]\S* \S+ \S+ sha512-\S{88}$", versions, re.MULTILINE)
    )


def test_built_package_holds_every_template_and_every_static_file(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", reason="setuptools is missing: nothing can be built")
    source, built = tmp_path / "source", tmp_path / "built"
    copytree(FOLDER, source / "kurolproxy" / "dashboard")
    (source / "kurolproxy" / "__init__.py").write_text('__version__ = "1"')
    settings = ConfigParser()
    settings.read(ROOT / "setup.cfg")
    for section in set(settings) - {"options", "options.packages.find", "options.package_data"}:
        settings.remove_section(section)
    for option in set(settings["options"]) - {"packages", "include_package_data"}:
        settings.remove_option("options", option)
    with (source / "setup.cfg").open("w") as file:
        settings.write(file)
    build = "import setuptools; setuptools.setup(name='kurolproxy')"
    command = [sys.executable, "-c", build, "-q", "build_py", "--build-lib", str(built)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    for folder in ("templates", "static"):
        there = {
            each.relative_to(FOLDER) for each in (FOLDER / folder).rglob("*") if each.is_file()
        }
        left = built / "kurolproxy" / "dashboard"
        assert there == {
            each.relative_to(left) for each in (left / folder).rglob("*") if each.is_file()
        }
