"""Texts of many kinds as agents meet them, the same on every machine with the same Python."""

from __future__ import annotations

import argparse
import ast
import base64
import csv
import difflib
import inspect
import io
import json
import ntpath
import posixpath
import pydoc
import pydoc_data.topics
import random
import shutil
import subprocess
import tarfile
import textwrap
import traceback
import uuid
import zipfile
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
# What the page of the figures says must not change the figures.
_OWN_PAGE = "estimate.md"
_MODULES = (argparse, inspect, subprocess, tarfile, zipfile, shutil, ast, csv, textwrap, traceback)

Text = Callable[[random.Random], str]
"""Makes a text of 75 kB or more; the same dice give the same text."""

_LONG = 75_000


@cache
def _source(module: ModuleType) -> str:
    return inspect.getsource(module)


@cache
def _html(module: ModuleType) -> str:
    return pydoc.HTMLDoc().docmodule(module)


def _filled(dice: random.Random, pieces: Iterable[str], between: str = "") -> str:
    """Join pieces in a random order, again and again, until the text is long enough."""
    found, out, size = list(pieces), [], 0
    while size < _LONG:
        dice.shuffle(found)
        out += found
        size += sum(map(len, found))
    return between.join(out)


# --- code -------------------------------------------------------------------------------


def python(dice: random.Random) -> str:
    """Return modules of the standard library."""
    return _filled(dice, map(_source, _MODULES))


def numbered(dice: random.Random) -> str:
    """Return code as an agent's tool shows a file, with the number of each line."""
    first = dice.randrange(1, 900)
    lines = python(dice).splitlines()
    return "\n".join(f"{number:6}\t{line}" for number, line in enumerate(lines, first))


def found_lines(dice: random.Random) -> str:
    """Return what a search through files finds."""
    lines = [
        f"lib/python/{module.__name__}.py:{number}:{line}"
        for module in _MODULES
        for number, line in enumerate(_source(module).splitlines(), 1)
        if "self" in line or "return" in line
    ]
    return _filled(dice, lines, "\n")


def diff(dice: random.Random) -> str:
    """Return the difference of two modules that do the same on two systems."""
    sources = [_source(module).splitlines() for module in (posixpath, ntpath)]
    dice.shuffle(sources)
    one, other = sources
    changed = "\n".join(difflib.unified_diff(one, other, "a/path.py", "b/path.py", lineterm=""))
    return _filled(dice, [changed], "\n")


def tests_failed(dice: random.Random) -> str:
    """Return what a test runner says about failures."""
    blocks = []
    for module in _MODULES:
        lines = _source(module).splitlines()
        name, at = module.__name__, dice.randrange(20, len(lines) - 10)
        code = "\n".join(f"    {line}" for line in lines[at : at + 6])
        seen, wanted = dice.randrange(100), dice.randrange(100)
        blocks.append(
            f"{'_' * 20} test_{name}_{at} {'_' * 20}\n\n{code}\n>       assert seen == {wanted}\n"
            f"E       assert {seen} == {wanted}\n"
            f"E        +  where {seen} = {name}.run(limit={at})\n\n"
            f"tests/test_{name}.py:{at}: AssertionError\n"
            f"FAILED tests/test_{name}.py::test_{name}_{at} - assert {seen} == {wanted}\n"
        )
    return _filled(dice, blocks, "\n")


def page(dice: random.Random) -> str:
    """Return HTML."""
    return _filled(dice, map(_html, _MODULES[:4]))


# --- English ----------------------------------------------------------------------------


def markdown(dice: random.Random) -> str:
    """Return the documents of this repository."""
    files = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return _filled(dice, [each.read_text() for each in files if each.name != _OWN_PAGE], "\n")


def manual(dice: random.Random) -> str:
    """Return chapters of Python's manual."""
    return _filled(dice, pydoc_data.topics.topics.values(), "\n")


# --- data -------------------------------------------------------------------------------


def _clock(dice: random.Random) -> str:
    return f"{dice.randrange(24):02}:{dice.randrange(60):02}:{dice.randrange(60):02}"


def log(dice: random.Random) -> str:
    """Return lines that a service logs."""
    words = ("connection accepted", "request finished", "cache miss, asking the database")
    lines = [
        f"2026-11-23T{_clock(dice)}.{dice.randrange(1000):03}Z {dice.choice(('INFO', 'WARNING'))} "
        f"[worker-{dice.randrange(9)}] app.server: {dice.choice(words)} "
        f"user={dice.randrange(9999)} path=/api/v1/orders "
        f"status={dice.choice((200, 404, 503))} took={dice.randrange(999)}ms"
        for _ in range(400)
    ]
    return _filled(dice, lines, "\n")


def access_log(dice: random.Random) -> str:
    """Return lines of a web server: addresses, times and sizes, and few words."""
    lines = [
        f"10.{dice.randrange(255)}.{dice.randrange(255)}.{dice.randrange(255)} - - "
        f'[23/Nov/2026:{_clock(dice)} +0000] "GET /items/{dice.randrange(99999)} HTTP/1.1" 200 '
        f'{dice.randrange(99999)} "-" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101"'
        for _ in range(400)
    ]
    return _filled(dice, lines, "\n")


def minified(dice: random.Random) -> str:
    """Return what a web service answers, without a blank."""
    orders = [
        {
            "id": dice.randrange(10**8),
            "customer": {"name": f"Customer {number}", "email": f"c{number}@example.org"},
            "items": [{"sku": f"A-{dice.randrange(9999)}", "count": 2, "price": 19.95}],
            "created_at": f"2026-11-{dice.randrange(1, 28):02}T{_clock(dice)}Z",
            "status": dice.choice(("open", "paid", "shipped")),
            "url": f"https://shop.example.org/orders/{number}",
            "note": None,
            "gift": False,
        }
        for number in range(300)
    ]
    return json.dumps(orders, separators=(",", ":"))


def numbers(dice: random.Random) -> str:
    """Return measured values."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    for number in range(1_500):
        rows.writerow([number, *(round(dice.uniform(-180, 180), 6) for _ in range(4))])
    return out.getvalue()


def base64_text(dice: random.Random) -> str:
    """Return random bytes in base64."""
    return base64.b64encode(dice.randbytes(_LONG)).decode()


def identifiers(dice: random.Random) -> str:
    """Return UUIDs and check sums."""
    lines = [
        f"{uuid.UUID(bytes=dice.randbytes(16))}  {dice.randbytes(32).hex()}" for _ in range(600)
    ]
    return "\n".join(lines)


# --- other scripts ----------------------------------------------------------------------

_SENTENCES: Mapping[str, tuple[str, ...]] = {
    "Chinese": (
        "今天上午，我们讨论了新系统的设计方案。",
        "网关应当记录每一次调用所消耗的令牌数量，并在超过每日限额时返回清楚的错误信息。",
        "如果上游服务器没有报告用量，就按照文本的长度进行估算。",
        "请先阅读配置文件，然后运行全部测试，最后再提交修改。",
        "昨天晚上的雨下得很大，河边的小路都被水淹没了。",
        "他打开窗户，看见远处的山上还有一点积雪。",
        "这个函数的返回值可能为空，调用者必须自己检查。",
        "图书馆周末也开放，学生们可以在那里安静地读书。",
    ),
    "Japanese": (
        "本日の会議では、新しいシステムの設計について話し合いました。",
        "ゲートウェイは、すべての呼び出しで消費されたトークンの数を記録する必要があります。",
        "上流のサーバーが使用量を報告しない場合は、文章の長さから見積もります。",
        "まず設定ファイルを読み、それからテストを実行してください。",
        "昨夜の雨で、川沿いの道は水に浸かっていた。",
        "窓を開けると、遠くの山にまだ雪が残っているのが見えた。",
        "この関数は空の値を返すことがあるので、呼び出し側で確認しなければならない。",
        "図書館は週末も開いていて、学生たちは静かに本を読むことができる。",
    ),
    "Russian": (
        "Сегодня утром мы обсуждали устройство новой системы.",
        "Шлюз должен записывать число токенов каждого вызова и отвечать понятной ошибкой.",
        "Если поставщик не сообщил расход, он оценивается по длине текста.",
        "Сначала прочитайте файл настроек, потом запустите все проверки.",
        "Вчера вечером шёл сильный дождь, и тропинку у реки затопило.",
        "Он открыл окно и увидел, что на дальних горах ещё лежит снег.",
        "Эта функция может ничего не вернуть, и вызывающий обязан это проверить.",
        "Библиотека открыта и в выходные, там можно спокойно читать.",
    ),
    "Arabic": (
        "ناقشنا هذا الصباح تصميم النظام الجديد.",
        "يجب أن تسجل البوابة عدد الرموز المستهلكة في كل طلب وأن تعيد رسالة خطأ واضحة.",
        "إذا لم يبلغ المزود عن الاستهلاك فإنه يقدر بحسب طول النص.",
        "اقرأ ملف الإعدادات أولا ثم شغل جميع الاختبارات.",
        "هطل مطر غزير مساء أمس وغمرت المياه الطريق المحاذي للنهر.",
        "فتح النافذة فرأى الثلج ما زال على الجبال البعيدة.",
        "قد لا تعيد هذه الدالة شيئا وعلى من يستدعيها أن يتحقق من ذلك.",
        "المكتبة مفتوحة في عطلة نهاية الأسبوع ويمكن للطلاب القراءة فيها بهدوء.",
    ),
    "Hindi": (
        "आज सुबह हमने नई प्रणाली की रचना पर चर्चा की।",
        "गेटवे को हर अनुरोध में खर्च हुए टोकन की संख्या दर्ज करनी चाहिए।",
        "यदि सर्वर खपत नहीं बताता, तो पाठ की लंबाई से अनुमान लगाया जाता है।",
        "पहले सेटिंग की फ़ाइल पढ़ें, फिर सभी परीक्षण चलाएँ।",
        "कल शाम तेज़ बारिश हुई और नदी के किनारे का रास्ता पानी में डूब गया।",
        "उसने खिड़की खोली और देखा कि दूर के पहाड़ों पर अब भी बर्फ़ है।",
    ),
    "emoji": (
        "🎉 Release 2.0 is out 🚀✨\n",
        "✅ tests  ✅ types  ⚠️ lint  ❌ docs\n",
        "👍🏽 looks good to me 🙂🙏\n",
        "🐛 found it: 🔥 in the cache 👀\n",
        "👩‍💻 → 🧪 → 📦 → 🌍\n",
        "❤️💛💚💙💜 🏳️‍🌈 🇩🇪🇯🇵🇧🇷\n",
    ),
}


def _script(name: str) -> Text:
    def made(dice: random.Random) -> str:
        between = "" if name in ("Chinese", "Japanese", "emoji") else " "
        return _filled(dice, _SENTENCES[name], between)

    return made


SCRIPTS = tuple(_SENTENCES)
KINDS: Mapping[str, Text] = {
    "Python": python,
    "numbered lines": numbered,
    "search results": found_lines,
    "diff": diff,
    "failed tests": tests_failed,
    "HTML": page,
    "Markdown": markdown,
    "English": manual,
    "log": log,
    "access log": access_log,
    "minified JSON": minified,
    "numbers": numbers,
    "base64": base64_text,
    "UUIDs and hashes": identifiers,
    **{name: _script(name) for name in SCRIPTS},
}
"""Every kind of text, by the name that the page of the figures calls it."""
