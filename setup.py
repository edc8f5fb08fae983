"""Packaging of gevent-dispatcher."""

import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent
README = (HERE / "README.md").read_text(encoding="utf-8")
# A link to a file, or a picture; not one to a heading or to another site.
LINK_TO_FILE = re.compile(r"!?\[([^]]+)\]\((?!#|https?:)([^)#]+)[^)]*\)")
VERSION = re.search(r'^__version__ = "(.+)"$', (HERE / "gevent_dispatcher" / "__init__.py").read_text("utf-8"), re.M)

# From 5.5 on the SDK needs Python 3.9: on 3.8 it refuses every datafile that has rollouts.
SDK = ['optimizely-sdk>=3.10; python_version >= "3.9"', 'optimizely-sdk>=3.10,<5.5; python_version < "3.9"']
# Encodes in a tenth of the time; used when it is there.
FAST = ["orjson>=3"]
METRICS = ["prometheus_client>=0.15"]
# The bar of commands; without it they log lines.
PROGRESS = ["tqdm>=4"]
# For the fixtures of gevent_dispatcher.testing.
PYTEST = ["pytest>=7"]
# boto3 would add nothing that is used.
SQS = ["botocore>=1.31"]
# gunicorn's extra brings what its gevent worker imports.
EXAMPLES = [*SDK, "flask>=1.1", "gunicorn[gevent]>=20", *PROGRESS, *METRICS]
BENCH = ["launchdarkly-server-sdk>=9", "matplotlib>=3", "orjson>=3", "requests>=2", "sentry-sdk>=2", "trustme>=1"]
# What Lambda's Python runtime is made of, where it need not be built.
LAMBDA = ['awslambdaric>=2; python_version >= "3.9" and sys_platform == "linux" and platform_machine == "x86_64"']
# Chooses the bytes of tests.fuzz by what they reach; it has wheels for Linux.
FUZZ = ['atheris>=2.3; python_version >= "3.11" and sys_platform == "linux"', "hypothesis>=6"]
# To build what is shipped, and to see that its page can be drawn.
SHIPPING = ["build>=1", "readme_renderer[md]>=37"]
TEST = ["pytest-timeout>=2", "hypothesis>=6", "trustme>=1", "requests>=2", "pyyaml>=6", *LAMBDA, *SHIPPING]


def without_links(readme: str) -> str:
    """The README for a package index, where no file lies beside it: each that it links to is named instead."""
    page = LINK_TO_FILE.sub(lambda link: named(*link.groups()), readme)
    return f"{page.rstrip()} The files that are named on this page are in the source distribution.\n"


def named(text: str, path: str) -> str:
    """What stands in the place of a link."""
    return f"`{path}`" if path.endswith(text) else f"{text} (`{path}`)"


# A build writes beside the sources, unless they may only be read; what is elsewhere goes with the process.
ELSEWHERE = None if os.access(HERE, os.W_OK) else TemporaryDirectory()
PLACES = {"egg_info": {"egg_base": ELSEWHERE.name}, "build": {"build_base": ELSEWHERE.name}} if ELSEWHERE else {}

setup(
    options=PLACES,
    name="gevent-dispatcher",
    version=VERSION.group(1),
    description="Delivers the Optimizely Feature Experimentation SDK's events in gevent servers; nobody waits",
    long_description=without_links(README),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords=["optimizely", "feature experimentation", "gevent", "gunicorn", "flask", "events"],
    packages=find_packages(include=["gevent_dispatcher", "gevent_dispatcher.*"]),
    # The demonstration's shop is those files of the examples that it links to.
    package_data={
        "gevent_dispatcher": ["py.typed"],
        "gevent_dispatcher.collector": ["page/*"],
        "gevent_dispatcher.demo": ["shop/*"],
    },
    entry_points={"console_scripts": ["gevent-dispatcher = gevent_dispatcher.__main__:run"]},
    python_requires=">=3.8",
    # On Python 3.13 the first two gevents double in each subprocess the greenlets of the process that starts it.
    # From Python 3.12 on the first urllib3s of 1.26 cannot be imported.
    install_requires=[
        *("gevent>=21.12", 'gevent>=24.10.3; python_version >= "3.13"'),
        *("urllib3>=1.26", 'urllib3>=1.26.5; python_version >= "3.12"'),
    ],
    extras_require={
        "sdk": SDK,
        "fast": FAST,
        "pytest": PYTEST,
        "sqs": SQS,
        "prometheus": METRICS,
        "progress": PROGRESS,
        # For the test of the collector's page, beside Debian's chromium and chromium-driver.
        "browser": ["selenium>=4.11"],
        "fuzz": FUZZ,
        "examples": EXAMPLES,
        # What the benchmarks compare with, and draw with; they name what is missing and go on.
        "bench": [*EXAMPLES, *BENCH],
        "test": [
            *(*EXAMPLES, *FAST, *PYTEST, *SQS, "moto[server]>=4", *TEST, "celery>=5", "django>=3.2", "huey>=2"),
            "grequests>=0.6",  # what some come from: examples/MIGRATION.md
        ],
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Framework :: Flask",
        "Intended Audience :: Developers",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.8",
        "Programming Language :: Python :: 3.9",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: Implementation :: CPython",
        "Topic :: Internet :: WWW/HTTP",
        "Typing :: Typed",
    ],
)
