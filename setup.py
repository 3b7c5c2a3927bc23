"""Packaging, from settings.ini, the one place where names and versions stand."""

from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

config = ConfigParser(delimiters=["="])
config.read(Path(__file__).parent / "settings.ini", encoding="utf-8")
settings = config["DEFAULT"]
names = [
    "dev",
    "baselines",
    "excel",
    "tune",
    "words",
    "lora",
    "serve",
    "onnx",
    "ray",
    "lab",
    "docs",
]
extras = {name: settings[f"{name}_requirements"].split() for name in names}

setup(
    name=settings["lib_name"],
    version=settings["version"],
    description=settings["description"],
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    keywords=settings["keywords"].split(),
    author=settings["author"],
    license="Apache-2.0",
    url=settings["git_url"],
    project_urls={"Documentation": settings["doc_host"] + settings["doc_baseurl"]},
    classifiers=[
        "Programming Language :: Python :: 3",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
    ],
    packages=find_packages(include=["llmrec", "llmrec.*"]),
    include_package_data=True,
    package_data={"llmrec": ["py.typed", "*.pyi", "page/*"]},
    python_requires=">=" + settings["min_python"],
    install_requires=settings["requirements"].split(),
    extras_require=extras,
    entry_points={
        "console_scripts": settings["console_scripts"].split(),
        "nbdev": ["llmrec=llmrec._modidx:d"],
    },
)
